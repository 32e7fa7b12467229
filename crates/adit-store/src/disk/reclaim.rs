//! Deleting blocks, and giving the space of deleted blocks back to the file system.
//!
//! Deletion is a change of the index alone. Afterwards a segment's garbage is whatever its live
//! records leave free, so nothing has to be remembered about what was deleted, and space that a
//! crash kept from being freed is found by the next run: a segment without live records is
//! removed, wide gaps are punched out, and a segment of many narrow gaps has its live records
//! moved to the end of the log.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use super::{
    index::{IndexChange, LogPosition},
    layout::{PAGE, Place, RECORD_ALIGN, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader},
    state::{Recent, Shared},
    writer::{Record, Writer},
};
use crate::{StoreError, blocks::fits, key::BlockKey};

/// Narrower gaps are not worth a system call and an extent.
const GAP_MIN: u64 = 16 << 10;
/// Live ranges held in memory at once; 8 bytes each.
const RANGES_MAX: usize = 4 << 20;
/// Bytes moved between two chances for others to write.
const MOVE_BYTES: u64 = 8 << 20;

/// Who has a say when blocks are about to be deleted.
pub(crate) trait Spare {
    fn spares(&self, key: &BlockKey) -> bool;
}

/// Nobody: for a deletion that was asked for by name.
pub(crate) struct Nobody;

impl Spare for Nobody {
    fn spares(&self, _: &BlockKey) -> bool {
        false
    }
}

impl Writer {
    /// Removes entries from the index, durably, except those that are spared. What `lock` returns
    /// is held from the question to the moment from which on nobody finds the block any more, so
    /// that a claim on a block comes either before the one or after the other.
    pub(crate) fn remove<S: Spare>(
        &mut self,
        mut victims: Vec<(BlockKey, Place)>,
        lock: impl FnOnce() -> S,
    ) -> Result<u64, StoreError> {
        {
            let spare = lock();
            victims.retain(|(key, _)| !spare.spares(key));
            let mut state = self.shared.state.lock();
            state.dying.extend(victims.iter().map(|(key, _)| *key));
            state.places.forget(victims.iter().map(|(key, _)| key));
        }
        let removed = victims.len() as u64;
        let change = IndexChange { remove: victims, ..IndexChange::default() };
        let result = self.shared.index.commit(&change);
        let mut state = self.shared.state.lock();
        for (key, _) in &change.remove {
            state.dying.remove(key);
        }
        result.map(|()| removed)
    }

    /// Removes one block wherever it is.
    pub(crate) fn remove_key(&mut self, key: BlockKey) -> Result<(), StoreError> {
        {
            let mut state = self.shared.state.lock();
            if let Some(Recent::Buffered { data, .. }) = state.recent.get(&key) {
                state.buffered -= data.len();
                state.recent.remove(&key);
                // Put again, it would stand there twice.
                state.queue.retain(|queued| *queued != key);
            }
        }
        self.checkpoint()?;
        if let Some(place) = self.shared.index.get(&key)? {
            self.remove(vec![(key, place)], || Nobody)?;
        }
        Ok(())
    }

    /// Ends the active segment, so that its garbage can be freed like that of the others.
    /// Returns the number of the next one: every record before it is indexed.
    pub(crate) fn seal(&mut self) -> Result<u32, StoreError> {
        // On a full disk what is buffered goes into a later segment.
        self.settle_what_fits()?;
        self.active = None;
        Ok(self.next_segment)
    }

    /// Moves live records to the end of the log and points the index at them. May use the
    /// reserve, because it is about to free more than it takes.
    fn relocate(&mut self, records: Vec<Placed>) -> Result<(), StoreError> {
        let keys: Vec<_> = records.iter().map(|(_, record)| record.key).collect();
        let known = self.shared.index.get_many(&keys)?;
        let still: Vec<_> = records
            .iter()
            .zip(known)
            .filter(|((place, _), known)| *known == Some(*place))
            .map(|((_, record), _)| record)
            .collect();
        self.append(&still, 0)?;
        self.checkpoint()?;
        self.shared.state.lock().places.forget(&keys);
        Ok(())
    }
}

/// What freeing space did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) bytes: u64,
    pub(crate) bytes_moved: u64,
}

/// Frees the garbage of all segments before the active one. Runs beside readers and the writer:
/// records are only ever added to the active segment, so a gap found here stays a gap.
pub(crate) async fn free_garbage(shared: &Arc<Shared>) -> Result<Freed, StoreError> {
    let end = shared.on_writer(Writer::seal).await??;
    let before = shared.used();
    let mut freed = Freed::default();
    let wasteful = {
        let shared = shared.clone();
        blocking(move || wasteful_segments(&shared, end)).await?
    };
    for group in groups(wasteful) {
        let planned = {
            let shared = shared.clone();
            blocking(move || live_ranges(&shared, &group)).await?
        };
        for (number, live) in planned {
            if live.is_empty() {
                shared.segments.forget(number);
                shared.medium.remove_segment(number).map_err(StoreError::io("remove a segment"))?;
                continue;
            }
            let sparse = {
                let (shared, live) = (shared.clone(), live.clone());
                blocking(move || punch_gaps(&shared, number, &live)).await?
            };
            if !sparse {
                continue;
            }
            match compact(shared, number, live, &mut freed).await {
                Ok(()) => {}
                // What could be freed without room is freed; the next run goes on.
                Err(StoreError::Full { .. }) => break,
                Err(error) => return Err(error),
            }
        }
    }
    let used = {
        let shared = shared.clone();
        blocking(move || measure(&shared)).await?
    };
    shared.used.store(used, Ordering::Relaxed);
    freed.bytes = before.saturating_sub(used);
    Ok(freed)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)?
}

/// What all segments take on the disk.
fn measure(shared: &Shared) -> Result<u64, StoreError> {
    let numbers = shared.medium.list_segments().map_err(StoreError::io("list the segments"))?;
    let mut used = 0;
    for number in numbers {
        let file = shared.segments.get(number).map_err(StoreError::io("open a segment"))?;
        used += file.allocated().map_err(StoreError::io("measure a segment"))?;
    }
    Ok(used)
}

/// Live records of one segment.
#[derive(Debug, Clone, Copy, Default)]
struct Live {
    count: usize,
    bytes: u64,
}

/// The segments before `end` that take clearly more room than their live records need.
fn wasteful_segments(shared: &Shared, end: u32) -> Result<Vec<(u32, Live)>, StoreError> {
    let mut live: HashMap<u32, Live> = HashMap::new();
    shared.index.for_each(|_, place| {
        let segment = live.entry(place.segment).or_default();
        segment.count += 1;
        segment.bytes += place.record().end - place.record().start;
    })?;
    let mut wasteful = Vec::new();
    for number in shared.medium.list_segments().map_err(StoreError::io("list the segments"))? {
        if number >= end {
            continue;
        }
        let live = live.get(&number).copied().unwrap_or_default();
        let file = shared.segments.get(number).map_err(StoreError::io("open a segment"))?;
        let allocated = file.allocated().map_err(StoreError::io("measure a segment"))?;
        let slack = (live.bytes / 8).max(64 << 10) + (RECORD_ALIGN * live.count) as u64;
        if live.count == 0 || allocated > live.bytes + slack {
            wasteful.push((number, live));
        }
    }
    Ok(wasteful)
}

/// Splits the segments so that the live ranges of one group fit into memory.
fn groups(segments: Vec<(u32, Live)>) -> Vec<Vec<u32>> {
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut room = 0;
    for (number, live) in segments {
        match groups.last_mut() {
            Some(group) if live.count <= room => {
                group.push(number);
                room -= live.count;
            }
            _ => {
                groups.push(vec![number]);
                room = RANGES_MAX.saturating_sub(live.count);
            }
        }
    }
    groups
}

/// (offset of the payload, length) of live records, in the order of offsets.
type Ranges = Vec<(u32, u32)>;

fn live_ranges(shared: &Shared, group: &[u32]) -> Result<BTreeMap<u32, Ranges>, StoreError> {
    let mut live: BTreeMap<u32, Ranges> = group.iter().map(|number| (*number, Vec::new())).collect();
    shared.index.for_each(|_, place| {
        if let Some(ranges) = live.get_mut(&place.segment) {
            ranges.push((place.offset, place.len));
        }
    })?;
    for ranges in live.values_mut() {
        ranges.sort_unstable();
    }
    Ok(live)
}

/// The page-aligned gaps between live records that are wide enough to punch out.
fn gaps(live: &[(u32, u32)], len: u64) -> Vec<Range<u64>> {
    let page = PAGE as u64;
    let mut gaps = Vec::new();
    let mut free_from = SEGMENT_HEADER;
    let records = live.iter().map(|&(offset, len)| {
        let payload = u64::from(offset);
        payload - RECORD_HEADER as u64..payload + u64::from(len)
    });
    for record in records.chain(std::iter::once(len..len)) {
        let gap = free_from.next_multiple_of(page)..record.start / page * page;
        if gap.start + GAP_MIN <= gap.end {
            gaps.push(gap);
        }
        free_from = free_from.max(record.end);
    }
    gaps
}

/// Punches the wide gaps of a segment out. Answers whether what is
/// left over is still worth moving the live records for: a third of it garbage.
fn punch_gaps(shared: &Shared, number: u32, live: &[(u32, u32)]) -> Result<bool, StoreError> {
    let file = shared.medium.change_segment(number).map_err(StoreError::io("open a segment"))?;
    let len = file.len().map_err(StoreError::io("measure a segment"))?;
    for gap in gaps(live, len) {
        match file.punch(gap.start, gap.end - gap.start) {
            Ok(()) => {}
            // A file system without holes: moving the live records is all there is.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => break,
            Err(error) => return Err(StoreError::io("punch a hole")(error)),
        }
    }
    let allocated = file.allocated().map_err(StoreError::io("measure a segment"))?;
    let needed: u64 = live.iter().map(|(_, len)| u64::from(*len) + RECORD_HEADER as u64).sum();
    Ok(allocated > needed + needed / 2 + (1 << 20))
}

/// Moves all live records of a segment away and removes it; where one of them is corrupt, the
/// segment stays, so that the block stays to be reported.
async fn compact(
    shared: &Arc<Shared>,
    number: u32,
    live: Ranges,
    freed: &mut Freed,
) -> Result<(), StoreError> {
    let mut rest = live.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |(_, len): &&(u32, u32)| {
            bytes += u64::from(*len);
            bytes <= MOVE_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        rest = later;
        let records = {
            let (shared, now) = (shared.clone(), now.to_vec());
            blocking(move || read_records(&shared, number, &now)).await?
        };
        let Some(records) = records else { return Ok(()) };
        freed.bytes_moved += records.iter().map(|(place, _)| u64::from(place.len)).sum::<u64>();
        shared.on_writer(move |writer| writer.relocate(records)).await??;
    }
    shared.segments.forget(number);
    shared.medium.remove_segment(number).map_err(StoreError::io("remove a segment"))
}

/// A record and where it lies.
type Placed = (Place, Record);

/// Reads and verifies records; `None` where one is not what it should be.
fn read_records(
    shared: &Shared,
    number: u32,
    live: &[(u32, u32)],
) -> Result<Option<Vec<Placed>>, StoreError> {
    let file = shared.segments.get(number).map_err(StoreError::io("open a segment"))?;
    let mut page = [0; PAGE];
    file.read_exact_at(&mut page, 0).map_err(StoreError::io("read a segment"))?;
    let Some(segment) = SegmentHeader::decode(&page) else { return Ok(None) };
    let mut records = Vec::with_capacity(live.len());
    for &(offset, len) in live {
        let start = u64::from(offset) - RECORD_HEADER as u64;
        let mut bytes = vec![0; RECORD_HEADER + len as usize];
        file.read_exact_at(&mut bytes, start).map_err(StoreError::io("read a segment"))?;
        let header = RecordHeader::decode(&bytes, &segment, start).filter(|header| header.len == len);
        let data = Bytes::from(bytes).slice(RECORD_HEADER..);
        let header = header.filter(|header| fits(&header.cid, &data));
        let named = header.and_then(|header| {
            let codec = u32::try_from(header.cid.codec()).ok()?;
            Some((BlockKey::of(&header.cid)?, header.cid, codec))
        });
        let Some((key, cid, codec)) = named else { return Ok(None) };
        let place = Place { segment: number, offset, len, codec };
        records.push((place, Record { key, cid, data }));
    }
    Ok(Some(records))
}

/// Whether a record at this place was in the log before `position`.
pub(crate) fn is_before(place: &Place, position: LogPosition) -> bool {
    LogPosition { segment: place.segment, offset: place.record().start } < position
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_keep_clear_of_every_live_byte() {
        let live = [(4096 + 96, 1000), (100_096, 50_000), (150_240, 10)];
        let len = 300_000;
        let found = gaps(&live, len);
        // Bytes 4096..5192 live, then 100_000..150_096, then 150_144..150_250.
        assert_eq!(found, [8192..98_304, 151_552..299_008]);
        assert_eq!(gaps(&[], 40_960).first(), Some(&(4096..40_960)));
        assert!(gaps(&[(4192, 30_000)], 34_192).is_empty());
    }
}
