//! Alias: the word of an IPFS node of another make that a node of Adit stands beside it.
//!
//! A Kubo announces content under its own peer id. Whoever finds that id in the DHT learns by the alias which node of
//! Adit runs jobs on the same blocks. The alias travels in that node's advertisement, so both have agreed to it: the
//! Kubo signs the statement, the node signs the advertisement around it.

use crate::dagcbor::{DecodeError, Reader, Value, Writer, map_record};
use crate::ids::{IdError, NodeId};
use crate::rules::{Invalid, limits};
use bytes::Bytes;
use cid::multibase::Base;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Keeps the statement apart from everything else that the same key may ever sign.
const TAG: &[u8] = b"adit/alias/1\0";
/// What Kubo puts before whatever it is asked to sign (`ipfs key sign`), so that no signature of its other protocols
/// can be had that way.
const KUBO_PREFIX: &[u8] = b"libp2p-key signed message:";
/// The longest key that is its own peer id (libp2p's peer id specification).
const INLINE: usize = 42;

/// The peer id of an IPFS node, of whatever kind of key: a multihash, base58 as text (`12D3KooW…`, `Qm…`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KuboId(Bytes);

impl KuboId {
    /// From a binary peer id: an identity multihash of at most 42 bytes, or a SHA-256 of the key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
        match bytes {
            [0x00, len, key @ ..] if usize::from(*len) == key.len() && (1..=INLINE).contains(&key.len()) => {}
            [0x12, 0x20, digest @ ..] if digest.len() == 32 => {}
            _ => return Err(IdError::NotAPeerId("neither a key nor the SHA-256 of one")),
        }
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }

    /// The peer id in binary.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key's protobuf, where the id is the key itself.
    pub fn inline_key(&self) -> Option<&[u8]> {
        (self.0[0] == 0).then(|| &self.0[2..])
    }
}

impl fmt::Display for KuboId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Base::Base58Btc.encode(&self.0))
    }
}

impl fmt::Debug for KuboId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KuboId({self})")
    }
}

impl FromStr for KuboId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        // Base58 takes quadratic time, so over-long text is refused first.
        if text.len() > 64 {
            return Err(IdError::NotAPeerId("too long"));
        }
        Self::from_bytes(&Base::Base58Btc.decode(text).map_err(|_| IdError::NotAPeerId("not base58"))?)
    }
}

impl Value for KuboId {
    fn write(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_bytes(r.bytes()?).map_err(|_| DecodeError::OutOfRange { what: "a peer id" })
    }
}

crate::text::serde_as_text!(KuboId);

/// An IPFS node's signed statement that a node of Adit stands beside it, as it travels in that node's advertisement.
///
/// Whose statement it is, for which node and network, is not repeated here: the advertisement says it. This crate checks
/// the form; whether the signature holds, `adit-net` does, because such a peer's key may be RSA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// Who signed.
    pub peer: KuboId,
    /// Its public key as libp2p's protobuf, exactly where the peer id is only the hash of it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::text::hex::option")]
    pub key: Option<Bytes>,
    /// The signature in its key's own scheme, over [`Alias::signed_bytes`].
    #[serde(with = "crate::text::hex")]
    pub sig: Bytes,
    /// Unix time in seconds; not after that of the advertisement.
    pub issued: u64,
    /// Unix time in seconds; not before the advertisement's, so that an advertisement that holds has an alias that holds.
    pub expires: u64,
}

map_record! {
    Alias as "alias";
    opt "key" => key,
    req "sig" => sig,
    req "peer" => peer,
    req "issued" => issued,
    req "expires" => expires,
}

/// What is signed.
struct Statement {
    peer: KuboId,
    node: NodeId,
    network: String,
    issued: u64,
    expires: u64,
}

map_record! {
    Statement as "alias statement", version 1;
    req "node" => node,
    req "peer" => peer,
    req "issued" => issued,
    req "expires" => expires,
    req "network" => network,
}

impl Alias {
    /// What the peer is given to sign: `adit/alias/1`, a zero byte, and the canonical DAG-CBOR of `{v: 1, node, peer,
    /// issued, expires, network}`.
    pub fn statement(peer: &KuboId, node: NodeId, network: &str, issued: u64, expires: u64) -> Vec<u8> {
        let network = network.to_owned();
        let statement = Statement { peer: peer.clone(), node, network, issued, expires };
        [TAG, &statement.to_dagcbor()].concat()
    }

    /// What its signature covers: the statement after the words that `ipfs key sign` puts before everything.
    pub fn signed_bytes(&self, node: NodeId, network: &str) -> Vec<u8> {
        [KUBO_PREFIX, &Self::statement(&self.peer, node, network, self.issued, self.expires)].concat()
    }

    /// Checks lengths and times, and that the key is there where it is needed and nowhere else.
    pub(crate) fn check(&self, issued: u64, expires: u64) -> Result<(), Invalid> {
        let long = |what, len, max| if len > max { Err(Invalid::TooLong { what, len, max }) } else { Ok(()) };
        long("the alias's signature", self.sig.len(), limits::ALIAS_SIGNATURE_BYTES)?;
        long("the alias's key", self.key.as_ref().map_or(0, Bytes::len), limits::ALIAS_KEY_BYTES)?;
        let wrong = |why| Err(Invalid::Alias { why });
        if self.sig.is_empty() {
            return Err(Invalid::Empty { what: "the alias's signature" });
        }
        if self.key.is_some() == self.peer.inline_key().is_some() {
            return wrong("carries a key exactly where the peer id is not one itself");
        }
        if self.issued > issued || self.expires < expires {
            return wrong("has to hold for as long as the advertisement does");
        }
        if self.expires - self.issued > limits::ALIAS_SECONDS {
            return wrong("holds for too long");
        }
        Ok(())
    }
}
