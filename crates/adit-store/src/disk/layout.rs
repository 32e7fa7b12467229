//! The bytes of a segment file: its header, its records, and how to tell a record from noise.
//! `docs/store.md` draws them. Nothing here does I/O.

use cid::Cid;
use sha2::{Digest, Sha256};

use crate::MAX_BLOCK_LEN;

/// The longest binary CID that a record's header holds: room for a 64-byte digest, should other
/// hash functions come.
const MAX_CID_LEN: usize = 79;

/// Everything is written in units of this, because direct I/O demands it, and because a flush
/// that starts on its own page never rewrites bytes that were acknowledged before.
pub(crate) const PAGE: usize = 4096;

/// A record's header, in bytes. Records start at multiples of [`RECORD_ALIGN`].
pub(crate) const RECORD_HEADER: usize = 96;
pub(crate) const RECORD_ALIGN: usize = 32;

/// The segment's own header takes the first page.
pub(crate) const SEGMENT_HEADER: u64 = PAGE as u64;

/// A new segment is begun where a flush would pass this.
pub(crate) const SEGMENT_MAX: u64 = 256 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"ADITSEG\x01";
const RECORD_MAGIC: [u8; 4] = *b"Blk\x01";

/// Where a block's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    /// Of the payload, in the segment's file.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    /// Of the CID under which the block was put.
    pub(crate) codec: u32,
}

impl Place {
    /// From the start of the record's header to the end of its payload.
    pub(crate) fn record(&self) -> std::ops::Range<u64> {
        u64::from(self.offset) - RECORD_HEADER as u64..u64::from(self.offset) + u64::from(self.len)
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut out = [0; 16];
        out[0..4].copy_from_slice(&self.segment.to_le_bytes());
        out[4..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[12..16].copy_from_slice(&self.codec.to_le_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8; 16]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self { segment: word(0), offset: word(4), len: word(8), codec: word(12) }
    }
}

/// The header of a segment file. The salt is random, so that nobody can put bytes into a block
/// that would pass for a record of this segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) salt: [u8; 16],
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[0..8].copy_from_slice(&SEGMENT_MAGIC);
        page[8..12].copy_from_slice(&self.number.to_le_bytes());
        page[16..32].copy_from_slice(&self.salt);
        let check = check(&[&page[..32]]);
        page[32..40].copy_from_slice(&check);
        page
    }

    pub(crate) fn decode(page: &[u8]) -> Option<Self> {
        let head = page.get(..40)?;
        if head[0..8] != SEGMENT_MAGIC || head[32..40] != check(&[&head[..32]]) {
            return None;
        }
        Some(Self {
            number: u32::from_le_bytes(head[8..12].try_into().ok()?),
            salt: head[16..32].try_into().ok()?,
        })
    }
}

/// The header of a record: whose payload follows, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) cid: Cid,
    pub(crate) len: u32,
}

impl RecordHeader {
    /// The header's bytes at `offset` of `segment`; the check covers the place as well, so a
    /// record that was copied elsewhere is not taken for one.
    pub(crate) fn encode(&self, segment: &SegmentHeader, offset: u64) -> [u8; RECORD_HEADER] {
        let mut out = [0; RECORD_HEADER];
        out[0..4].copy_from_slice(&RECORD_MAGIC);
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        let cid = self.cid.to_bytes();
        assert!(cid.len() <= MAX_CID_LEN, "put refuses other hash functions");
        out[8] = cid.len() as u8;
        out[9..9 + cid.len()].copy_from_slice(&cid);
        let check = record_check(segment, offset, &out[..88]);
        out[88..96].copy_from_slice(&check);
        out
    }

    /// `None` for anything that is not a header written for exactly this place.
    pub(crate) fn decode(bytes: &[u8], segment: &SegmentHeader, offset: u64) -> Option<Self> {
        let bytes = bytes.get(..RECORD_HEADER)?;
        if bytes[0..4] != RECORD_MAGIC || bytes[88..96] != record_check(segment, offset, &bytes[..88]) {
            return None;
        }
        let len = u32::from_le_bytes(bytes[4..8].try_into().ok()?);
        let cid = Cid::try_from(bytes.get(9..9 + usize::from(bytes[8]).min(MAX_CID_LEN))?).ok()?;
        (len as usize <= MAX_BLOCK_LEN).then_some(Self { cid, len })
    }

    /// Where the next record of the same flush starts, for a header at `offset`.
    pub(crate) fn end(&self, offset: u64) -> u64 {
        (offset + (RECORD_HEADER as u64) + u64::from(self.len)).next_multiple_of(RECORD_ALIGN as u64)
    }
}

fn record_check(segment: &SegmentHeader, offset: u64, fields: &[u8]) -> [u8; 8] {
    check(&[&segment.salt, &segment.number.to_le_bytes(), &offset.to_le_bytes(), fields])
}

fn check(parts: &[&[u8]]) -> [u8; 8] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize()[..8].try_into().expect("a digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentHeader = SegmentHeader { number: 7, salt: [9; 16] };

    fn cid() -> Cid {
        let digest: [u8; 32] = Sha256::digest(b"x").into();
        Cid::new_v1(0x55, cid::multihash::Multihash::wrap(0x12, &digest).unwrap())
    }

    #[test]
    fn headers_survive_the_round_trip_and_every_flipped_bit_is_noticed() {
        let page = SEGMENT.encode();
        assert_eq!(SegmentHeader::decode(&page), Some(SEGMENT));
        let record = RecordHeader { cid: cid(), len: 12_345 };
        let bytes = record.encode(&SEGMENT, 4096);
        assert_eq!(RecordHeader::decode(&bytes, &SEGMENT, 4096), Some(record));
        for bit in 0..RECORD_HEADER * 8 {
            let mut bent = bytes;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bent, &SEGMENT, 4096), None, "bit {bit}");
        }
        for bit in 0..40 * 8 {
            let mut bent = page;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bent), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_counts_only_at_its_own_place() {
        let bytes = RecordHeader { cid: cid(), len: 1 }.encode(&SEGMENT, 4096);
        assert!(RecordHeader::decode(&bytes, &SEGMENT, 8192).is_none(), "another offset");
        let other = SegmentHeader { number: 8, ..SEGMENT };
        assert!(RecordHeader::decode(&bytes, &other, 4096).is_none(), "another segment");
        let resalted = SegmentHeader { salt: [1; 16], ..SEGMENT };
        assert!(RecordHeader::decode(&bytes, &resalted, 4096).is_none(), "another salt");
        assert!(RecordHeader::decode(&bytes[..95], &SEGMENT, 4096).is_none(), "cut short");
    }

    #[test]
    fn an_over_long_record_is_refused() {
        let bytes = RecordHeader { cid: cid(), len: MAX_BLOCK_LEN as u32 + 1 }.encode(&SEGMENT, 4096);
        assert!(RecordHeader::decode(&bytes, &SEGMENT, 4096).is_none());
    }

    #[test]
    fn places_survive_the_round_trip() {
        let place = Place { segment: 1, offset: 4192, len: 3, codec: 0x55 };
        assert_eq!(Place::from_bytes(&place.to_bytes()), place);
        assert_eq!(place.record(), 4096..4195);
    }
}
