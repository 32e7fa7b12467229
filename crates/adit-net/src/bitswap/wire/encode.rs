//! Outgoing messages, as pieces to be written one after the other.

use bytes::Bytes;
use cid::Cid;

use super::{Entry, WantKind};

/// Blocks up to this size are copied beside their headers, larger ones are written from where
/// they are: a write of its own costs about as much as copying this.
const COPY_UP_TO: usize = 16 << 10;

/// What a server says to a peer in one message.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) blocks: Vec<(Cid, Bytes)>,
    pub(crate) haves: Vec<Cid>,
    pub(crate) dont_haves: Vec<Cid>,
}

impl Answer {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.haves.is_empty() && self.dont_haves.is_empty()
    }

    /// The message with its length in front. Large blocks are pieces of their own, not copied.
    pub(crate) fn pieces(&self) -> Vec<Bytes> {
        let mut presences = Vec::new();
        for (cids, kind) in [(&self.haves, 0u8), (&self.dont_haves, 1)] {
            for cid in cids {
                let cid = cid.to_bytes();
                let inner = field_len(cid.len()) + if kind == 0 { 0 } else { 2 };
                tag(&mut presences, 4, 2);
                varint(&mut presences, inner as u64);
                bytes_field(&mut presences, 1, &cid);
                if kind != 0 {
                    tag(&mut presences, 2, 0);
                    varint(&mut presences, u64::from(kind));
                }
            }
        }
        let prefixes: Vec<Vec<u8>> = self.blocks.iter().map(|(cid, _)| prefix(cid)).collect();
        let inner = |prefix: &[u8], data: &[u8]| field_len(prefix.len()) + field_len(data.len());
        let total = presences.len()
            + self
                .blocks
                .iter()
                .zip(&prefixes)
                .map(|((_, data), prefix)| field_len(inner(prefix, data)))
                .sum::<usize>();

        let mut pieces = Vec::with_capacity(1 + 2 * self.blocks.len());
        let mut head = Vec::with_capacity(presences.len() + 64);
        varint(&mut head, total as u64);
        head.extend_from_slice(&presences);
        for ((_, data), prefix) in self.blocks.iter().zip(&prefixes) {
            tag(&mut head, 3, 2);
            varint(&mut head, inner(prefix, data) as u64);
            bytes_field(&mut head, 1, prefix);
            tag(&mut head, 2, 2);
            varint(&mut head, data.len() as u64);
            if data.len() <= COPY_UP_TO {
                head.extend_from_slice(data);
            } else {
                pieces.push(std::mem::take(&mut head).into());
                pieces.push(data.clone());
            }
        }
        if !head.is_empty() {
            pieces.push(head.into());
        }
        pieces
    }
}

/// A wantlist message with its length in front.
pub(crate) fn wantlist(entries: &[Entry]) -> Bytes {
    let mut list = Vec::with_capacity(entries.len() * 56);
    for entry in entries {
        let cid = entry.cid.to_bytes();
        let mut fields = Vec::with_capacity(cid.len() + 20);
        bytes_field(&mut fields, 1, &cid);
        // Negative numbers take ten bytes as in every protobuf `int32`.
        tag(&mut fields, 2, 0);
        varint(&mut fields, i64::from(entry.priority) as u64);
        for (number, set) in [(3, entry.cancel), (4, entry.kind == WantKind::Have), (5, entry.send_dont_have)]
        {
            if set {
                tag(&mut fields, number, 0);
                fields.push(1);
            }
        }
        bytes_field(&mut list, 1, &fields);
    }
    let mut message = Vec::with_capacity(list.len() + 16);
    varint(&mut message, field_len(list.len()) as u64);
    bytes_field(&mut message, 1, &list);
    message.into()
}

/// CID version, codec, hash code and hash length, each a varint.
fn prefix(cid: &Cid) -> Vec<u8> {
    let hash = cid.hash();
    let mut out = Vec::with_capacity(8);
    for number in [u64::from(cid.version()), cid.codec(), hash.code(), u64::from(hash.size())] {
        varint(&mut out, number);
    }
    out
}

fn varint(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(unsigned_varint::encode::u64(number, &mut unsigned_varint::encode::u64_buffer()));
}

fn tag(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    varint(out, field << 3 | wire_type);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    tag(out, field, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Length of a field (tag below 16, length, content) of `len` content bytes.
fn field_len(len: usize) -> usize {
    let bits = usize::BITS - len.max(1).leading_zeros();
    1 + bits.div_ceil(7) as usize + len
}
