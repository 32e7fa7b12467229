//! One job as this node knows it.

use std::borrow::Cow;
use std::sync::Arc;

use adit_model::{AccountId, EnvelopeCid, NodeId, Outcome, OutcomeCid, OutcomeResult, Task, TaskCid};
use adit_store::Lease;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::log_buffer::LogBuffer;
use crate::clock::unix_ms;
use crate::view::{Attempt, Failure, JobId, JobState, JobStats, JobView, LogStream, ResultView, Role};

/// A job. Everything that changes is behind one lock, held for moments only.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: JobId,
    pub(crate) role: Role,
    pub(crate) task: Arc<Task>,
    pub(crate) task_cid: TaskCid,
    pub(crate) issuer: AccountId,
    pub(crate) created_ms: u64,
    /// Ends the job when cancelled.
    pub(crate) cancel: CancellationToken,
    now: Mutex<Now>,
    /// Woken at every change.
    changed: Notify,
}

/// What changes about a job.
#[derive(Debug, Default)]
pub(crate) struct Now {
    pub(crate) state: Option<JobState>,
    pub(crate) finished_ms: Option<u64>,
    pub(crate) host: Option<NodeId>,
    /// Asked for here and run here as well.
    pub(crate) here: bool,
    pub(crate) why: Option<Cow<'static, str>>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) stats: JobStats,
    pub(crate) result: Option<JobResult>,
    pub(crate) failure: Option<Failure>,
    pub(crate) kept_until: Option<u64>,
    /// Keeps what the job reads and writes from collection, until its result stands above.
    pub(crate) lease: Option<Lease>,
    pub(super) logs: [LogBuffer; 2],
    /// Whether history has the job as it stands.
    pub(super) written: bool,
}

/// What a job delivered.
#[derive(Clone, Debug)]
pub(crate) struct JobResult {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) outcome_block: Bytes,
    pub(crate) envelope: Bytes,
    /// Small contents that came along, by their CID: stdout, stderr, `/out`.
    pub(crate) inline: Vec<(cid::Cid, Bytes)>,
}

impl JobResult {
    /// The bytes of a file that came along: one raw block, or nothing at all.
    pub(crate) fn content(&self, file: &cid::Cid) -> Option<Bytes> {
        if let Some(bytes) = adit_unixfs::block::identity_data(file) {
            return Some(Bytes::copy_from_slice(bytes));
        }
        let raw = file.codec() == adit_unixfs::block::RAW;
        self.inline.iter().find(|(cid, _)| raw && cid == file).map(|(_, bytes)| bytes.clone())
    }
}

impl Record {
    pub(crate) fn new(
        id: JobId,
        role: Role,
        task: Arc<Task>,
        task_cid: TaskCid,
        issuer: AccountId,
    ) -> Arc<Self> {
        Arc::new(Record {
            id,
            role,
            task,
            task_cid,
            issuer,
            created_ms: unix_ms(),
            cancel: CancellationToken::new(),
            now: Mutex::new(Now { state: Some(JobState::Placing), ..Now::default() }),
            changed: Notify::new(),
        })
    }

    /// Looks, or changes something that nobody waits for.
    pub(crate) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock()
    }

    /// Changes something and wakes everybody who follows.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Now) -> R) -> R {
        let result = change(&mut self.now.lock());
        self.changed.notify_waiters();
        result
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> JobState {
        self.now.lock().state.unwrap_or(JobState::Placing)
    }

    /// Moves on, unless it has ended already.
    pub(crate) fn set_state(&self, state: JobState) {
        self.change(|now| now.advance(state));
    }

    /// The guest wrote.
    pub(crate) fn log(&self, stream: LogStream, bytes: Bytes) {
        self.change(|now| now.logs[stream as usize].push(bytes));
    }

    /// It ended with an outcome.
    pub(crate) fn finish(&self, result: JobResult, stats: JobStats, kept_until: Option<u64>) {
        self.change(|now| {
            if now.advance(JobState::Finished) {
                now.result = Some(result);
                now.stats = stats;
                now.kept_until = kept_until;
            }
        });
    }

    /// It ended without.
    pub(crate) fn fail(&self, state: JobState, failure: Failure) {
        self.change(|now| {
            if now.advance(state) {
                now.failure = Some(failure);
            }
        });
    }

    /// Waits for the next change after `seen` has looked; `seen` says whether to go on waiting.
    pub(crate) async fn wait_until<T>(&self, mut seen: impl FnMut(&mut Now) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking: a change in between is not missed.
            changed.as_mut().enable();
            if let Some(found) = seen(&mut self.now.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) {
        self.wait_until(|now| now.state.is_some_and(JobState::is_final).then_some(())).await;
    }

    /// What others see.
    pub(crate) fn view(&self) -> JobView {
        let now = self.now.lock();
        let result = now.result.as_ref();
        let mut stats = now.stats;
        if let Some(finished) = now.finished_ms.filter(|_| stats.total_us == 0) {
            stats.total_us = finished.saturating_sub(self.created_ms) * 1000;
        }
        JobView {
            id: self.id,
            role: if now.here { Role::Local } else { self.role },
            state: now.state.unwrap_or(JobState::Placing),
            task: self.task_cid,
            code: self.task.code.to_string(),
            args: self.task.args.clone(),
            inputs: self
                .task
                .inputs
                .iter()
                .map(|(path, input)| (path.clone(), input.root().to_string()))
                .collect(),
            issuer: self.issuer,
            created_ms: self.created_ms,
            finished_ms: now.finished_ms,
            host: now.host,
            why: now.why.as_deref().map(str::to_owned),
            attempts: now.attempts.clone(),
            result: result.map(|r| result_view(&r.outcome)),
            failure: now.failure.clone(),
            outcome: result.map(|r| OutcomeCid::of_block(&r.outcome_block)),
            receipt: result.map(|r| EnvelopeCid::of_block(&r.envelope).to_string()),
            stats,
            kept_until: now.kept_until,
        }
    }
}

impl Now {
    /// Moves to a state unless the job has ended; says whether it did.
    fn advance(&mut self, state: JobState) -> bool {
        if self.state.is_some_and(JobState::is_final) {
            return false;
        }
        self.state = Some(state);
        self.written = false;
        if state.is_final() {
            self.finished_ms = Some(unix_ms());
            self.lease = None;
        }
        true
    }
}

fn result_view(outcome: &Outcome) -> ResultView {
    match &outcome.out {
        OutcomeResult::Ok { root, exit, stdout, stderr } => ResultView::Ok {
            root: root.to_string(),
            exit: *exit,
            stdout: stdout.to_string(),
            stderr: stderr.to_string(),
        },
        OutcomeResult::Error { kind, detail, stdout, stderr } => ResultView::Error {
            error: kind.to_string(),
            detail: detail.clone(),
            stdout: stdout.map(|cid| cid.to_string()),
            stderr: stderr.map(|cid| cid.to_string()),
        },
    }
}
