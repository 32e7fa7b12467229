//! Which Rust type is which DAG-CBOR value.

use super::read::canonical_order;
use super::{DecodeError, Reader, Writer};
use bytes::Bytes;
use cid::Cid;
use std::collections::BTreeMap;

/// No record may be larger: it must fit in one block that every peer accepts.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// How deep lists and maps may nest. Version 1 of the records needs five levels.
pub(crate) const MAX_DEPTH: usize = 16;

/// How many entries one list or map may have. Records set narrower limits of their own; this one keeps a
/// megabyte of one-byte entries from becoming tens of megabytes of Rust values first.
pub(crate) const MAX_ITEMS: usize = 4096;

/// A type with exactly one DAG-CBOR encoding.
pub(crate) trait Value: Sized {
    fn write(&self, w: &mut Writer);
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError>;

    fn to_dagcbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write(&mut w);
        w.finish()
    }

    /// Reads a whole block: nothing may follow, and nothing larger than a record is looked at.
    fn from_dagcbor(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(DecodeError::TooLong { len: bytes.len(), max: MAX_RECORD_BYTES });
        }
        let mut r = Reader::new(bytes);
        let value = Self::read(&mut r)?;
        r.finish()?;
        Ok(value)
    }
}

impl Value for u64 {
    fn write(&self, w: &mut Writer) {
        w.uint(*self);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.uint()
    }
}

impl Value for u32 {
    fn write(&self, w: &mut Writer) {
        w.uint(u64::from(*self));
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.uint()?.try_into().map_err(|_| DecodeError::OutOfRange { what: "a 32-bit number" })
    }
}

impl Value for u8 {
    fn write(&self, w: &mut Writer) {
        w.uint(u64::from(*self));
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.uint()?.try_into().map_err(|_| DecodeError::OutOfRange { what: "an 8-bit number" })
    }
}

impl Value for bool {
    fn write(&self, w: &mut Writer) {
        w.bool(*self);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.bool()
    }
}

impl Value for String {
    fn write(&self, w: &mut Writer) {
        w.str(self);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.str().map(str::to_owned)
    }
}

impl Value for Bytes {
    fn write(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.bytes().map(Bytes::copy_from_slice)
    }
}

impl<const N: usize> Value for [u8; N] {
    fn write(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.bytes()?.try_into().map_err(|_| DecodeError::OutOfRange { what: "the length of a byte string" })
    }
}

impl Value for Cid {
    fn write(&self, w: &mut Writer) {
        w.link(self);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.link()
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self, w: &mut Writer) {
        w.array(self.len() as u64);
        self.iter().for_each(|item| item.write(w));
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut items = Vec::new();
        r.array(|r| {
            items.push(T::read(r)?);
            Ok(())
        })?;
        Ok(items)
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn write(&self, w: &mut Writer) {
        let mut entries: Vec<_> = self.iter().collect();
        entries.sort_unstable_by(|(a, _), (b, _)| canonical_order(a, b));
        w.map(entries.len() as u64);
        for (key, value) in entries {
            w.str(key);
            value.write(w);
        }
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut entries = BTreeMap::new();
        r.map(|key, r| {
            entries.insert(key.to_owned(), T::read(r)?);
            Ok(())
        })?;
        Ok(entries)
    }
}
