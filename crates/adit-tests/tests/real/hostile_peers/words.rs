//! What hostile peers say: messages of Bitswap and of the DHT, put together by hand, since no honest library would.

use cid::Cid;
use unsigned_varint::encode;

fn number(to: &mut Vec<u8>, value: u64) {
    let mut space = encode::u64_buffer();
    to.extend_from_slice(encode::u64(value, &mut space));
}

/// A protobuf field that holds bytes.
fn bytes(to: &mut Vec<u8>, field: u64, value: &[u8]) {
    number(to, field << 3 | 2);
    number(to, value.len() as u64);
    to.extend_from_slice(value);
}

/// A protobuf field that holds a number.
fn int(to: &mut Vec<u8>, field: u64, value: u64) {
    number(to, field << 3);
    number(to, value);
}

/// A message with its length before it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 4);
    number(&mut frame, message.len() as u64);
    frame.extend_from_slice(message);
    frame
}

/// A wantlist that asks for these blocks, and to be told of those that are not there.
pub(super) fn wants<'a>(cids: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut list = Vec::new();
    for cid in cids {
        let mut entry = Vec::new();
        bytes(&mut entry, 1, cid);
        int(&mut entry, 2, 1);
        int(&mut entry, 5, 1);
        bytes(&mut list, 1, &entry);
    }
    let mut message = Vec::new();
    bytes(&mut message, 1, &list);
    framed(&message)
}

/// Blocks of raw bytes, asked for or not.
pub(super) fn blocks(datas: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    for data in datas {
        let mut block = Vec::new();
        // Version 1, raw, SHA2-256, 32 bytes.
        bytes(&mut block, 1, &[1, 0x55, 0x12, 32]);
        bytes(&mut block, 2, data);
        bytes(&mut message, 3, &block);
    }
    framed(&message)
}

/// A block whose prefix claims the identity hash, of this many bytes.
pub(super) fn identity_block(data: &[u8]) -> Vec<u8> {
    let mut prefix = vec![1, 0x55, 0];
    number(&mut prefix, data.len() as u64);
    let mut block = Vec::new();
    bytes(&mut block, 1, &prefix);
    bytes(&mut block, 2, data);
    let mut message = Vec::new();
    bytes(&mut message, 3, &block);
    framed(&message)
}

/// "I have these."
pub(super) fn haves<'a>(cids: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut message = Vec::new();
    for cid in cids {
        let mut presence = Vec::new();
        bytes(&mut presence, 1, cid);
        int(&mut presence, 2, 0);
        bytes(&mut message, 4, &presence);
    }
    framed(&message)
}

/// A CID that carries its content.
pub(super) fn identity_cid(data: &[u8]) -> Vec<u8> {
    let mut cid = vec![1, 0x55, 0];
    number(&mut cid, data.len() as u64);
    cid.extend_from_slice(data);
    cid
}

/// The CID of content that nobody has.
pub(super) fn absent(seed: u64) -> Vec<u8> {
    let mut cid = vec![1, 0x55, 0x12, 32];
    cid.extend(crate::noise(32, seed ^ 0xab5e_0000_0000));
    cid
}

/// DHT: "which peers are near this key?", and "this peer has this key".
pub(super) fn find_node(key: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    int(&mut message, 1, 4);
    bytes(&mut message, 2, key);
    framed(&message)
}

pub(super) fn add_provider(key: &[u8], peer: &[u8]) -> Vec<u8> {
    let mut provider = Vec::new();
    bytes(&mut provider, 1, peer);
    bytes(&mut provider, 2, &[4, 127, 0, 0, 1, 6, 0x0f, 0xa1]);
    let mut message = Vec::new();
    int(&mut message, 1, 2);
    bytes(&mut message, 2, key);
    bytes(&mut message, 9, &provider);
    framed(&message)
}

/// The CIDs that a peer's message asks for.
pub(super) fn wanted(message: &[u8]) -> Vec<Vec<u8>> {
    let mut cids = Vec::new();
    for list in fields(message, 1) {
        for entry in fields(list, 1) {
            cids.extend(fields(entry, 1).first().map(|cid| cid.to_vec()));
        }
    }
    cids.retain(|cid| Cid::try_from(&cid[..]).is_ok());
    cids
}

/// The values of a field of bytes. Whatever is malformed ends the list: our own nodes send nothing malformed.
fn fields(mut message: &[u8], wanted: u64) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Ok((tag, rest)) = unsigned_varint::decode::u64(message) {
        let Ok((value, rest)) = unsigned_varint::decode::u64(rest) else { break };
        message = match tag & 7 {
            0 => rest,
            2 if value <= rest.len() as u64 => {
                let (bytes, rest) = rest.split_at(value as usize);
                if tag >> 3 == wanted {
                    found.push(bytes);
                }
                rest
            }
            _ => break,
        };
    }
    found
}

#[test]
fn what_a_wantlist_asks_for_is_read_back() {
    let asked: Vec<Vec<u8>> = (0..3).map(absent).collect();
    let frame = wants(asked.iter().map(Vec::as_slice));
    let (length, message) = unsigned_varint::decode::u64(&frame).unwrap();
    assert_eq!(length as usize, message.len());
    assert_eq!(wanted(message), asked);
}
