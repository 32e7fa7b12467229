//! The bytes of a frame: little-endian integers, length-prefixed strings, one tag byte first.
//!
//! Both ends are one build, so nothing here is extensible or self-describing. What it must be is *strict*:
//! a frame that a compromised process made up decodes to an error, in bounded time and memory, or to a
//! message whose every part is within the limits written beside it.

use bytes::Bytes;
use cid::Cid;
use std::io;

/// Longest CID taken: version, codec and hash code (≤ 10 bytes each) and a digest of 64 bytes.
pub const MAX_CID: usize = 96;

/// Longest explanation of an error.
pub const MAX_DETAIL: usize = 4 << 10;

/// Why a frame is not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the frame ends in the middle of {0}")]
    Short(&'static str),
    #[error("bytes follow after the end of the message")]
    Trailing,
    #[error("unknown {what}: {value}")]
    Unknown { what: &'static str, value: u64 },
    #[error("{what}: {length} is more than the {limit} allowed")]
    TooMany { what: &'static str, length: usize, limit: usize },
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    #[error("malformed CID")]
    Cid,
    #[error("{found} descriptors came with a message that has {expected}")]
    Descriptors { expected: usize, found: usize },
}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Something that fills one frame.
pub trait Message: Sized {
    fn write(&self, writer: &mut Writer<'_>);
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// How many descriptors travel beside it.
    fn descriptors(&self) -> usize {
        0
    }

    /// Replaces what `frame` holds by the encoding. The sender sees to it that it is a legal frame: an encoding
    /// over `MAX_FRAME` is refused when sent, one over a limit here when received.
    fn encode(&self, frame: &mut Vec<u8>) {
        frame.clear();
        self.write(&mut Writer { frame });
    }

    /// The message in a frame that came with `descriptors` descriptors.
    fn decode(frame: &[u8], descriptors: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader { rest: frame };
        let message = Self::read(&mut reader)?;
        if !reader.rest.is_empty() {
            return Err(DecodeError::Trailing);
        }
        match message.descriptors() {
            expected if expected == descriptors => Ok(message),
            expected => Err(DecodeError::Descriptors { expected, found: descriptors }),
        }
    }
}

pub struct Writer<'a> {
    frame: &'a mut Vec<u8>,
}

impl Writer<'_> {
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.frame.push(value);
        self
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Bytes whose number both sides know.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.frame.extend_from_slice(value);
        self
    }

    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.u32(value.len() as u32).raw(value)
    }

    pub fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// An explanation, cut at a character if it is too long.
    pub fn detail(&mut self, value: &str) -> &mut Self {
        self.text(&value[..value.floor_char_boundary(MAX_DETAIL)])
    }

    pub fn cid(&mut self, value: &Cid) -> &mut Self {
        let at = self.frame.len();
        self.u8(0);
        // Writing to a vector cannot fail.
        let _ = value.write_bytes(&mut *self.frame);
        self.frame[at] = (self.frame.len() - at - 1) as u8;
        self
    }

    pub fn each<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.u32(items.len() as u32);
        items.iter().for_each(|item| write(self, item));
        self
    }

    pub fn optional<T>(&mut self, item: Option<&T>, write: impl FnOnce(&mut Self, &T)) -> &mut Self {
        self.bool(item.is_some());
        if let Some(item) = item {
            write(self, item);
        }
        self
    }
}

pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Bytes whose number both sides know.
    pub fn raw(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(DecodeError::Short(what))?;
        self.rest = tail;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(DecodeError::Short(what))?;
        self.rest = tail;
        Ok(*head)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Unknown { what, value: value.into() }),
        }
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub fn bytes(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.count(what, limit)?;
        self.raw(what, length)
    }

    pub fn owned(&mut self, what: &'static str, limit: usize) -> Result<Bytes, DecodeError> {
        Ok(Bytes::copy_from_slice(self.bytes(what, limit)?))
    }

    pub fn text(&mut self, what: &'static str, limit: usize) -> Result<String, DecodeError> {
        let bytes = self.bytes(what, limit)?;
        Ok(str::from_utf8(bytes).map_err(|_| DecodeError::NotText(what))?.to_owned())
    }

    pub fn detail(&mut self) -> Result<String, DecodeError> {
        self.text("detail", MAX_DETAIL)
    }

    pub fn cid(&mut self) -> Result<Cid, DecodeError> {
        let length = self.u8("CID")? as usize;
        if length > MAX_CID {
            return Err(DecodeError::TooMany { what: "CID", length, limit: MAX_CID });
        }
        let mut bytes = self.raw("CID", length)?;
        let cid = Cid::read_bytes(&mut bytes).map_err(|_| DecodeError::Cid)?;
        if bytes.is_empty() { Ok(cid) } else { Err(DecodeError::Cid) }
    }

    /// A list of at most `limit` items, each of which takes at least one byte.
    pub fn each<T>(
        &mut self,
        what: &'static str,
        limit: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(what, limit)?;
        if count > self.rest.len() {
            return Err(DecodeError::Short(what));
        }
        (0..count).map(|_| read(self)).collect()
    }

    pub fn optional<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.bool(what)? { read(self).map(Some) } else { Ok(None) }
    }

    fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let length = self.u32(what)? as usize;
        if length > limit { Err(DecodeError::TooMany { what, length, limit }) } else { Ok(length) }
    }
}
