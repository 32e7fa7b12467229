//! The check that every read ends with.

use cid::Cid;
use sha2::{Digest, Sha256};

use crate::key::BlockKey;

/// Whether the bytes are what the CID names.
pub(crate) fn fits(cid: &Cid, data: &[u8]) -> bool {
    BlockKey::of(cid).is_some_and(|key| Sha256::digest(data).as_slice() == key.0)
}
