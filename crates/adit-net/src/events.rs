//! What the network tells its owner without being asked.

use tokio::sync::{mpsc, watch};

use crate::job::JobStream;

/// Something that happened on the network.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the large one is the common one")]
pub enum NetEvent {
    /// A peer opened a job stream.
    Job(JobStream),
    /// The network task died; the daemon should end with this message rather than go on half-dead.
    Failed {
        /// The panic's message.
        reason: String,
    },
}

/// The owner's end of the network's events. Job streams queue here up to
/// [`crate::Limits::incoming_jobs`]; beyond it the peer is told `busy`.
#[derive(Debug)]
pub struct NetEvents {
    pub(crate) jobs: mpsc::Receiver<JobStream>,
    /// Apart from the job queue, so that a full queue can't swallow it.
    pub(crate) failed: watch::Receiver<Option<String>>,
}

impl NetEvents {
    /// The next event; `None` after an orderly shutdown. Cancel-safe.
    pub async fn next(&mut self) -> Option<NetEvent> {
        loop {
            if let Some(reason) = self.failed.borrow_and_update().clone() {
                return Some(NetEvent::Failed { reason });
            }
            tokio::select! {
                biased;
                changed = self.failed.changed() => if changed.is_err() {
                    return None;
                },
                job = self.jobs.recv(), if !self.jobs.is_closed() || !self.jobs.is_empty() => if let Some(job) = job {
                    return Some(NetEvent::Job(job));
                },
            }
        }
    }
}
