//! The block store on disk: an append-only log of segments, and an index derived from it.
//!
//! `put` leaves blocks in memory, readable; one writer thread appends them to the active segment
//! and answers `sync` once the segment is durable. The index (redb) follows in batches; after a
//! crash the part of the log that it lacks is read again. `docs/store.md` has the byte layout and
//! the invariants; start reading at `writer.rs`, then `recovery.rs`, then `reclaim.rs`.

mod index;
mod layout;
mod medium;
mod pages;
mod read;
mod reclaim;
mod recovery;
#[cfg(test)]
mod schedules;
mod segments;
#[cfg(test)]
mod simulated;
mod state;
mod writer;

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, Semaphore, oneshot};

#[cfg(test)]
pub(crate) use self::simulated::SimulatedDisk;
use self::{
    index::Index,
    read::{Found, Pace},
    segments::Segments,
    state::{BUFFER_MAX, Known, Recent, State},
    writer::Writer,
};
pub(crate) use self::{
    index::LogPosition,
    layout::Place,
    medium::{Medium, OsMedium, read_at, sync_dir},
    reclaim::{Spare, free_garbage, is_before},
    state::Shared,
};
use crate::{
    Block, BlockStore, Location, StoreError,
    blocks::storable,
    key::{BlockKey, inline_data},
};

/// Disk reads at a time. More only queue in the kernel, each on a thread of its own.
const READERS: usize = 16;

/// How a [`DiskStore`] behaves.
#[derive(Debug, Clone, Copy)]
pub struct DiskOptions {
    /// Bytes that blocks may take on the disk; the index comes on top, about 100 bytes a block.
    pub limit: u64,
    /// Bytes of free disk space that are left alone. Garbage collection needs a little of it.
    pub reserve: u64,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { limit: u64::MAX, reserve: 64 << 20 }
    }
}

/// Blocks in a directory. Usually opened through [`Repo`](crate::Repo), which also sees to it
/// that no other process has the directory open.
pub struct DiskStore {
    shared: Arc<Shared>,
    readers: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What reading a part of the store found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    pub(crate) corrupt: Vec<Cid>,
}

impl DiskStore {
    /// Opens or makes the store in `dir`. Blocking: reads what a crash left unindexed, at most
    /// about 150 MB. The caller holds a lock on the directory.
    pub fn open(dir: &Path, options: DiskOptions) -> Result<Self, StoreError> {
        let medium = OsMedium::new(dir).map_err(StoreError::io("make the store's directory"))?;
        Self::open_on(Arc::new(medium), options)
    }

    pub(crate) fn open_on(medium: Arc<dyn Medium>, options: DiskOptions) -> Result<Self, StoreError> {
        let index = Index::open(medium.clone())?;
        let recovered = recovery::recover(&*medium, &index)?;
        let shared = Arc::new(Shared {
            segments: Segments::new(medium.clone()),
            medium,
            index,
            state: Mutex::new(State { log_end: recovered.end, ..State::default() }),
            pace: Pace::default(),
            wake: Condvar::new(),
            room: Notify::new(),
            used: AtomicU64::new(recovered.used),
            limit: AtomicU64::new(options.limit),
            reserve: options.reserve,
        });
        let writer = Writer::new(shared.clone(), recovered.active, recovered.next_segment);
        let thread = std::thread::Builder::new()
            .name("adit-store".into())
            .spawn(move || writer.run())
            .map_err(StoreError::io("start the writer thread"))?;
        let readers = Arc::new(Semaphore::new(READERS));
        Ok(Self { shared, readers, writer: Mutex::new(Some(thread)) })
    }

    /// Writes everything out and stops. Later calls answer [`StoreError::Closed`].
    pub async fn close(&self) {
        if let Some(thread) = self.begin_close() {
            // A panic of the writer was reported by the hook already, and nothing is left to do.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn begin_close(&self) -> Option<JoinHandle<()>> {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
        self.writer.lock().take()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The end of the log, or a little before it.
    pub(crate) fn log_end(&self) -> LogPosition {
        self.shared.state.lock().log_end
    }

    /// Stored blocks; those that were put a moment ago may be counted twice or not yet.
    pub(crate) async fn count(&self) -> Result<u64, StoreError> {
        let recent = self.shared.state.lock().recent.len() as u64;
        Ok(recent + self.blocking(|shared| shared.index.len()).await?)
    }

    /// Bytes that blocks take on the disk.
    pub(crate) fn used(&self) -> u64 {
        self.shared.used()
    }

    pub(crate) fn limit(&self) -> u64 {
        self.shared.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.shared.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn reserve(&self) -> u64 {
        self.shared.reserve
    }

    /// Up to `limit` entries of the index after a key.
    pub(crate) async fn index_page(
        &self,
        after: Option<BlockKey>,
        limit: usize,
    ) -> Result<Vec<(BlockKey, Place)>, StoreError> {
        self.blocking(move |shared| shared.index.page(after, limit)).await
    }

    /// Reads and hashes what an index page names, in the order it lies on the disk.
    pub(crate) async fn check_page(&self, mut page: Vec<(BlockKey, Place)>) -> Result<Checked, StoreError> {
        self.blocking(move |shared| {
            page.sort_unstable_by_key(|(_, place)| (place.segment, place.offset));
            let mut checked = Checked::default();
            for (key, place) in page {
                let cid = key.cid(u64::from(place.codec));
                match shared.read_verified(&cid, &key, place) {
                    Ok(Some(bytes)) => checked.bytes += bytes.len() as u64,
                    // Deleted meanwhile.
                    Ok(None) => continue,
                    // A disk that fails to read a block has lost it just the same.
                    Err(StoreError::Corrupt { .. } | StoreError::Io { .. }) => checked.corrupt.push(cid),
                    Err(error) => return Err(error),
                }
                checked.blocks += 1;
            }
            Ok(checked)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.readers.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let shared = self.shared.clone();
        let run = move || {
            let result = work(&shared);
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(run).await.map_err(|_| StoreError::Closed)?
    }

    /// Where the block is, or its bytes if they are in memory.
    async fn find(&self, key: BlockKey) -> Result<Option<Found>, StoreError> {
        let known = self.shared.state.lock().lookup(&key);
        match known {
            Known::Bytes(bytes) => Ok(Some(Found::Bytes(bytes))),
            Known::At(place) => Ok(Some(Found::At(place))),
            Known::Gone => Ok(None),
            Known::AskIndex { stamp } => {
                let look = move |shared: &Shared| Ok(shared.ask_index(&key, stamp)?.map(Found::At));
                let Some(began) = self.shared.pace.begin() else { return self.blocking(look).await };
                let found = look(&self.shared);
                self.shared.pace.end(began);
                found
            }
        }
    }
}

#[async_trait]
impl BlockStore for DiskStore {
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if let Some(data) = inline_data(cid) {
            return Ok(Some(data));
        }
        let Some(key) = BlockKey::of(cid) else { return Ok(None) };
        let place = match self.find(key).await? {
            Some(Found::Bytes(bytes)) => return Ok(Some(bytes)),
            Some(Found::At(place)) => place,
            None => return Ok(None),
        };
        if let Some(bytes) = self.shared.read_small_cached(cid, place) {
            return Ok(Some(bytes));
        }
        let cid = *cid;
        self.blocking(move |shared| shared.read_verified(&cid, &key, place)).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.size(cid).await?.is_some())
    }

    async fn size(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        if let Some(data) = inline_data(cid) {
            return Ok(Some(data.len() as u64));
        }
        let Some(key) = BlockKey::of(cid) else { return Ok(None) };
        Ok(self.find(key).await?.map(|found| found.len()))
    }

    async fn sizes(&self, cids: &[Cid]) -> Result<Vec<Option<u64>>, StoreError> {
        let mut sizes = vec![None; cids.len()];
        let mut unknown = Vec::new();
        {
            let mut state = self.shared.state.lock();
            for (at, cid) in cids.iter().enumerate() {
                if let Some(data) = inline_data(cid) {
                    sizes[at] = Some(data.len() as u64);
                } else if let Some(key) = BlockKey::of(cid) {
                    match state.lookup(&key) {
                        Known::Bytes(bytes) => sizes[at] = Some(bytes.len() as u64),
                        Known::At(place) => sizes[at] = Some(u64::from(place.len)),
                        Known::Gone => {}
                        Known::AskIndex { stamp } => unknown.push((at, key, stamp)),
                    }
                }
            }
        }
        if !unknown.is_empty() {
            let found = self.blocking(move |shared| shared.ask_index_many(unknown)).await?;
            for (at, place) in found {
                sizes[at] = place.map(|place| u64::from(place.len));
            }
        }
        Ok(sizes)
    }

    async fn put(&self, blocks: Vec<Block>) -> Result<(), StoreError> {
        let mut accepted = Vec::with_capacity(blocks.len());
        let mut bytes = 0;
        for block in blocks {
            if let Some(key) = storable(&block)? {
                bytes += block.data.len();
                accepted.push((key, block));
            }
        }
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            // Registered before the look, so that room made in between is not missed.
            room.as_mut().enable();
            {
                let mut state = self.shared.state.lock();
                state.check_writable()?;
                if self.shared.over_limit((state.buffered + bytes) as u64) {
                    return Err(StoreError::Full { why: "the operator's limit for blocks is reached" });
                }
                if state.buffered == 0 || state.buffered + bytes <= BUFFER_MAX {
                    if state.take(accepted) {
                        self.shared.wake.notify_one();
                    }
                    return Ok(());
                }
                state.pressed = true;
                self.shared.wake.notify_one();
            }
            room.await;
        }
    }

    async fn sync(&self) -> Result<(), StoreError> {
        let (send, receive) = oneshot::channel();
        {
            let mut state = self.shared.state.lock();
            if state.closing {
                return Err(StoreError::Closed);
            }
            state.sync_waiters.push(send);
            self.shared.wake.notify_one();
        }
        receive.await.map_err(|_| StoreError::Closed)?
    }

    async fn locate(&self, cid: &Cid) -> Result<Option<Location>, StoreError> {
        if let Some(data) = inline_data(cid) {
            return Ok(Some(Location::Inline(data)));
        }
        let Some(key) = BlockKey::of(cid) else { return Ok(None) };
        let Some(found) = self.find(key).await? else { return Ok(None) };
        let located = match found {
            Found::Bytes(bytes) => Some(Location::Inline(bytes)),
            Found::At(place) => self.shared.segments.get(place.segment).ok().and_then(|segment| {
                let (offset, len) = (u64::from(place.offset), u64::from(place.len));
                Some(Location::File { file: segment.file()?, offset, len })
            }),
        };
        // Moved a moment ago, or no file to hand out: the bytes do.
        match located {
            Some(location) => Ok(Some(location)),
            None => Ok(self.get(cid).await?.map(Location::Inline)),
        }
    }

    async fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        match BlockKey::of(cid) {
            Some(key) => self.shared.on_writer(move |writer| writer.remove_key(key)).await?,
            None => Ok(()),
        }
    }

    fn list(&self) -> BoxStream<'_, Result<(Cid, u64), StoreError>> {
        let entry = |(key, place): (BlockKey, Place)| (key.cid(u64::from(place.codec)), u64::from(place.len));
        let recent: Vec<_> = {
            let state = self.shared.state.lock();
            let of = |(key, recent): (&BlockKey, &Recent)| match recent {
                Recent::Buffered { cid, data } => (*key, key.cid(cid.codec()), data.len() as u64),
                Recent::Written(place) => (*key, key.cid(u64::from(place.codec)), u64::from(place.len)),
            };
            state.recent.iter().map(of).collect()
        };
        let listed: HashSet<_> = recent.iter().map(|(key, _, _)| *key).collect();
        let pages = stream::try_unfold(None, move |after| async move {
            let page = self.index_page(after, 1024).await?;
            let last = page.last().map(|(key, _)| *key);
            Ok::<_, StoreError>(last.map(|last| (page, Some(last))))
        });
        let indexed = pages
            .map_ok(move |page| {
                let new: Vec<_> = page.into_iter().filter(|(key, _)| !listed.contains(key)).collect();
                stream::iter(new.into_iter().map(move |found| Ok(entry(found))))
            })
            .try_flatten();
        stream::iter(recent.into_iter().map(|(_, cid, len)| Ok((cid, len)))).chain(indexed).boxed()
    }
}

impl State {
    fn check_writable(&self) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.closing {
            return Err(StoreError::Closed);
        }
        self.stuck.clone().map_or(Ok(()), Err)
    }

    /// Buffers blocks that are not known yet. Answers whether the writer should be woken.
    fn take(&mut self, blocks: Vec<(BlockKey, Block)>) -> bool {
        let before = self.buffered;
        for (key, Block { cid, data }) in blocks {
            if let std::collections::hash_map::Entry::Vacant(slot) = self.recent.entry(key) {
                self.buffered += data.len();
                self.queue.push_back(key);
                slot.insert(Recent::Buffered { cid, data });
            }
        }
        let flush = writer::FLUSH_FROM;
        // The first block starts the clock, the one that fills the buffer starts the flush.
        before == 0 || (before < flush && self.buffered >= flush)
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        if let Some(thread) = self.begin_close() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore").field("medium", &self.shared.medium).finish_non_exhaustive()
    }
}
