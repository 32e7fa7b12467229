//! What the network tells its owner without being asked.

use tokio::sync::{mpsc, watch};

use crate::job::{JobStream, KEEP_PROTOCOL};

/// Something that happened on the network.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the large one is the common one")]
pub enum NetEvent {
    /// A peer opened a job stream.
    Job(JobStream),
    /// A peer opened a stream to ask for a copy to be kept.
    Keep(JobStream),
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
    jobs: mpsc::Receiver<JobStream>,
    /// Apart from the job queue, so that a full queue can't swallow it.
    failed: watch::Receiver<Option<String>>,
    ended: bool,
}

impl NetEvents {
    pub(crate) fn new(jobs: mpsc::Receiver<JobStream>, failed: watch::Receiver<Option<String>>) -> Self {
        Self { jobs, failed, ended: false }
    }

    /// The next event; `None` after an orderly shutdown, or after [`NetEvent::Failed`].
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<NetEvent> {
        while !self.ended {
            tokio::select! {
                biased;
                changed = self.failed.changed() => {
                    // Without a sender the supervisor has ended, whose last act is this message.
                    let reason = self.failed.borrow_and_update().clone();
                    self.ended = reason.is_some() || changed.is_err();
                    if let Some(reason) = reason {
                        return Some(NetEvent::Failed { reason });
                    }
                }
                job = self.jobs.recv(), if !self.jobs.is_closed() || !self.jobs.is_empty() => {
                    if let Some(job) = job {
                        let keep = *job.protocol() == KEEP_PROTOCOL;
                        return Some(if keep { NetEvent::Keep(job) } else { NetEvent::Job(job) });
                    }
                }
            }
        }
        None
    }
}
