//! The secret half of a key that shares are sealed to.

use adit_model::SealKey;
use adit_seal::Random;
use hpke::{Deserializable as _, Kem as _, Serializable as _, kem::X25519HkdfSha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// An X25519 secret: a holder's, or an enclave's for one job. Cleared when dropped, and never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealSecret([u8; 32]);

impl SealSecret {
    /// A new one.
    pub fn generate(random: &mut impl Random) -> Self {
        let mut material = Zeroizing::new([0; 32]);
        random.fill(&mut material[..]);
        let (secret, _) = X25519HkdfSha256::derive_keypair(&material[..]);
        let mut bytes = Zeroizing::new([0; 32]);
        secret.write_exact(&mut bytes[..]);
        Self(*bytes)
    }

    /// From bytes that [`expose`](Self::expose) gave.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret itself, for who stores it.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What is sealed to it.
    pub fn key(&self) -> SealKey {
        let public = X25519HkdfSha256::sk_to_pk(&self.secret());
        let mut bytes = [0; 32];
        public.write_exact(&mut bytes);
        SealKey(bytes)
    }

    pub(crate) fn secret(&self) -> <X25519HkdfSha256 as hpke::Kem>::PrivateKey {
        <X25519HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(&self.0).expect("any 32 bytes are a secret")
    }
}

impl std::fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealSecret(of {})", self.key())
    }
}
