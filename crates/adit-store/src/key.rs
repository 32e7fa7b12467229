//! How the store names a block internally: by the SHA2-256 digest in its CID, so that the index
//! has keys of one width and neither CID version nor codec matters.

use bytes::Bytes;
use cid::{Cid, multihash::Multihash};

const SHA2_256: u64 = 0x12;
const IDENTITY: u64 = 0x00;

/// The digest that names a block inside a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockKey(pub(crate) [u8; 32]);

impl BlockKey {
    /// `None` for a hash function that this node cannot check: no store has such a block.
    pub(crate) fn of(cid: &Cid) -> Option<Self> {
        let hash = cid.hash();
        (hash.code() == SHA2_256).then(|| hash.digest().try_into().ok().map(Self)).flatten()
    }

    /// The CID, version 1, of the block under a codec.
    pub(crate) fn cid(&self, codec: u64) -> Cid {
        let hash = Multihash::wrap(SHA2_256, &self.0).expect("32 bytes fit into 64");
        Cid::new_v1(codec, hash)
    }
}

impl std::fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The data of an identity CID, which carries it in place of a digest. Such blocks are never
/// stored: every store has them all.
pub(crate) fn inline_data(cid: &Cid) -> Option<Bytes> {
    (cid.hash().code() == IDENTITY).then(|| Bytes::copy_from_slice(cid.hash().digest()))
}
