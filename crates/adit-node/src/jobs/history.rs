//! `jobs.redb`: the jobs of earlier days, and those that a crash interrupted.
//!
//! Written by one task in batches, so that no job waits for a disk. Two tables:
//!
//! - `jobs`: key = created (Unix ms, 8 bytes big-endian) ‖ invocation digest (32 bytes); value =
//!   version byte 1 ‖ DAG-CBOR of [`JobView`]. The order of keys is the order of asking.
//! - `names`: key = invocation digest; value = created, to find a job by its name.
//!
//! What is written is never waited for: after a crash the last seconds may be missing, which is
//! why history promises nothing that receipts do not prove.

use std::path::Path;

use cid::Cid;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::view::{Failure, Fault, JobId, JobState, JobView, ResultView};

const JOBS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("jobs");
const NAMES: TableDefinition<&[u8], u64> = TableDefinition::new("names");
const VERSION: u8 = 1;
/// Memory for redb's cache: history is written in order and read rarely.
const CACHE_BYTES: usize = 4 << 20;

/// The history file.
#[derive(Debug)]
pub(crate) struct History {
    database: Database,
}

/// Why history could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("job history: {step} failed")]
pub struct HistoryError {
    step: &'static str,
    #[source]
    source: Box<redb::Error>,
}

fn failed<E: Into<redb::Error>>(step: &'static str) -> impl FnOnce(E) -> HistoryError {
    move |source| HistoryError { step, source: Box::new(source.into()) }
}

fn key(created_ms: u64, id: &JobId) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&created_ms.to_be_bytes());
    key[8..].copy_from_slice(id.digest());
    key
}

impl History {
    /// Opens or creates the file and marks jobs that had not ended as lost.
    pub(crate) fn open(path: &Path, now_ms: u64) -> Result<Self, HistoryError> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(failed("opening the file"))?;
        let history = History { database };
        let write = history.database.begin_write().map_err(failed("opening the tables"))?;
        write.open_table(JOBS).map_err(failed("opening the tables"))?;
        write.open_table(NAMES).map_err(failed("opening the tables"))?;
        write.commit().map_err(failed("opening the tables"))?;
        history.mark_lost(now_ms)?;
        Ok(history)
    }

    /// Writes these jobs as they stand.
    pub(crate) fn write(&self, jobs: &[JobView]) -> Result<(), HistoryError> {
        let write = self.database.begin_write().map_err(failed("writing"))?;
        {
            let mut table = write.open_table(JOBS).map_err(failed("writing"))?;
            let mut names = write.open_table(NAMES).map_err(failed("writing"))?;
            for job in jobs {
                let mut value = vec![VERSION];
                // Encoding to memory fails only on types that a view does not hold.
                serde_ipld_dagcbor::to_writer(&mut value, job).expect("views always encode");
                table.insert(&key(job.created_ms, &job.id)[..], &value[..]).map_err(failed("writing"))?;
                names.insert(&job.id.digest()[..], job.created_ms).map_err(failed("writing"))?;
            }
        }
        write.commit().map_err(failed("writing"))
    }

    /// Up to `limit` jobs asked for before `before_ms`, newest first.
    pub(crate) fn before(&self, before_ms: u64, limit: usize) -> Result<Vec<JobView>, HistoryError> {
        let read = self.database.begin_read().map_err(failed("reading"))?;
        let table = read.open_table(JOBS).map_err(failed("reading"))?;
        let end = before_ms.to_be_bytes();
        let mut found = Vec::new();
        for row in table.range::<&[u8]>(..&end[..]).map_err(failed("reading"))?.rev() {
            let (_, value) = row.map_err(failed("reading"))?;
            found.extend(decode(value.value()));
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// The job of this name.
    pub(crate) fn find(&self, id: &JobId) -> Result<Option<JobView>, HistoryError> {
        let read = self.database.begin_read().map_err(failed("reading"))?;
        let names = read.open_table(NAMES).map_err(failed("reading"))?;
        let Some(created) = names.get(&id.digest()[..]).map_err(failed("reading"))? else { return Ok(None) };
        let table = read.open_table(JOBS).map_err(failed("reading"))?;
        let row = table.get(&key(created.value(), id)[..]).map_err(failed("reading"))?;
        Ok(row.and_then(|value| decode(value.value())))
    }

    /// What the results of jobs that are to be kept need in the store.
    pub(crate) fn kept(&self, now: u64) -> Result<Vec<Cid>, HistoryError> {
        let read = self.database.begin_read().map_err(failed("reading"))?;
        let table = read.open_table(JOBS).map_err(failed("reading"))?;
        let mut roots = Vec::new();
        for row in table.iter().map_err(failed("reading"))? {
            let (_, value) = row.map_err(failed("reading"))?;
            let kept = decode(value.value()).filter(|view| view.kept_until.is_some_and(|until| until > now));
            roots.extend(kept.iter().flat_map(needed));
        }
        Ok(roots)
    }

    /// Forgets jobs asked for before this moment, at most `limit` at a time; says how many.
    pub(crate) fn forget_before(&self, before_ms: u64, limit: usize) -> Result<usize, HistoryError> {
        let write = self.database.begin_write().map_err(failed("forgetting"))?;
        let mut forgotten = 0;
        {
            let mut table = write.open_table(JOBS).map_err(failed("forgetting"))?;
            let mut names = write.open_table(NAMES).map_err(failed("forgetting"))?;
            let end = before_ms.to_be_bytes();
            let mut old = Vec::new();
            for row in table.range::<&[u8]>(..&end[..]).map_err(failed("forgetting"))?.take(limit) {
                old.push(row.map_err(failed("forgetting"))?.0.value().to_vec());
            }
            for key in old {
                names.remove(&key[8..]).map_err(failed("forgetting"))?;
                table.remove(&key[..]).map_err(failed("forgetting"))?;
                forgotten += 1;
            }
        }
        write.commit().map_err(failed("forgetting"))?;
        Ok(forgotten)
    }

    fn mark_lost(&self, now_ms: u64) -> Result<(), HistoryError> {
        let read = self.database.begin_read().map_err(failed("reading"))?;
        let table = read.open_table(JOBS).map_err(failed("reading"))?;
        let mut lost = Vec::new();
        for row in table.iter().map_err(failed("reading"))? {
            let (_, value) = row.map_err(failed("reading"))?;
            let Some(mut view) = decode(value.value()) else { continue };
            if !view.state.is_final() {
                view.state = JobState::Lost;
                view.finished_ms = Some(now_ms);
                view.failure = Some(Failure::new(Fault::Node, "the node stopped while the job ran"));
                lost.push(view);
            }
        }
        drop((table, read));
        if lost.is_empty() { Ok(()) } else { self.write(&lost) }
    }
}

/// The roots and records of a job's result.
fn needed(view: &JobView) -> Vec<Cid> {
    let texts: Vec<Option<&String>> = match &view.result {
        Some(ResultView::Ok { root, stdout, stderr, .. }) => vec![Some(root), Some(stdout), Some(stderr)],
        Some(ResultView::Error { stdout, stderr, .. }) => vec![stdout.as_ref(), stderr.as_ref()],
        None => return Vec::new(),
    };
    let contents =
        texts.into_iter().chain([view.receipt.as_ref()]).flatten().filter_map(|text| text.parse().ok());
    let records = [Some(view.id.to_cid()), Some(view.task.to_cid()), view.outcome.map(|o| o.to_cid())];
    contents.chain(records.into_iter().flatten()).collect()
}

/// A row of an unknown version, or a damaged one, is not shown; it is forgotten by age like others.
fn decode(value: &[u8]) -> Option<JobView> {
    match value.split_first() {
        Some((&VERSION, cbor)) => serde_ipld_dagcbor::from_slice(cbor).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use adit_model::{AccountId, InvocationCid};

    use super::*;
    use crate::jobs::record::Record;
    use crate::jobs::tests::task;
    use crate::view::Role;

    fn view(n: u64, state: JobState) -> JobView {
        let (task, cid) = task();
        let id = InvocationCid::of_block(&n.to_be_bytes());
        let record = Record::new(id, Role::Local, task, cid, AccountId([1; 20]));
        record.set_state(state);
        let mut view = record.view();
        view.created_ms = n;
        view
    }

    #[test]
    fn history_survives_and_running_jobs_come_back_as_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.redb");
        let (done, running) = (view(1, JobState::Finished), view(2, JobState::Running));
        {
            let history = History::open(&path, 0).unwrap();
            history.write(&[done.clone(), running.clone()]).unwrap();
            assert_eq!(history.find(&running.id).unwrap().unwrap().state, JobState::Running);
        }
        let history = History::open(&path, 99).unwrap();
        assert_eq!(history.find(&done.id).unwrap().unwrap(), done);
        let lost = history.find(&running.id).unwrap().unwrap();
        assert_eq!((lost.state, lost.finished_ms), (JobState::Lost, Some(99)));
        assert!(lost.failure.unwrap().reason.contains("stopped"));
    }

    #[test]
    fn pages_go_backwards_and_old_jobs_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(&dir.path().join("jobs.redb"), 0).unwrap();
        let jobs: Vec<_> = (1..=50).map(|n| view(n, JobState::Finished)).collect();
        history.write(&jobs).unwrap();
        let page: Vec<u64> = history.before(40, 3).unwrap().iter().map(|v| v.created_ms).collect();
        assert_eq!(page, [39, 38, 37]);
        assert_eq!(history.forget_before(41, 30).unwrap(), 30);
        assert_eq!(history.forget_before(41, 30).unwrap(), 10);
        assert!(history.find(&jobs[39].id).unwrap().is_none());
        assert_eq!(history.before(u64::MAX, 100).unwrap().len(), 10);
    }

    #[test]
    fn rows_of_another_version_are_passed_over() {
        assert!(decode(&[2, 0xa0]).is_none());
        assert!(decode(&[]).is_none());
        assert!(decode(&[VERSION, 0xff, 0xff]).is_none());
    }
}
