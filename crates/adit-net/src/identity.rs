//! The node's network identity: an Ed25519 key whose public half is the peer id.

use libp2p::{PeerId, identity::Keypair};
use std::fmt;

/// The node's Ed25519 key, in the form the transports need. Its `Debug` shows the peer id only.
#[derive(Clone)]
pub struct Identity(Keypair);

impl Identity {
    /// Builds the identity from a 32-byte Ed25519 seed, which is zeroed in place.
    pub fn from_seed(seed: &mut [u8; 32]) -> Self {
        let keypair = Keypair::ed25519_from_bytes(seed).expect("32 bytes are always a valid Ed25519 seed");
        Self(keypair)
    }

    /// A fresh identity from the system's randomness, for tests and first starts.
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// The peer id that goes with this key.
    pub fn peer_id(&self) -> PeerId {
        self.0.public().to_peer_id()
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.0
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.peer_id()).finish()
    }
}
