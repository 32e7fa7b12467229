//! The format of Bitswap 1.2: a length as an unsigned varint, then a protobuf message.
//!
//! Written by hand instead of generated, for three reasons: counts are limited while decoding (a
//! message of 4 MiB can hold two million empty entries), blocks stay slices of the message they
//! came in, and outgoing blocks are written from where they are.
//!
//! Source: <https://specs.ipfs.tech/bitswap-protocol/>.

use std::io;

use bytes::Bytes;
use cid::Cid;
use futures::AsyncRead;

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub(crate) use decode::decode;
pub(crate) use encode::{Answer, wantlist};

/// What an entry asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantKind {
    /// The block itself.
    Block,
    /// Only whether it is there.
    Have,
}

/// One line of a wantlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) cid: Cid,
    pub(crate) priority: i32,
    pub(crate) cancel: bool,
    pub(crate) kind: WantKind,
    pub(crate) send_dont_have: bool,
}

impl Entry {
    pub(crate) fn want(cid: Cid, kind: WantKind) -> Self {
        Self { cid, priority: 1, cancel: false, kind, send_dont_have: true }
    }

    pub(crate) fn cancel(cid: Cid) -> Self {
        Self { cid, priority: 1, cancel: true, kind: WantKind::Block, send_dont_have: false }
    }
}

/// The beginning of a CID, which a block carries in place of the whole: the receiver hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) version: u64,
    pub(crate) codec: u64,
    pub(crate) hash: u64,
    pub(crate) hash_len: u64,
}

/// A decoded message. Its blocks are not hashed yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) wants: Vec<Entry>,
    /// The wantlist replaces everything wanted before.
    pub(crate) full: bool,
    pub(crate) blocks: Vec<(Prefix, Bytes)>,
    pub(crate) haves: Vec<Cid>,
    pub(crate) dont_haves: Vec<Cid>,
}

/// Reads the length of the next message; `None` at a clean end of the stream.
pub(crate) async fn read_len<R: AsyncRead + Unpin>(io: &mut R) -> io::Result<Option<usize>> {
    match unsigned_varint::aio::read_usize(&mut *io).await {
        Ok(len) => Ok(Some(len)),
        Err(unsigned_varint::io::ReadError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(io::Error::new(io::ErrorKind::InvalidData, e)),
    }
}
