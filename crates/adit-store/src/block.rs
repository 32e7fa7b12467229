//! A block: bytes and the CID that names them. Moves to `adit-unixfs` with the codecs.

use bytes::Bytes;
use cid::{Cid, multihash::Multihash};
use sha2::{Digest, Sha256};

/// Bytes and the CID that they were checked against, or made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub cid: Cid,
    pub data: Bytes,
}

impl Block {
    /// Names the bytes: CIDv1, SHA2-256, the given codec.
    pub fn new(codec: u64, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        let digest: [u8; 32] = Sha256::digest(&data).into();
        let hash = Multihash::wrap(0x12, &digest).expect("32 bytes fit");
        Self { cid: Cid::new_v1(codec, hash), data }
    }
}
