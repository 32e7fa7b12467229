//! Who takes part: accounts, nodes, job keys; and the amounts they pay.

use crate::dagcbor::{DecodeError, Reader, Value, Writer};
use cid::multibase::Base;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha3::{Digest, Keccak256};
use std::fmt;
use std::str::FromStr;

/// Text that is not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an account is 0x and 40 hexadecimal digits")]
    NotAnAccount,
    #[error("the account's capital letters do not fit its digits (EIP-55): a typing mistake")]
    AccountChecksum,
    #[error("not a peer id: {0}")]
    NotAPeerId(&'static str),
    #[error("a job key is 66 hexadecimal digits that begin with 02 or 03")]
    NotAJobKey,
    #[error("a key to seal to is 64 hexadecimal digits")]
    NotASealKey,
    #[error("an amount is a whole number below 2^128")]
    NotAnAmount,
}

/// An account of an operator, requester or owner: the last 20 bytes of the Keccak-256 of its secp256k1 key,
/// as on Ethereum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub [u8; 20]);

impl fmt::Display for AccountId {
    /// Mixed-case hexadecimal with the checksum of EIP-55.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = HEXLOWER.encode(&self.0);
        let hash = Keccak256::digest(lower.as_bytes());
        let mut text = String::with_capacity(42);
        text.push_str("0x");
        for (i, c) in lower.chars().enumerate() {
            let nibble = hash[i / 2] >> (if i % 2 == 0 { 4 } else { 0 }) & 0xf;
            text.push(if nibble >= 8 { c.to_ascii_uppercase() } else { c });
        }
        f.pad(&text)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({self})")
    }
}

impl FromStr for AccountId {
    type Err = IdError;

    /// Accepts all-lower and all-upper digits as unchecked, mixed case only with the right checksum.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix("0x").ok_or(IdError::NotAnAccount)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| IdError::NotAnAccount)?;
        let account = Self(bytes.try_into().map_err(|_| IdError::NotAnAccount)?);
        let mixed =
            digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
        if mixed && account.to_string() != text {
            return Err(IdError::AccountChecksum);
        }
        Ok(account)
    }
}

impl Value for AccountId {
    fn write(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Value::read(r).map(Self)
    }
}

crate::text::serde_as_text!(AccountId);

/// A node's identity: its Ed25519 key, written as libp2p writes peer ids (the key's protobuf in an identity
/// multihash, base58 as text: `12D3KooW…`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

/// Identity multihash of 36 bytes that hold the protobuf {type: Ed25519, data: 32 bytes}.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl NodeId {
    /// The node that has this Ed25519 key.
    pub const fn from_ed25519(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The node's Ed25519 key.
    pub const fn ed25519(&self) -> &[u8; 32] {
        &self.0
    }

    /// The libp2p peer id in binary.
    pub fn to_bytes(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// From a binary libp2p peer id. Only Ed25519 identities are nodes of Adit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
        match bytes.strip_prefix(&PEER_ID_PREFIX) {
            Some(key) => Ok(Self(key.try_into().map_err(|_| IdError::NotAPeerId("wrong length"))?)),
            None => Err(IdError::NotAPeerId("only Ed25519 identities are supported")),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Base::Base58Btc.encode(self.to_bytes()))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        // Base58 takes quadratic time, so over-long text is refused first.
        if text.len() > 64 {
            return Err(IdError::NotAPeerId("too long"));
        }
        let bytes = Base::Base58Btc.decode(text).map_err(|_| IdError::NotAPeerId("not base58"))?;
        Self::from_bytes(&bytes)
    }
}

impl Value for NodeId {
    fn write(&self, w: &mut Writer) {
        w.bytes(&self.to_bytes());
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_bytes(r.bytes()?).map_err(|_| DecodeError::OutOfRange { what: "a node's peer id" })
    }
}

crate::text::serde_as_text!(NodeId);

/// The compressed secp256k1 public key of an enclave's job key. Not every 33 bytes are a point on the curve;
/// a signature by a key that is none simply never verifies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey(pub [u8; 33]);

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobKey({self})")
    }
}

impl FromStr for JobKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| IdError::NotAJobKey)?;
        let key: [u8; 33] = bytes.try_into().map_err(|_| IdError::NotAJobKey)?;
        if matches!(key[0], 2 | 3) { Ok(Self(key)) } else { Err(IdError::NotAJobKey) }
    }
}

impl Value for JobKey {
    fn write(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key: [u8; 33] = Value::read(r)?;
        match key[0] {
            2 | 3 => Ok(Self(key)),
            _ => Err(DecodeError::OutOfRange { what: "the first byte of a compressed key" }),
        }
    }
}

crate::text::serde_as_text!(JobKey);

/// An amount of a network's token in its smallest unit. In records a big-endian byte string without leading
/// zeros, because DAG-CBOR integers end at 64 bits; in JSON a decimal string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u128);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Amount {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self).map_err(|_| IdError::NotAnAmount)
    }
}

impl Value for Amount {
    fn write(&self, w: &mut Writer) {
        let wide = self.0.to_be_bytes();
        w.bytes(&wide[self.0.leading_zeros() as usize / 8..]);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let short = r.bytes()?;
        if short.len() > 16 {
            return Err(DecodeError::OutOfRange { what: "an amount" });
        }
        if short.first() == Some(&0) {
            return Err(DecodeError::NotCanonical("amount with leading zeros"));
        }
        let mut wide = [0; 16];
        wide[16 - short.len()..].copy_from_slice(short);
        Ok(Self(u128::from_be_bytes(wide)))
    }
}

crate::text::serde_as_text!(Amount);
