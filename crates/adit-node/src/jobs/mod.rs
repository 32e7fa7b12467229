//! The jobs that this node asked for or runs: in memory while they matter, in `jobs.redb` after.
//!
//! A job is a [`Record`] behind an `Arc`; whoever runs it writes to it, whoever asks makes a view of
//! it. The index keeps the newest [`KEPT_IN_MEMORY`] ended jobs; older ones are read from history.

mod follow;
mod history;
mod log_buffer;
mod record;

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adit_model::{EnvelopeCid, OutcomeCid, TaskCid};
use adit_store::Lease;
use cid::Cid;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub(crate) use follow::follow;
use history::History;
pub use history::HistoryError;
pub(crate) use record::{JobResult, Record};

use crate::clock::unix_ms;
use crate::view::{JobId, JobView};

/// Ended jobs kept in memory, with their logs and small results.
const KEPT_IN_MEMORY: usize = 4096;
/// How often what has changed is written to history.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often old history is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// Jobs forgotten in one transaction.
const FORGET_AT_ONCE: usize = 10_000;
/// Idempotency keys remembered.
const MAX_KEYS: usize = 65_536;

/// The index of jobs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    inner: Arc<Inner>,
}

struct Inner {
    index: Mutex<Index>,
    history: Arc<History>,
}

/// What collection must spare for jobs.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub(crate) roots: Vec<Cid>,
    pub(crate) leases: Vec<Lease>,
}

#[derive(Default)]
struct Index {
    jobs: HashMap<JobId, Arc<Record>>,
    /// In the order of asking.
    order: VecDeque<JobId>,
    /// Not yet in history as they stand.
    unwritten: Vec<Arc<Record>>,
    keys: HashMap<String, Keyed>,
    key_order: VecDeque<String>,
}

/// The job that was asked for with an idempotency key, and for which work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keyed {
    pub(crate) job: JobId,
    pub(crate) work: TaskCid,
}

impl Jobs {
    /// Opens the history at `path` and starts with an empty memory.
    pub(crate) fn open(path: &Path) -> Result<Self, HistoryError> {
        let history = Arc::new(History::open(path, unix_ms())?);
        Ok(Jobs { inner: Arc::new(Inner { index: Mutex::new(Index::default()), history }) })
    }

    /// Takes a new job in. `false` if there is one of that name already.
    pub(crate) fn add(&self, record: &Arc<Record>) -> bool {
        self.inner.index.lock().add(record)
    }

    /// Takes a new job in under a key; gives the job's name that the key stands for already, if any.
    pub(crate) fn add_with_key(&self, record: &Arc<Record>, key: &str, work: TaskCid) -> Result<(), Keyed> {
        let mut index = self.inner.index.lock();
        if let Some(known) = index.keys.get(key) {
            return Err(*known);
        }
        index.keys.insert(key.to_owned(), Keyed { job: record.id, work });
        index.key_order.push_back(key.to_owned());
        if index.key_order.len() > MAX_KEYS
            && let Some(oldest) = index.key_order.pop_front()
        {
            index.keys.remove(&oldest);
        }
        index.add(record);
        Ok(())
    }

    /// The job that was asked for with this key.
    pub(crate) fn by_key(&self, key: &str) -> Option<Keyed> {
        self.inner.index.lock().keys.get(key).copied()
    }

    /// A job in memory.
    pub(crate) fn get(&self, id: &JobId) -> Option<Arc<Record>> {
        self.inner.index.lock().jobs.get(id).cloned()
    }

    /// A job from memory or history.
    pub(crate) fn view(&self, id: &JobId) -> Option<JobView> {
        match self.get(id) {
            Some(record) => Some(record.view()),
            None => self.inner.history.find(id).unwrap_or_else(|e| {
                tracing::warn!(error = %e, "the job history cannot be read");
                None
            }),
        }
    }

    /// The newest jobs, from memory and history.
    pub(crate) fn newest(&self, limit: usize) -> Vec<JobView> {
        let records: Vec<Arc<Record>> = {
            let index = self.inner.index.lock();
            index.order.iter().rev().take(limit).filter_map(|id| index.jobs.get(id).cloned()).collect()
        };
        let mut views: Vec<JobView> = records.iter().map(|r| r.view()).collect();
        if views.len() < limit {
            let before = views.last().map_or(u64::MAX, |v| v.created_ms);
            match self.inner.history.before(before, limit - views.len()) {
                Ok(older) => views.extend(older),
                Err(e) => tracing::warn!(error = %e, "the job history cannot be read"),
            }
        }
        views
    }

    /// The one job whose name begins like this.
    pub(crate) fn find(&self, prefix: &str) -> Option<JobId> {
        if let Ok(id) = prefix.parse() {
            return Some(id);
        }
        let mut found = self.newest(1000).into_iter().map(|v| v.id).filter(|id| {
            let name = id.to_string();
            name.starts_with(prefix) || name.ends_with(prefix)
        });
        found.next().filter(|_| found.next().is_none())
    }

    /// Jobs that have not ended.
    pub(crate) fn open_jobs(&self) -> Vec<Arc<Record>> {
        let index = self.inner.index.lock();
        index.jobs.values().filter(|r| !r.state().is_final()).cloned().collect()
    }

    /// What jobs need in the store: the roots of results that are to be kept, and the leases of jobs
    /// that go on. A job passes from one to the other under its lock, so none is missed.
    pub(crate) fn needs(&self, now: u64) -> Needs {
        let records: Vec<Arc<Record>> = self.inner.index.lock().jobs.values().cloned().collect();
        let mut needs = Needs::default();
        for record in records {
            let kept = record.now();
            needs.leases.extend(kept.lease.clone());
            if let (Some(result), Some(until)) = (&kept.result, kept.kept_until)
                && until > now
            {
                needs.roots.extend(result.outcome.roots());
                needs.roots.extend([record.id.to_cid(), record.task_cid.to_cid()]);
                needs.roots.push(OutcomeCid::of_block(&result.outcome_block).to_cid());
                needs.roots.push(EnvelopeCid::of_block(&result.envelope).to_cid());
            }
        }
        match self.inner.history.kept(now) {
            Ok(older) => needs.roots.extend(older),
            Err(e) => {
                tracing::warn!(error = %e, "the job history cannot be read; old results may be collected")
            }
        }
        needs
    }

    /// Writes history in batches until `stop`, then once more.
    pub(crate) async fn keep_history(self, keep: Duration, stop: CancellationToken) {
        let mut forget_at = tokio::time::Instant::now();
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(WRITE_EVERY) => false,
                () = stop.cancelled() => true,
            };
            self.write_changed().await;
            if stopping {
                return;
            }
            if tokio::time::Instant::now() >= forget_at {
                forget_at += FORGET_EVERY;
                self.forget(keep).await;
            }
        }
    }

    async fn write_changed(&self) {
        let candidates = std::mem::take(&mut self.inner.index.lock().unwritten);
        let mut views = Vec::with_capacity(candidates.len());
        let mut open = Vec::new();
        for record in candidates {
            if !std::mem::replace(&mut record.now().written, true) {
                views.push(record.view());
            }
            if !record.state().is_final() {
                open.push(record);
            }
        }
        // Jobs that go on are looked at again next time.
        self.inner.index.lock().unwritten.append(&mut open);
        if views.is_empty() {
            return;
        }
        let history = Arc::clone(&self.inner.history);
        let written = tokio::task::spawn_blocking(move || history.write(&views)).await;
        if let Ok(Err(e)) = written {
            tracing::warn!(error = %e, "the job history cannot be written");
        }
    }

    async fn forget(&self, keep: Duration) {
        let before = unix_ms().saturating_sub(keep.as_millis() as u64);
        let history = Arc::clone(&self.inner.history);
        let forgotten = tokio::task::spawn_blocking(move || {
            while history.forget_before(before, FORGET_AT_ONCE)? == FORGET_AT_ONCE {}
            Ok::<_, HistoryError>(())
        });
        if let Ok(Err(e)) = forgotten.await {
            tracing::warn!(error = %e, "old job history cannot be forgotten");
        }
    }
}

impl Index {
    fn add(&mut self, record: &Arc<Record>) -> bool {
        if self.jobs.contains_key(&record.id) {
            return false;
        }
        self.jobs.insert(record.id, Arc::clone(record));
        self.order.push_back(record.id);
        self.unwritten.push(Arc::clone(record));
        self.shrink();
        true
    }

    /// Drops the oldest ended jobs beyond what memory keeps. Jobs that go on are kept whatever
    /// their number, which admission bounds.
    fn shrink(&mut self) {
        let mut looked_at = 0;
        while self.order.len() > KEPT_IN_MEMORY && looked_at < 4 {
            let Some(oldest) = self.order.pop_front() else { return };
            let ended = self.jobs.get(&oldest).is_none_or(|r| r.state().is_final());
            if ended {
                self.jobs.remove(&oldest);
            } else {
                self.order.push_back(oldest);
            }
            looked_at += 1;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use adit_model::{Abi, AccountId, InvocationCid, Limits, Profile, Task, TaskCid};

    use super::*;
    use crate::view::{Failure, Fault, JobState, Role};

    pub(crate) fn task() -> (Arc<Task>, TaskCid) {
        let task = Task {
            code: TaskCid::of_block(b"code").to_cid(),
            abi: Abi::Wasip1,
            args: vec!["a".into()],
            env: BTreeMap::new(),
            inputs: BTreeMap::new(),
            stdin: None,
            limits: Limits { fuel: 1, memory: 1 << 20, output: 1 },
            profile: Profile::Deterministic,
        };
        let cid = task.cid();
        (Arc::new(task), cid)
    }

    fn record(n: u32) -> Arc<Record> {
        let (task, cid) = task();
        Record::new(InvocationCid::of_block(&n.to_be_bytes()), Role::Local, task, cid, AccountId([1; 20]))
    }

    #[tokio::test]
    async fn memory_is_bounded_and_history_has_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Jobs::open(&dir.path().join("jobs.redb")).unwrap();
        let total = KEPT_IN_MEMORY + 500;
        for n in 0..total as u32 {
            let record = record(n);
            assert!(jobs.add(&record) && !jobs.add(&record));
            record.fail(JobState::Failed, Failure::new(Fault::Host, "x"));
        }
        jobs.write_changed().await;
        assert!(jobs.inner.index.lock().jobs.len() <= KEPT_IN_MEMORY + 4);
        let first = InvocationCid::of_block(&0u32.to_be_bytes());
        assert!(jobs.get(&first).is_none());
        assert_eq!(jobs.view(&first).unwrap().state, JobState::Failed);
        assert_eq!(jobs.find(&first.to_string()), Some(first));
    }

    #[tokio::test]
    async fn a_key_names_one_job() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Jobs::open(&dir.path().join("jobs.redb")).unwrap();
        let (a, b) = (record(1), record(2));
        let first = Keyed { job: a.id, work: a.task_cid };
        assert_eq!(jobs.add_with_key(&a, "k", a.task_cid), Ok(()));
        assert_eq!(jobs.add_with_key(&b, "k", b.task_cid), Err(first));
        assert_eq!(jobs.by_key("k"), Some(first));
        assert!(jobs.get(&a.id).is_some() && jobs.get(&b.id).is_none());
    }

    #[tokio::test]
    async fn jobs_that_go_on_are_written_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Jobs::open(&dir.path().join("jobs.redb")).unwrap();
        let job = record(1);
        jobs.add(&job);
        jobs.write_changed().await;
        assert_eq!(jobs.inner.history.find(&job.id).unwrap().unwrap().state, JobState::Placing);
        job.set_state(JobState::Running);
        jobs.write_changed().await;
        assert_eq!(jobs.inner.history.find(&job.id).unwrap().unwrap().state, JobState::Running);
        job.fail(JobState::Cancelled, Failure::new(Fault::Requester, "cancelled"));
        jobs.write_changed().await;
        assert_eq!(jobs.inner.history.find(&job.id).unwrap().unwrap().state, JobState::Cancelled);
        assert!(jobs.inner.index.lock().unwritten.is_empty());
    }
}
