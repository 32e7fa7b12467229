//! Blocks: bytes and the CID that names them.

use bytes::Bytes;
use cid::Cid;
use multihash::Multihash;
use sha2::{Digest, Sha256};

use crate::limits;

/// Multicodec of raw bytes (<https://github.com/multiformats/multicodec>).
pub const RAW: u64 = 0x55;
/// Multicodec of DAG-PB, which carries UnixFS.
pub const DAG_PB: u64 = 0x70;
/// Multicodec of DAG-CBOR, which carries Adit's records.
pub const DAG_CBOR: u64 = 0x71;
/// Multicodec of DAG-JSON.
pub const DAG_JSON: u64 = 0x0129;

/// Multihash code of sha2-256.
pub const SHA2_256: u64 = 0x12;
/// Multihash code of the identity "hash": the data itself stands in the CID.
pub const IDENTITY: u64 = 0x00;

/// Bytes and the CID that is claimed to name them. Whether it does is known after [`Block::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The name.
    pub cid: Cid,
    /// The bytes; cloning shares them.
    pub data: Bytes,
}

/// Why bytes were not accepted as a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The block is larger than the limit that the caller works with.
    #[error("block of {len} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Length of the bytes offered.
        len: usize,
        /// Largest length accepted.
        limit: usize,
    },
    /// The bytes are not the ones that the CID names.
    #[error("the bytes do not have the hash that {0} promises")]
    HashMismatch(Cid),
    /// The CID uses a hash function that this node cannot compute.
    #[error("{cid} uses hash function 0x{code:x}; this node verifies sha2-256 (0x12) and identity (0x00)")]
    UnsupportedHash {
        /// The CID as asked for.
        cid: Cid,
        /// Its multihash code.
        code: u64,
    },
}

impl Block {
    /// Names `data` by CIDv1, sha2-256 and the given codec.
    pub fn new(codec: u64, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Block { cid: cid_v1(codec, &data), data }
    }

    /// Names dag-pb `data` by CIDv0, as Kubo did before 2025.
    pub fn new_v0(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Block { cid: cid_v0(&data), data }
    }

    /// A block whose CID was checked against `data`, within the default size limit.
    pub fn verified(cid: Cid, data: impl Into<Bytes>) -> Result<Self, BlockError> {
        let block = Block { cid, data: data.into() };
        block.verify()?;
        Ok(block)
    }

    /// Checks size (against [`limits::BLOCK`]) and hash.
    pub fn verify(&self) -> Result<(), BlockError> {
        verify(&self.cid, &self.data)
    }
}

/// Checks that `data` is at most [`limits::BLOCK`] long and hashes to `cid`.
pub fn verify(cid: &Cid, data: &[u8]) -> Result<(), BlockError> {
    if data.len() > limits::BLOCK {
        return Err(BlockError::TooLarge { len: data.len(), limit: limits::BLOCK });
    }
    verify_hash(cid, data)
}

/// Checks the hash only; for callers with their own size limit.
pub fn verify_hash(cid: &Cid, data: &[u8]) -> Result<(), BlockError> {
    let hash = cid.hash();
    let fits = match hash.code() {
        SHA2_256 => hash.digest() == Sha256::digest(data).as_slice(),
        IDENTITY => hash.digest() == data,
        code => return Err(BlockError::UnsupportedHash { cid: *cid, code }),
    };
    if fits { Ok(()) } else { Err(BlockError::HashMismatch(*cid)) }
}

/// The data of an identity CID, which needs no fetching.
pub fn identity_data(cid: &Cid) -> Option<&[u8]> {
    (cid.hash().code() == IDENTITY).then(|| cid.hash().digest())
}

/// CIDv1 with sha2-256 of `data`.
pub fn cid_v1(codec: u64, data: &[u8]) -> Cid {
    Cid::new_v1(codec, sha2_256(data))
}

/// CIDv0 (always dag-pb and sha2-256) of `data`.
pub fn cid_v0(data: &[u8]) -> Cid {
    Cid::new_v0(sha2_256(data)).expect("a sha2-256 multihash is what CIDv0 requires")
}

/// CIDv1 from a sha2-256 digest that was computed elsewhere.
pub fn cid_from_digest(codec: u64, digest: &[u8; 32]) -> Cid {
    Cid::new_v1(codec, Multihash::wrap(SHA2_256, digest).expect("32 bytes fit into 64"))
}

fn sha2_256(data: &[u8]) -> Multihash<64> {
    Multihash::wrap(SHA2_256, Sha256::digest(data).as_slice()).expect("32 bytes fit into 64")
}

/// Reads a binary CID that must fill `bytes` exactly. `None` when it does not.
pub fn cid_from_bytes(bytes: &[u8]) -> Option<Cid> {
    if bytes.len() > limits::CID {
        return None;
    }
    let mut rest = bytes;
    let cid = Cid::read_bytes(&mut rest).ok()?;
    // Only the encoding that we would write again: non-minimal varints would name one block twice.
    (rest.is_empty() && cid.encoded_len() == bytes.len()).then_some(cid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_names_are_computed() {
        let hello = Block::new(RAW, &b"hello world"[..]);
        assert_eq!(hello.cid.to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
        assert_eq!(
            Block::new_v0(&b"\n\x02\x08\x01"[..]).cid.to_string(),
            "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
        );
    }

    #[test]
    fn verification_catches_wrong_bytes_and_names_unknown_hashes() {
        let good = Block::new(RAW, &b"a"[..]);
        assert_eq!(good.verify(), Ok(()));
        assert_eq!(verify(&good.cid, b"b"), Err(BlockError::HashMismatch(good.cid)));

        let blake3 = Cid::new_v1(RAW, Multihash::wrap(0x1e, &[7; 32]).unwrap());
        let error = verify(&blake3, b"a").unwrap_err();
        assert!(error.to_string().contains("0x1e"), "{error}");
    }

    #[test]
    fn identity_cids_carry_their_data() {
        let cid = Cid::new_v1(RAW, Multihash::wrap(IDENTITY, b"tiny").unwrap());
        assert_eq!(identity_data(&cid), Some(&b"tiny"[..]));
        assert_eq!(verify(&cid, b"tiny"), Ok(()));
        assert!(verify(&cid, b"tinx").is_err());
    }

    #[test]
    fn blocks_over_the_limit_are_refused_before_hashing() {
        let block = Block::new(RAW, vec![0; limits::BLOCK + 1]);
        assert!(matches!(block.verify(), Err(BlockError::TooLarge { .. })));
    }

    #[test]
    fn binary_cids_must_fill_their_bytes() {
        let cid = cid_v1(RAW, b"x");
        let mut bytes = cid.to_bytes();
        assert_eq!(cid_from_bytes(&bytes), Some(cid));
        bytes.push(0);
        assert_eq!(cid_from_bytes(&bytes), None);
        assert_eq!(cid_from_bytes(&[]), None);
        // Version 1 written as the two-byte varint 0x81 0x00.
        let mut padded = vec![0x81, 0x00];
        padded.extend_from_slice(&cid.to_bytes()[1..]);
        assert_eq!(cid_from_bytes(&padded), None);
    }
}
