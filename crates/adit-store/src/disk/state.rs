//! What readers, putters and the writer thread share, and the short-lived lock around it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use cid::Cid;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::{
    index::{Index, LogPosition},
    layout::Place,
    medium::Medium,
    read::Pace,
    segments::Segments,
    writer::Writer,
};
use crate::{StoreError, key::BlockKey};

/// What may wait in memory to be written. More buys no throughput: a flush writes it in one go.
pub(crate) const BUFFER_MAX: usize = 24 << 20;

/// A block that the index does not know yet.
#[derive(Debug, Clone)]
pub(crate) enum Recent {
    /// In memory only.
    Buffered { cid: Cid, data: Bytes },
    /// In a segment, perhaps not durable.
    Written(Place),
}

/// Work for the writer thread beside flushing: deletion, compaction, a checkpoint.
pub(crate) type Task = Box<dyn FnOnce(&mut Writer) + Send>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) recent: HashMap<BlockKey, Recent>,
    /// Keys of buffered blocks in the order they came.
    pub(crate) queue: VecDeque<BlockKey>,
    pub(crate) buffered: usize,
    /// Somebody waits for room in the buffer.
    pub(crate) pressed: bool,
    pub(crate) sync_waiters: Vec<oneshot::Sender<Result<(), StoreError>>>,
    pub(crate) tasks: VecDeque<Task>,
    /// Chosen for deletion, still in the index: absent to everybody who asks from now on.
    pub(crate) dying: HashSet<BlockKey>,
    pub(crate) places: PlaceCache,
    /// Why the last flush failed. The next one tries again; meanwhile nothing more is taken.
    pub(crate) stuck: Option<StoreError>,
    /// The end of what is written.
    pub(crate) log_end: LogPosition,
    /// Nothing can be written any more.
    pub(crate) failed: Option<StoreError>,
    pub(crate) closing: bool,
}

/// Where a key's bytes are, as far as memory knows.
pub(crate) enum Known {
    Bytes(Bytes),
    At(Place),
    /// Chosen for deletion.
    Gone,
    /// The index has to be asked; the stamp goes with the answer into [`PlaceCache::insert`].
    AskIndex {
        stamp: u64,
    },
}

impl State {
    pub(crate) fn lookup(&mut self, key: &BlockKey) -> Known {
        match self.recent.get(key) {
            Some(Recent::Buffered { data, .. }) => return Known::Bytes(data.clone()),
            Some(Recent::Written(place)) => return Known::At(*place),
            None => {}
        }
        if self.dying.contains(key) {
            return Known::Gone;
        }
        match self.places.get(key) {
            Some(place) => Known::At(place),
            None => Known::AskIndex { stamp: self.places.stamp },
        }
    }
}

/// The places of blocks that were read lately, so that a hot block costs no index lookup.
///
/// Two generations: a full young one becomes the old one, and what is used again moves back.
#[derive(Default)]
pub(crate) struct PlaceCache {
    young: HashMap<BlockKey, Place>,
    old: HashMap<BlockKey, Place>,
    stamp: u64,
}

const GENERATION: usize = 16 << 10;

impl PlaceCache {
    fn get(&mut self, key: &BlockKey) -> Option<Place> {
        if let Some(place) = self.young.get(key) {
            return Some(*place);
        }
        let place = self.old.remove(key)?;
        self.add(*key, place);
        Some(place)
    }

    fn add(&mut self, key: BlockKey, place: Place) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, place);
    }

    /// Takes an answer of the index, unless something was forgotten since `stamp`: the answer
    /// may be what was forgotten.
    pub(crate) fn insert(&mut self, key: BlockKey, place: Place, stamp: u64) {
        if stamp == self.stamp {
            self.add(key, place);
        }
    }

    pub(crate) fn forget<'a>(&mut self, keys: impl IntoIterator<Item = &'a BlockKey>) {
        self.stamp += 1;
        for key in keys {
            self.young.remove(key);
            self.old.remove(key);
        }
    }
}

/// Everything the handles and the writer thread hold in common.
pub(crate) struct Shared {
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) index: Index,
    pub(crate) segments: Segments,
    pub(crate) state: Mutex<State>,
    /// How look-ups in the index are made.
    pub(crate) pace: Pace,
    /// Wakes the writer thread.
    pub(crate) wake: Condvar,
    /// Wakes putters that wait for room in the buffer.
    pub(crate) room: Notify,
    /// Bytes that the segments take on the disk.
    pub(crate) used: AtomicU64,
    /// The operator's limit for `used`.
    pub(crate) limit: AtomicU64,
    /// Free space that is left to others, and to the index during garbage collection.
    pub(crate) reserve: u64,
}

impl Shared {
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn over_limit(&self, more: u64) -> bool {
        self.used().saturating_add(more) > self.limit.load(Ordering::Relaxed)
    }

    /// Runs a task on the writer thread and waits for what it returns.
    pub(crate) async fn on_writer<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (send, receive) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.closing {
                return Err(StoreError::Closed);
            }
            state.tasks.push_back(Box::new(move |writer| {
                // Whoever asked may have gone; the work is done all the same.
                let _ = send.send(task(writer));
            }));
            self.wake.notify_one();
        }
        receive.await.map_err(|_| StoreError::Closed)
    }
}
