//! Opening: what a crash left behind the last checkpoint is read again, hashed, and indexed.
//!
//! The scan is bounded by what may be unindexed (see `writer.rs`), so it takes well under a
//! second. Only an index that was lost has it read everything.

use std::{io, sync::Arc};

use super::{
    index::{Index, IndexChange, LogPosition},
    layout::{
        PAGE, Place, RECORD_ALIGN, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SEGMENT_MAX, SegmentHeader,
    },
    medium::{Medium, SegmentFile},
    writer::Active,
};
use crate::{StoreError, blocks::fits, key::BlockKey};

/// Entries per index commit when a lost index is rebuilt.
const CHUNK: usize = 64 << 10;
/// A last segment with less room than this is left alone.
const ROOM_MIN: u64 = 16 << 20;

/// What the writer starts from.
pub(crate) struct Recovered {
    pub(crate) active: Option<Active>,
    pub(crate) next_segment: u32,
    /// Bytes that all segments take on the disk.
    pub(crate) used: u64,
    /// The end of the log.
    pub(crate) end: LogPosition,
}

/// Brings the index up to date with the segments.
pub(crate) fn recover(medium: &dyn Medium, index: &Index) -> Result<Recovered, StoreError> {
    let scanned = index.scanned()?;
    let numbers = medium.list_segments().map_err(StoreError::io("list the segments"))?;
    let mut recovery = Recovery { index, found: Vec::new(), new: 0 };
    let mut used = 0;
    let mut last = None;
    for &number in &numbers {
        let file = medium.open_segment(number).map_err(StoreError::io("open a segment"))?;
        used += file.allocated().map_err(StoreError::io("measure a segment"))?;
        if number < scanned.segment {
            continue;
        }
        let from = if number == scanned.segment { scanned.offset } else { 0 };
        last = recovery.scan(number, &file, from)?.map(|(header, tail)| (header, tail, file));
    }
    let next_segment = numbers.last().map_or(0, |last| last + 1).max(scanned.segment + 1);
    // What was found may be in the page cache only, after a kill: durable first, then indexed.
    if let Some((_, _, file)) = &last {
        file.sync().map_err(StoreError::io("sync the last segment"))?;
    }
    let end = match &last {
        Some((header, tail, _)) => LogPosition { segment: header.number, offset: *tail },
        None => scanned.max(LogPosition { segment: next_segment - 1, offset: 0 }),
    };
    recovery.commit(Some(end))?;
    if recovery.new > 0 {
        tracing::info!(blocks = recovery.new, "indexed blocks that were written before the last stop");
    }
    let active = match last {
        Some((header, tail, _)) if tail + ROOM_MIN <= SEGMENT_MAX => {
            let file = medium.change_segment(header.number).map_err(StoreError::io("open a segment"))?;
            Some(Active::new(header, file, tail))
        }
        _ => None,
    };
    Ok(Recovered { active, next_segment, used, end })
}

struct Recovery<'a> {
    index: &'a Index,
    found: Vec<(BlockKey, Place)>,
    new: usize,
}

impl Recovery<'_> {
    /// Collects the valid records from `from` on. Returns the segment's header and the page
    /// boundary after its last valid record, or `None` where even the header was never written:
    /// then nothing in it was acknowledged.
    fn scan(
        &mut self,
        number: u32,
        file: &Arc<dyn SegmentFile>,
        from: u64,
    ) -> Result<Option<(SegmentHeader, u64)>, StoreError> {
        let io = StoreError::io("read a segment");
        let len = file.len().map_err(StoreError::io("measure a segment"))?;
        let mut page = [0; PAGE];
        if len < SEGMENT_HEADER {
            return Ok(None);
        }
        file.read_exact_at(&mut page, 0).map_err(io)?;
        let Some(header) = SegmentHeader::decode(&page).filter(|header| header.number == number) else {
            tracing::warn!(segment = number, "a segment without a valid header is skipped");
            return Ok(None);
        };
        let mut window = Window::new(file, len);
        let mut at = from.max(SEGMENT_HEADER);
        let mut end = at;
        while at + RECORD_HEADER as u64 <= len {
            let head = window.read(at, RECORD_HEADER).map_err(StoreError::io("read a segment"))?;
            let Some(record) = RecordHeader::decode(head, &header, at) else {
                // Padding, a torn flush, or damage: a record may begin at any step from here.
                at += RECORD_ALIGN as u64;
                continue;
            };
            let payload = at + RECORD_HEADER as u64;
            let next = record.end(at);
            let whole = payload + u64::from(record.len) <= len && {
                let data = window.read(payload, record.len as usize);
                fits(&record.cid, data.map_err(StoreError::io("read a segment"))?)
            };
            let key = BlockKey::of(&record.cid).filter(|_| whole);
            let (Some(key), Ok(codec)) = (key, u32::try_from(record.cid.codec())) else {
                // The header came to the disk and the payload did not, or it rotted.
                at += RECORD_ALIGN as u64;
                continue;
            };
            let place = Place { segment: number, offset: payload as u32, len: record.len, codec };
            self.found.push((key, place));
            if self.found.len() >= CHUNK {
                file.sync().map_err(StoreError::io("sync a segment"))?;
                self.commit(None)?;
            }
            at = next;
            end = next;
        }
        Ok(Some((header, end.next_multiple_of(PAGE as u64))))
    }

    /// Indexes what was found, except what the index has already.
    fn commit(&mut self, scanned: Option<LogPosition>) -> Result<(), StoreError> {
        let found = std::mem::take(&mut self.found);
        let keys: Vec<_> = found.iter().map(|(key, _)| *key).collect();
        let known = self.index.get_many(&keys)?;
        let insert: Vec<_> =
            found.into_iter().zip(known).filter(|(_, known)| known.is_none()).map(|(new, _)| new).collect();
        self.new += insert.len();
        self.index.commit(&IndexChange { insert, remove: Vec::new(), scanned })
    }
}

/// A moving window over a segment, because the scan looks at every 32nd byte of a gap.
struct Window<'a> {
    file: &'a Arc<dyn SegmentFile>,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    const SIZE: usize = 8 << 20;

    fn new(file: &'a Arc<dyn SegmentFile>, len: u64) -> Self {
        Self { file, len, start: 0, bytes: Vec::new() }
    }

    /// `count` bytes at `at`; the caller keeps within the file.
    fn read(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let held = self.start..self.start + self.bytes.len() as u64;
        if at < held.start || at + count as u64 > held.end {
            let size = (Self::SIZE.max(count) as u64).min(self.len - at) as usize;
            self.bytes.resize(size, 0);
            self.file.read_exact_at(&mut self.bytes, at)?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(&self.bytes[from..from + count])
    }
}
