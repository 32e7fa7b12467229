//! The running node: the handle, and how its parts hang together.
//!
//! [`Node::start`] opens the repository, starts the network and the enclave, and spawns the tasks
//! that keep the node alive: the enclave's supervisor, the taker of job streams, the history
//! writer and the directory. Each has a name; if one dies, [`Node::failed`] says so and the daemon
//! ends rather than going on half-dead.
//!
//! A job's way through the code: `submit` (sign, record) → `remote` and `discovery` (place) →
//! `talk` ⇄ `serve` (the two ends of the job protocol) → `execute` (run on an enclave session).

mod beside;
mod directory;
mod discovery;
mod doctor;
mod error;
mod evaluate;
mod execute;
mod fetch;
mod functions;
mod keeper;
mod records;
mod remote;
mod replays;
mod replicate;
mod results;
mod routing;
mod serve;
mod shared;
mod start;
mod status;
mod submit;
mod talk;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adit_deny::Denials;
use adit_model::{AccountId, NodeId, OutcomeResult};
use adit_net::Net;
use adit_retrieval::Tally;
use adit_store::{BlockSource, GcError, GcReport, Repo};
use adit_wire::control::Stats;
use cid::Cid;
use futures::StreamExt as _;
use futures::stream::BoxStream;

pub use error::{RunError, StartError};
pub use functions::FunctionWorker;
pub use replicate::ReplicateError;
pub use routing::{MOST_PROVIDERS, RoutingError};

use crate::config::Settings;
use crate::deny::GuardedSource;
use crate::jobs::{Record, follow};
use crate::names::NameService;
use crate::request::RunRequest;
use crate::view::{Check, Delivered, JobEvent, JobId, JobState, JobView, NodeStatus, NodeView, Plan};
use shared::Shared;
use submit::Submitted;

/// How long jobs that run may go on when the node is asked to stop.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);

/// A running node. Cheap to clone; [`Node::shutdown`] is the orderly end.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

impl Node {
    /// This node's name on the network.
    pub fn id(&self) -> NodeId {
        self.shared.me()
    }

    /// The account that signs this node's Invocations and Acceptances.
    pub fn account(&self) -> AccountId {
        self.shared.account()
    }

    /// The settings it was started with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Where the repository lies: settings, keys, blocks.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The repository: blocks, pins.
    pub fn repo(&self) -> &Arc<Repo> {
        &self.shared.repo
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.shared.net
    }

    /// IPNS names: publishing under this node's keys, and resolving all.
    pub fn names(&self) -> &Arc<NameService> {
        &self.shared.names
    }

    /// What came from gateways of others.
    pub fn gateways(&self) -> Vec<Tally> {
        self.shared.gateways.tallies()
    }

    /// Any block: from the store, else from the network.
    pub fn source(&self) -> Arc<dyn BlockSource> {
        let (source, denials) = (self.shared.net.session(Vec::new()), self.shared.denials.clone());
        Arc::new(GuardedSource { source, denials })
    }

    /// What the operator does not want served.
    pub fn denials(&self) -> &Denials {
        &self.shared.denials
    }

    /// Announces added content in the DHT, if the settings say so.
    pub fn provide(&self, root: Cid) {
        if !self.shared.config().jobs.provide {
            return;
        }
        let (net, repo) = (self.shared.net.clone(), Arc::clone(&self.shared.repo));
        self.shared.tasks.spawn(async move {
            // Both: a Kubo may live in another DHT than this node.
            if let Err(e) = repo.provide_below(&root).await {
                tracing::warn!(%root, error = %e, "content could not be announced by the backend");
            }
            if let Err(e) = net.provide(root).await {
                tracing::warn!(%root, error = %e, "content could not be announced");
            }
        });
    }

    /// Collects garbage; results of jobs stay as long as promised.
    pub async fn gc(&self) -> Result<GcReport, GcError> {
        results::collect(&self.shared).await
    }

    /// Begins a job, which goes on by itself.
    pub async fn submit(&self, request: RunRequest) -> Result<JobId, RunError> {
        match submit::prepare(&self.shared, request).await? {
            Submitted::Known(id) => Ok(id),
            Submitted::New(job) => {
                let id = job.record.id;
                self.shared.tasks.spawn(submit::drive(Arc::clone(&self.shared), job));
                Ok(id)
            }
        }
    }

    /// Runs a job and waits for its end. Dropping the future cancels the job, unless it was begun
    /// by an earlier request with the same idempotency key.
    pub async fn run(&self, request: RunRequest) -> Result<Delivered, RunError> {
        match submit::prepare(&self.shared, request).await? {
            Submitted::Known(id) => self.delivered(&id).await,
            Submitted::New(job) => {
                let record = Arc::clone(&job.record);
                let guard = CancelOnDrop(Arc::clone(&record));
                self.shared.tasks.spawn(submit::drive(Arc::clone(&self.shared), job));
                record.ended().await;
                std::mem::forget(guard);
                delivered(record)
            }
        }
    }

    /// Where a job would run, without running it.
    pub async fn plan(&self, request: RunRequest) -> Result<Plan, RunError> {
        request.check()?;
        let job = submit::build(&self.shared, request).await?;
        Ok(remote::plan(&self.shared, &job).await)
    }

    /// The newest jobs, newest first.
    pub fn jobs(&self, limit: usize) -> Vec<JobView> {
        self.shared.jobs.newest(limit)
    }

    /// One job.
    pub fn job(&self, id: &JobId) -> Option<JobView> {
        self.shared.jobs.view(id)
    }

    /// The one job whose name begins or ends like this.
    pub fn find_job(&self, part: &str) -> Option<JobId> {
        self.shared.jobs.find(part)
    }

    /// A job's story from its beginning, as it goes on. Jobs known from history alone only have an
    /// end. Whoever prints a stream of the guest and has printed `n` bytes of it at
    /// [`JobEvent::Done`] finds the rest, if there is any, in the content of that stream.
    pub fn follow(&self, id: &JobId) -> Option<BoxStream<'static, JobEvent>> {
        match self.shared.jobs.get(id) {
            Some(record) => Some(follow(record).boxed()),
            None => {
                let view = Box::new(self.shared.jobs.view(id)?);
                Some(futures::stream::once(async { JobEvent::Done(view) }).boxed())
            }
        }
    }

    /// Waits for a job's end.
    pub async fn wait(&self, id: &JobId) -> Option<JobView> {
        if let Some(record) = self.shared.jobs.get(id) {
            record.ended().await;
        }
        self.shared.jobs.view(id)
    }

    /// Waits for a job's end and gives what it delivered.
    pub async fn delivered(&self, id: &JobId) -> Result<Delivered, RunError> {
        let record = self.shared.jobs.get(id).ok_or(RunError::NoJob(*id))?;
        record.ended().await;
        delivered(record)
    }

    /// Takes a job back. `false`: there is none of that name, or it has ended.
    pub fn cancel(&self, id: &JobId) -> bool {
        match self.shared.jobs.get(id) {
            Some(record) if !record.state().is_final() => {
                record.cancel.cancel();
                true
            }
            _ => false,
        }
    }

    /// How the node is.
    pub fn status(&self) -> NodeStatus {
        status::status(&self.shared)
    }

    /// The enclave's counters, as it told them last (every few seconds).
    pub fn enclave_stats(&self) -> Stats {
        self.shared.enclave.stats()
    }

    /// Other nodes known to run Adit.
    pub fn nodes(&self) -> Vec<NodeView> {
        directory::views(&self.shared)
    }

    /// Whether the node can do its work: it has its enclave and is not stopping.
    pub fn is_ready(&self) -> bool {
        self.shared.enclave.job_key().is_some() && !self.shared.draining.is_cancelled()
    }

    /// Looks at everything that could be wrong.
    pub async fn doctor(&self) -> Vec<Check> {
        doctor::examine(&self.shared).await
    }

    /// Waits until the enclave is up, or known not to come up.
    pub async fn enclave_settled(&self, patience: Duration) -> crate::view::EnclaveStatus {
        self.shared.enclave.settled(patience).await
    }

    /// Resolves when the node cannot go on, with the reason.
    pub async fn failed(&self) -> String {
        let mut failed = self.shared.failed.subscribe();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| "the node is gone".into())
    }

    /// Takes nothing new on, until the node is started again; what runs goes on. Gives how many jobs have not ended,
    /// those that were given to other nodes among them.
    pub fn drain(&self) -> usize {
        self.shared.draining.cancel();
        self.shared.jobs.open_jobs().len()
    }

    /// Ends in order: nothing new is taken on, running jobs get a moment, then requesters are told,
    /// the network and the enclave stop, and everything is written out.
    pub async fn shutdown(&self) {
        self.drain();
        let all_ended = async {
            for record in self.shared.jobs.open_jobs() {
                record.ended().await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_PATIENCE, all_ended).await.is_err() {
            for record in self.shared.jobs.open_jobs() {
                record.cancel.cancel();
            }
        }
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(SHUTDOWN_PATIENCE, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        self.shared.net.shutdown().await;
        self.shared.repo.close().await;
    }
}

/// Cancels its job when the one who waited for it goes away.
struct CancelOnDrop(Arc<Record>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel.cancel();
    }
}

fn delivered(record: Arc<Record>) -> Result<Delivered, RunError> {
    let (state, result, failure) = {
        let now = record.now();
        (now.state, now.result.clone(), now.failure.clone())
    };
    let Some(result) = result else {
        return Err(RunError::Failed {
            job: record.id,
            state: state.unwrap_or(JobState::Failed),
            failure: failure.unwrap_or_default(),
        });
    };
    let (stdout, stderr) = match &result.outcome.out {
        OutcomeResult::Ok { stdout, stderr, .. } => (Some(*stdout), Some(*stderr)),
        OutcomeResult::Error { stdout, stderr, .. } => (*stdout, *stderr),
    };
    let inline = |cid: Option<Cid>| cid.and_then(|cid| result.content(&cid));
    Ok(Delivered {
        view: record.view(),
        stdout: inline(stdout),
        stderr: inline(stderr),
        outcome: result.outcome_block,
        envelope: result.envelope,
    })
}
