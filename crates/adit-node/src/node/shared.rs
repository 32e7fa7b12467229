//! What all parts of a running node share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use adit_deny::Denials;
use adit_model::{AccountId, NodeId};
use adit_net::Net;
use adit_store::BlockStore;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::beside::Beside;
use super::directory::Directory;
use super::fetch::Budget;
use super::keeper::Keeping;
use super::replays::Replays;
use super::replicate::Replicas;
use super::talk::Streams;
use crate::clock::Clock;
use crate::config::{Config, Settings};
use crate::content::{Programs, Surveyor};
use crate::enclave::{Enclave, Slots};
use crate::functions::Functions;
use crate::gateways::Gateways;
use crate::host::Counters;
use crate::identity::Identity;
use crate::jobs::Jobs;
use crate::names::NameService;

/// The parts of a node. Held behind one `Arc` by the handle and by every task.
pub(crate) struct Shared {
    /// Where the repository lies.
    pub(crate) dir: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) clock: Clock,
    pub(crate) repo: Arc<adit_store::Repo>,
    /// The Kubo below the repo, if there is one.
    pub(crate) kubo: Option<Arc<adit_kubo::Kubo>>,
    /// What that Kubo says of this node.
    pub(crate) beside: Beside,
    pub(crate) store: Arc<dyn BlockStore>,
    pub(crate) net: Net,
    pub(crate) denials: Denials,
    pub(crate) names: Arc<NameService>,
    pub(crate) gateways: Gateways,
    pub(crate) functions: Arc<Functions>,
    pub(crate) enclave: Enclave,
    pub(crate) slots: Slots,
    pub(crate) jobs: Jobs,
    pub(crate) counters: Counters,
    pub(crate) programs: Programs,
    pub(crate) surveyor: Surveyor,
    pub(crate) directory: Directory,
    pub(crate) streams: Streams,
    pub(crate) replays: Replays,
    /// What is kept for others.
    pub(crate) keeping: Keeping,
    /// What others keep for this node.
    pub(crate) replicas: Replicas,
    pub(crate) bandwidth: Budget,
    /// How long jobs took here lately, in microseconds: a moving average.
    pub(crate) job_us: AtomicU64,
    /// Whether the disk has too little room left to take other people's jobs.
    pub(crate) disk_low: AtomicBool,
    /// Cancelled when nothing new is to be taken on.
    pub(crate) draining: CancellationToken,
    /// Cancelled when everything is to end.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The message of a task that the node cannot live without, once one has died.
    pub(crate) failed: watch::Sender<Option<String>>,
}

impl Shared {
    pub(crate) fn config(&self) -> &Config {
        self.settings.config()
    }

    pub(crate) fn me(&self) -> NodeId {
        self.identity.node_id()
    }

    pub(crate) fn account(&self) -> AccountId {
        self.identity.account_id()
    }

    /// A job took this long.
    pub(crate) fn note_duration(&self, us: u64) {
        // Two jobs that end at once may count as one; an average does not mind.
        let old = self.job_us.load(Ordering::Relaxed);
        self.job_us.store(old - old / 8 + us / 8, Ordering::Relaxed);
    }

    /// How long a job waits behind this many others, as far as the last ones tell.
    pub(crate) fn queue_us(&self, ahead: u32) -> u64 {
        u64::from(ahead) * self.job_us.load(Ordering::Relaxed) / self.config().slots() as u64
    }

    /// Runs a task that the node cannot live without: if it panics or ends before the node stops,
    /// the node has failed.
    pub(crate) fn critical(
        self: &Arc<Self>,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let ended = tokio::spawn(task).await;
            if shared.stop.is_cancelled() {
                return;
            }
            let reason = match ended {
                Ok(()) => format!("the task `{name}` ended before the node"),
                Err(panic) => format!("the task `{name}` failed: {panic}"),
            };
            tracing::error!(%reason);
            shared.failed.send_if_modified(|failed| {
                let first = failed.is_none();
                failed.get_or_insert(reason);
                first
            });
        });
    }
}
