//! Ed25519 keys: the identities of nodes.

use super::{SignatureError, SignerId};
use crate::ids::NodeId;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

/// The secret key of a node, which also is its libp2p identity. Zeroised when dropped.
#[derive(Clone)]
pub struct NodeSecret(SigningKey);

impl NodeSecret {
    /// The node with this 32-byte Ed25519 seed.
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// A new identity, from the operating system's randomness.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn generate() -> Result<Self, SignatureError> {
        Ok(Self::from_bytes(&*super::random()?))
    }

    /// The seed, to be stored where only the node reads, or handed to libp2p.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Whose key this is.
    pub fn node(&self) -> NodeId {
        NodeId::from_ed25519(self.0.verifying_key().to_bytes())
    }
}

impl SignerId for NodeId {
    type Secret = NodeSecret;
    type Signature = [u8; 64];

    fn of(secret: &NodeSecret) -> Self {
        secret.node()
    }

    fn sign(secret: &NodeSecret, digest: &[u8; 32]) -> [u8; 64] {
        secret.0.sign(digest).to_bytes()
    }

    fn check(&self, digest: &[u8; 32], signature: &[u8; 64]) -> Result<(), SignatureError> {
        let wrong = |_| SignatureError::NotBySigner("the node it names");
        let key = VerifyingKey::from_bytes(self.ed25519()).map_err(wrong)?;
        // Strict: no small-order keys, so nobody publishes an identity under which everything verifies.
        key.verify_strict(digest, &Signature::from_bytes(signature)).map_err(wrong)
    }
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeSecret(of {})", self.node())
    }
}
