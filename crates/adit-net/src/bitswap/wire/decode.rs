//! Incoming messages, with a limit on everything that is counted.

use bytes::Bytes;
use cid::Cid;

use super::{Entry, Message, Prefix, WantKind};

/// Wantlist entries of one message: boxo and Helia send at most 1024.
const MAX_ENTRIES: usize = 4096;
/// Blocks of one message. Small ones come in crowds; a peer with smaller ones yet sends more
/// messages.
const MAX_BLOCKS: usize = 16 << 10;
/// HAVE and DONT_HAVE lines of one message.
const MAX_PRESENCES: usize = 16 << 10;
/// Longest CID in binary: room for a 64-byte digest.
const MAX_CID: usize = 128;

/// A message that is not Bitswap, or too much of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DecodeError {
    #[error("the message ends inside a field")]
    Truncated,
    #[error("a varint is longer than ten bytes")]
    BadVarint,
    #[error("field {field} has wire type {wire_type}")]
    WireType { field: u64, wire_type: u64 },
    #[error("more than {limit} {what} in one message")]
    TooMany { what: &'static str, limit: usize },
    #[error("a CID is malformed")]
    BadCid,
    #[error("a block's prefix is malformed")]
    BadPrefix,
}

/// Decodes one message. Blocks share its buffer.
pub(crate) fn decode(message: Bytes) -> Result<Message, DecodeError> {
    let mut out = Message::default();
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(list)) => wantlist(list, &mut out)?,
            (3, Value::Bytes(block)) => {
                limit(out.blocks.len(), MAX_BLOCKS, "blocks")?;
                out.blocks.push(payload(block)?);
            }
            (4, Value::Bytes(line)) => {
                limit(out.haves.len() + out.dont_haves.len(), MAX_PRESENCES, "presences")?;
                presence(line, &mut out)?;
            }
            // Bitswap 1.0 blocks (2) come without a CID and pending bytes (5) bind nobody: both
            // are passed over, as are fields of later versions.
            _ => {}
        }
    }
    Ok(out)
}

fn wantlist(list: Bytes, out: &mut Message) -> Result<(), DecodeError> {
    let mut fields = Fields(list);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(line)) => {
                limit(out.wants.len(), MAX_ENTRIES, "wantlist entries")?;
                out.wants.push(entry(line)?);
            }
            (2, Value::Number(full)) => out.full = full != 0,
            _ => {}
        }
    }
    Ok(())
}

fn entry(line: Bytes) -> Result<Entry, DecodeError> {
    let mut fields = Fields(line);
    let (mut cid, mut priority, mut cancel, mut have, mut send_dont_have) = (None, 0, false, false, false);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => cid = Some(parse_cid(&bytes)?),
            (2, Value::Number(n)) => priority = n as i32,
            (3, Value::Number(n)) => cancel = n != 0,
            (4, Value::Number(n)) => have = n == 1,
            (5, Value::Number(n)) => send_dont_have = n != 0,
            _ => {}
        }
    }
    let kind = if have { WantKind::Have } else { WantKind::Block };
    let cid = cid.ok_or(DecodeError::BadCid)?;
    Ok(Entry { cid, priority, cancel, kind, send_dont_have })
}

fn payload(block: Bytes) -> Result<(Prefix, Bytes), DecodeError> {
    let mut fields = Fields(block);
    let (mut prefix, mut data) = (None, Bytes::new());
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => prefix = Some(parse_prefix(&bytes)?),
            (2, Value::Bytes(bytes)) => data = bytes,
            _ => {}
        }
    }
    Ok((prefix.ok_or(DecodeError::BadPrefix)?, data))
}

fn presence(line: Bytes, out: &mut Message) -> Result<(), DecodeError> {
    let mut fields = Fields(line);
    let (mut cid, mut kind) = (None, 0);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => cid = Some(parse_cid(&bytes)?),
            (2, Value::Number(n)) => kind = n,
            _ => {}
        }
    }
    let cid = cid.ok_or(DecodeError::BadCid)?;
    match kind {
        0 => out.haves.push(cid),
        1 => out.dont_haves.push(cid),
        _ => {}
    }
    Ok(())
}

fn parse_cid(bytes: &[u8]) -> Result<Cid, DecodeError> {
    if bytes.len() > MAX_CID {
        return Err(DecodeError::BadCid);
    }
    Cid::try_from(bytes).map_err(|_| DecodeError::BadCid)
}

fn parse_prefix(bytes: &[u8]) -> Result<Prefix, DecodeError> {
    let mut rest = bytes;
    let mut next = || {
        let (number, tail) = unsigned_varint::decode::u64(rest).map_err(|_| DecodeError::BadPrefix)?;
        rest = tail;
        Ok(number)
    };
    let prefix = Prefix { version: next()?, codec: next()?, hash: next()?, hash_len: next()? };
    if rest.is_empty() { Ok(prefix) } else { Err(DecodeError::BadPrefix) }
}

fn limit(count: usize, limit: usize, what: &'static str) -> Result<(), DecodeError> {
    if count < limit { Ok(()) } else { Err(DecodeError::TooMany { what, limit }) }
}

enum Value {
    Number(u64),
    Bytes(Bytes),
    /// Four or eight bytes that nothing here uses.
    Fixed,
}

/// The fields of one protobuf message, in order.
struct Fields(Bytes);

impl Fields {
    fn next(&mut self) -> Result<Option<(u64, Value)>, DecodeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        let value = match wire_type {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(usize::try_from(len).map_err(|_| DecodeError::Truncated)?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(DecodeError::WireType { field, wire_type }),
        };
        Ok(Some((field, value)))
    }

    fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.0.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.0.split_to(len))
    }

    /// Protobuf allows varints with needless zero bytes, so this is laxer than multiformats.
    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        for (i, byte) in self.0.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                let _ = self.0.split_to(i + 1);
                return Ok(number);
            }
        }
        Err(if self.0.len() < 10 { DecodeError::Truncated } else { DecodeError::BadVarint })
    }
}
