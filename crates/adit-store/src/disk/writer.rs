//! The one thread that writes: it drains the buffer into the active segment, syncs for whoever
//! waits, and moves what it wrote into the index now and then.
//!
//! One thread is enough, because it only copies and waits for the disk; hashing happened before.
//! That deletion and compaction run on it too is what keeps them from racing with new blocks.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use cid::Cid;

use super::{
    index::{IndexChange, LogPosition},
    layout::{
        PAGE, Place, RECORD_ALIGN, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SEGMENT_MAX, SegmentHeader,
    },
    medium::SegmentFile,
    pages::Pages,
    state::{Recent, Shared, State},
};
use crate::{StoreError, key::BlockKey};

/// A flush begins when this much waits, so that big adds overlap with hashing.
pub(crate) const FLUSH_FROM: usize = 4 << 20;
/// Unsynced blocks reach the disk after this long without anybody asking.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// How much may be in segments and not in the index: the work of a restart after a crash, and some
/// 100 bytes of memory a block. Small batches would rewrite most of a big index each time.
const UNINDEXED_MAX: usize = 64 << 10;
const UNINDEXED_BYTES_MAX: u64 = 128 << 20;
/// A batch is written in pieces of at most this much: whatever the disk has no room for, the pieces before it are
/// written.
const PIECE_BYTES: usize = 8 << 20;
const PIECE_BLOCKS: usize = 16 << 10;

/// The segment that is appended to.
pub(crate) struct Active {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn SegmentFile>,
    /// Where the next flush starts: a page boundary after everything written.
    pub(crate) tail: u64,
    /// Where the flush under way started in this segment.
    flush_start: u64,
}

impl Active {
    pub(crate) fn new(header: SegmentHeader, file: Arc<dyn SegmentFile>, tail: u64) -> Self {
        Self { header, file, tail, flush_start: tail }
    }
}

/// A block on its way into a segment.
pub(crate) struct Record {
    pub(crate) key: BlockKey,
    pub(crate) cid: Cid,
    pub(crate) data: Bytes,
}

/// Owned by the writer thread.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) active: Option<Active>,
    pub(crate) next_segment: u32,
    /// Written and not in the index.
    unindexed: Vec<(BlockKey, Place)>,
    unindexed_bytes: u64,
    /// Written since the last sync.
    dirty: bool,
    /// A sync failed: nothing is written any more.
    failed: Option<StoreError>,
    staging: Pages,
}

/// Tells everybody who waits that nobody will answer, should the thread end early.
struct Obituary(Arc<Shared>);

impl Drop for Obituary {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closing = true;
        state.failed.get_or_insert(StoreError::Closed);
        state.sync_waiters.clear();
        state.tasks.clear();
        self.0.room.notify_waiters();
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, active: Option<Active>, next_segment: u32) -> Self {
        Self {
            shared,
            active,
            next_segment,
            unindexed: Vec::new(),
            unindexed_bytes: 0,
            dirty: false,
            failed: None,
            staging: Pages::new(),
        }
    }

    /// The thread's life. Ends when the store is closed and everything is written.
    pub(crate) fn run(mut self) {
        let _obituary = Obituary(self.shared.clone());
        loop {
            let shared = self.shared.clone();
            let mut state = shared.state.lock();
            while !has_work(&state) {
                let idle = state.queue.is_empty() && self.unindexed.is_empty();
                if idle {
                    shared.wake.wait(&mut state);
                } else if shared.wake.wait_for(&mut state, FLUSH_AFTER).timed_out() {
                    break;
                }
            }
            let timed_out = !has_work(&state);
            let closing = state.closing;
            let waiters = std::mem::take(&mut state.sync_waiters);
            let tasks = std::mem::take(&mut state.tasks);
            let batch = take_batch(&mut state);
            drop(state);

            let mut result = self.flush(batch);
            if result.is_ok() && (!waiters.is_empty() || closing) {
                result = self.sync();
            }
            for waiter in waiters {
                let _ = waiter.send(result.clone());
            }
            for task in tasks {
                task(&mut self);
            }
            let much = self.unindexed.len() >= UNINDEXED_MAX || self.unindexed_bytes >= UNINDEXED_BYTES_MAX;
            if (much || closing || timed_out)
                && let Err(error) = self.checkpoint()
            {
                tracing::warn!(%error, "the block index could not be brought up to date");
            }
            if timed_out {
                // Nothing to do: memory that a burst needed goes back.
                self.staging.shrink();
                self.unindexed.shrink_to_fit();
                let mut state = self.shared.state.lock();
                state.recent.shrink_to_fit();
                state.queue.shrink_to_fit();
            }
            if closing {
                return;
            }
        }
    }

    /// Writes a batch into segments, leaving out what the index has: piece by piece, so that on a nearly full disk as
    /// much is written as there is room for. On failure the rest stays buffered and readable, and the next flush tries
    /// again.
    fn flush(&mut self, batch: Vec<Record>) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let mut rest = &batch[..];
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(piece_len(rest));
            match self.write_new(piece) {
                Ok(places) => self.note_written(piece, places),
                Err(error) => return Err(self.put_back(rest, error)),
            }
            rest = more;
            if !rest.is_empty()
                && self.unindexed.len() >= UNINDEXED_MAX
                && let Err(error) = self.checkpoint()
            {
                return Err(self.put_back(rest, error));
            }
        }
        // Whatever was in the way, nothing is stuck any more.
        self.shared.state.lock().stuck = None;
        Ok(())
    }

    /// What could not be written waits for the next flush.
    fn put_back(&self, rest: &[Record], error: StoreError) -> StoreError {
        let mut state = self.shared.state.lock();
        for record in rest.iter().rev() {
            state.queue.push_front(record.key);
        }
        state.stuck = Some(error.clone());
        self.shared.room.notify_waiters();
        error
    }

    fn note_written(&self, piece: &[Record], places: Vec<Option<Place>>) {
        let mut state = self.shared.state.lock();
        for (record, place) in piece.iter().zip(places) {
            state.buffered -= record.data.len();
            match place {
                Some(place) => {
                    state.recent.insert(record.key, Recent::Written(place));
                }
                None => {
                    state.recent.remove(&record.key);
                }
            }
        }
        state.log_end = self.position();
        self.shared.room.notify_waiters();
    }

    /// Writes those of the batch that the index lacks; the places of what was written.
    fn write_new(&mut self, batch: &[Record]) -> Result<Vec<Option<Place>>, StoreError> {
        let keys: Vec<_> = batch.iter().map(|record| record.key).collect();
        let known = self.shared.index.get_many(&keys)?;
        let new: Vec<_> =
            batch.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(record, _)| record).collect();
        let mut written = self.append(&new, self.shared.reserve)?.into_iter();
        Ok(known.iter().map(|known| if known.is_none() { written.next() } else { None }).collect())
    }

    /// Appends records as one flush, which begins and ends on a page boundary. A flush that fails
    /// leaves nothing behind that counts: the next one writes over it. Refuses when less than
    /// `reserve` bytes of disk space would be left.
    pub(crate) fn append(&mut self, records: &[&Record], reserve: u64) -> Result<Vec<Place>, StoreError> {
        if let Some(active) = &mut self.active {
            active.flush_start = active.tail;
        }
        let result = self.append_records(records, reserve);
        if result.is_err()
            && let Some(active) = &mut self.active
        {
            self.shared.used.fetch_sub(active.tail - active.flush_start, Ordering::Relaxed);
            active.tail = active.flush_start;
        }
        result
    }

    fn append_records(&mut self, records: &[&Record], reserve: u64) -> Result<Vec<Place>, StoreError> {
        let bytes: u64 = records.iter().map(|record| record_len(record)).sum();
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let free = self.shared.medium.free_bytes().map_err(StoreError::io("ask for free space"))?;
        if free < bytes.saturating_add(reserve) {
            return Err(StoreError::Full { why: "the disk is full" });
        }
        let mut places = Vec::with_capacity(records.len());
        // Where the next staged byte goes, and where the staged bytes begin.
        let mut at = self.active.as_ref().map_or(SEGMENT_MAX, |active| active.tail);
        for record in records {
            if at + record_len(record) > SEGMENT_MAX {
                self.write_staged(at)?;
                self.begin_segment()?;
                at = SEGMENT_HEADER;
            }
            let active = self.active.as_ref().expect("a segment was begun");
            let header = RecordHeader { cid: record.cid, len: record.data.len() as u32 };
            let offset = at + RECORD_HEADER as u64;
            places.push(Place {
                segment: active.header.number,
                offset: u32::try_from(offset).expect("segments are shorter than 4 GiB"),
                len: header.len,
                codec: u32::try_from(record.cid.codec()).expect("put refuses larger codecs"),
            });
            let head = header.encode(&active.header, at);
            let end = header.end(at);
            let padding = [0; RECORD_ALIGN];
            let padding = &padding[..(end - offset - u64::from(header.len)) as usize];
            for mut part in [&head[..], &record.data[..], padding] {
                while !part.is_empty() {
                    part = self.staging.fill(part);
                    if self.staging.is_full() {
                        self.write_full_staging()?;
                    }
                }
            }
            at = end;
        }
        self.write_staged(at)?;
        for place in &places {
            self.unindexed_bytes += u64::from(place.len);
        }
        self.unindexed.extend(records.iter().map(|record| record.key).zip(places.iter().copied()));
        Ok(places)
    }

    /// Writes what is staged, filled up to a page boundary, and moves the tail behind it.
    fn write_staged(&mut self, at: u64) -> Result<(), StoreError> {
        if self.staging.is_empty() {
            return Ok(());
        }
        self.staging.pad();
        self.write_full_staging()?;
        let active = self.active.as_mut().expect("staged bytes belong to a segment");
        debug_assert_eq!(active.tail, at.next_multiple_of(PAGE as u64));
        Ok(())
    }

    fn write_full_staging(&mut self) -> Result<(), StoreError> {
        let active = self.active.as_mut().expect("staged bytes belong to a segment");
        let pages = self.staging.bytes();
        let result = active.file.write_pages(pages, active.tail);
        let len = pages.len() as u64;
        self.staging.clear();
        result.map_err(write_error)?;
        active.tail += len;
        self.dirty = true;
        self.shared.used.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Syncs the active segment and begins the next one.
    fn begin_segment(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        let number = self.next_segment;
        let file = self.shared.medium.create_segment(number).map_err(write_error)?;
        self.next_segment += 1;
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).expect("the system has randomness");
        let header = SegmentHeader { number, salt };
        self.staging.fill(&header.encode());
        let result = file.write_pages(self.staging.bytes(), 0);
        self.staging.clear();
        result.map_err(write_error)?;
        self.shared.used.fetch_add(SEGMENT_HEADER, Ordering::Relaxed);
        self.dirty = true;
        self.active = Some(Active::new(header, file, SEGMENT_HEADER));
        Ok(())
    }

    /// Makes everything written durable. After a failure nothing more is taken: the kernel may
    /// have dropped the pages, and only reading the disk afresh can tell.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            // Asking the kernel again would get a yes that means nothing.
            return Err(failed.clone());
        }
        if !self.dirty {
            return Ok(());
        }
        let Some(active) = &self.active else { return Ok(()) };
        match active.file.sync() {
            Ok(()) => {
                self.dirty = false;
                Ok(())
            }
            Err(source) => {
                let error = StoreError::Failed { source: Arc::new(source) };
                self.failed = Some(error.clone());
                self.shared.state.lock().failed = Some(error.clone());
                self.shared.room.notify_waiters();
                Err(error)
            }
        }
    }

    /// The end of the log.
    pub(crate) fn position(&self) -> LogPosition {
        match &self.active {
            Some(active) => LogPosition { segment: active.header.number, offset: active.tail },
            None => LogPosition { segment: self.next_segment, offset: 0 },
        }
    }

    /// Syncs, and moves everything written into the index.
    pub(crate) fn checkpoint(&mut self) -> Result<(), StoreError> {
        if self.unindexed.is_empty() {
            return Ok(());
        }
        self.sync()?;
        let mut insert = std::mem::take(&mut self.unindexed);
        // In the order of the tree; of two entries for one key the later one stays the later.
        insert.sort_by_key(|(key, _)| *key);
        let change = IndexChange { insert, scanned: Some(self.position()), ..IndexChange::default() };
        let result = self.shared.index.commit(&change);
        if let Err(error) = result {
            self.unindexed = change.insert;
            return Err(error);
        }
        self.unindexed_bytes = 0;
        let mut state = self.shared.state.lock();
        for (key, place) in &change.insert {
            if matches!(state.recent.get(key), Some(Recent::Written(at)) if at == place) {
                state.recent.remove(key);
            }
        }
        Ok(())
    }

    /// The same as far as the disk has room: what it has none for stays buffered.
    pub(crate) fn settle_what_fits(&mut self) -> Result<(), StoreError> {
        match self.settle() {
            Err(StoreError::Full { .. }) => self.checkpoint(),
            settled => settled,
        }
    }

    /// Flushes, syncs and indexes everything that was put before, for tasks that need the index
    /// to be complete.
    fn settle(&mut self) -> Result<(), StoreError> {
        let batch = take_batch(&mut self.shared.state.lock());
        self.flush(batch)?;
        self.checkpoint()
    }
}

/// How many of the first records are written in one go.
fn piece_len(records: &[Record]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        bytes += record.data.len();
        bytes <= PIECE_BYTES
    };
    records.iter().take(PIECE_BLOCKS).take_while(fits).count().max(1)
}

fn has_work(state: &State) -> bool {
    state.closing
        || !state.sync_waiters.is_empty()
        || !state.tasks.is_empty()
        || ((state.pressed || state.buffered >= FLUSH_FROM) && state.stuck.is_none())
}

/// Everything that waits, in order. The blocks stay readable in memory until they are written.
fn take_batch(state: &mut State) -> Vec<Record> {
    state.pressed = false;
    let queue = std::mem::take(&mut state.queue);
    let buffered = |key: BlockKey| match state.recent.get(&key) {
        Some(Recent::Buffered { cid, data }) => Some(Record { key, cid: *cid, data: data.clone() }),
        _ => None,
    };
    queue.into_iter().filter_map(buffered).collect()
}

fn record_len(record: &Record) -> u64 {
    ((RECORD_HEADER + record.data.len()).next_multiple_of(RECORD_ALIGN)) as u64
}

fn write_error(source: std::io::Error) -> StoreError {
    use std::io::ErrorKind;
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::Full { why: "the disk is full" }
        }
        _ => StoreError::io("write a segment")(source),
    }
}
