//! How the store names a block internally: by 32 bytes made from the CID's multihash, so that
//! the index has keys of one width and the codec does not matter.

use bytes::Bytes;
use cid::Cid;
use sha2::{Digest, Sha256};

const SHA2_256: u64 = 0x12;
const IDENTITY: u64 = 0x00;

/// The name of a block inside a store: the digest itself for SHA2-256, which is nearly every
/// block, and the SHA2-256 of the whole multihash for every other function.
///
/// Two multihashes cannot share a key unless SHA2-256 is broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockKey(pub(crate) [u8; 32]);

impl BlockKey {
    pub(crate) fn of(cid: &Cid) -> Self {
        let hash = cid.hash();
        match (hash.code(), <[u8; 32]>::try_from(hash.digest())) {
            (SHA2_256, Ok(digest)) => Self(digest),
            _ => Self(Sha256::digest(hash.to_bytes()).into()),
        }
    }
}

impl std::fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in &self.0[..6] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The data of an identity CID, which carries it in place of a digest. Such blocks are never
/// stored: every store has them all.
pub(crate) fn inline_data(cid: &Cid) -> Option<Bytes> {
    (cid.hash().code() == IDENTITY).then(|| Bytes::copy_from_slice(cid.hash().digest()))
}
