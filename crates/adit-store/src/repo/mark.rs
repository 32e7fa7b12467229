//! Finding everything below some roots in the local store, on several threads.

use std::thread;

use adit_unixfs::{block::RAW, links};
use cid::Cid;
use parking_lot::{Condvar, Mutex};

use super::lease::BlockSet;
use crate::{StoreError, disk::Shared, key::BlockKey};

/// Blocks that a thread takes at a time: one index snapshot each.
const BATCH: usize = 64;
const THREADS_MAX: usize = 4;

/// A walk stopped.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum MarkError {
    /// A block below a root cannot be walked through.
    #[error(transparent)]
    Hole(#[from] Hole),
    #[error(transparent)]
    Store(StoreError),
}

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Hole {
    #[error("block {0} is missing")]
    Missing(Cid),
    #[error("block {0} is corrupt")]
    Corrupt(Cid),
    #[error("block {cid} has no readable links: {reason}")]
    Unreadable { cid: Cid, reason: String },
}

impl Hole {
    pub(crate) fn cid(&self) -> Cid {
        match self {
            Self::Missing(cid) | Self::Corrupt(cid) | Self::Unreadable { cid, .. } => *cid,
        }
    }
}

/// Whether holes below a root matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holes {
    /// A pin promises that there are none. Only blocks that could hide others count.
    Refuse,
    /// The same, and every leaf must be there as well.
    RefuseAll,
    /// What is not there needs no keeping.
    Ignore,
}

/// Adds everything below the roots to `marked`. Raw blocks have no links and are not read.
pub(crate) fn mark(
    shared: &Shared,
    roots: Vec<Cid>,
    holes: Holes,
    marked: BlockSet,
) -> Result<BlockSet, MarkError> {
    let mut work = Work { stack: Vec::new(), marked, busy: 0, failed: None };
    work.push(roots, holes);
    if work.stack.is_empty() {
        return Ok(work.marked);
    }
    let work = Mutex::new(work);
    let more = Condvar::new();
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX));
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| walk(shared, holes, &work, &more));
        }
        walk(shared, holes, &work, &more);
    });
    let work = work.into_inner();
    work.failed.map_or(Ok(work.marked), Err)
}

struct Work {
    /// Blocks to read.
    stack: Vec<Cid>,
    marked: BlockSet,
    /// Threads that may still push.
    busy: usize,
    failed: Option<MarkError>,
}

impl Work {
    fn push(&mut self, cids: Vec<Cid>, holes: Holes) {
        for cid in cids {
            if let Some(key) = BlockKey::of(&cid)
                && self.marked.insert(&key)
                && (cid.codec() != RAW || holes == Holes::RefuseAll)
            {
                self.stack.push(cid);
            }
        }
    }
}

fn walk(shared: &Shared, holes: Holes, work: &Mutex<Work>, more: &Condvar) {
    loop {
        let batch = {
            let mut work = work.lock();
            loop {
                if work.failed.is_some() || (work.stack.is_empty() && work.busy == 0) {
                    more.notify_all();
                    return;
                }
                if !work.stack.is_empty() {
                    break;
                }
                more.wait(&mut work);
            }
            work.busy += 1;
            let from = work.stack.len().saturating_sub(BATCH);
            work.stack.split_off(from)
        };
        let found = children(shared, &batch, holes);
        let mut work = work.lock();
        work.busy -= 1;
        match found {
            Ok(cids) => work.push(cids, holes),
            Err(error) => work.failed = Some(error),
        }
        more.notify_all();
    }
}

fn children(shared: &Shared, batch: &[Cid], holes: Holes) -> Result<Vec<Cid>, MarkError> {
    let (leaves, nodes): (Vec<_>, Vec<_>) = batch.iter().partition(|cid| cid.codec() == RAW);
    for (cid, found) in leaves.iter().zip(shared.find_many(&leaves).map_err(MarkError::Store)?) {
        if found.is_none() {
            return Err(Hole::Missing(*cid).into());
        }
    }
    let mut found = Vec::new();
    let blocks = shared.read_many(&nodes).map_err(MarkError::Store)?;
    for (cid, block) in nodes.iter().zip(blocks) {
        let read = match block {
            Ok(Some(bytes)) => {
                links(cid, &bytes).map_err(|error| Hole::Unreadable { cid: *cid, reason: error.to_string() })
            }
            Ok(None) => Err(Hole::Missing(*cid)),
            Err(StoreError::Corrupt { cid }) => Err(Hole::Corrupt(cid)),
            Err(error) => return Err(MarkError::Store(error)),
        };
        match (read, holes) {
            (Ok(cids), _) => found.extend(cids),
            (Err(_), Holes::Ignore) => {}
            (Err(error), Holes::Refuse | Holes::RefuseAll) => return Err(error.into()),
        }
    }
    Ok(found)
}
