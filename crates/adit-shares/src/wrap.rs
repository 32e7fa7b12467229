//! RFC 9180 in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.

use std::convert::Infallible;

use adit_model::SealKey;
use adit_seal::Random;
use hpke::{
    Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::X25519HkdfSha256,
};
use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use crate::SealSecret;

/// The encapsulated key, and the tag of the cipher.
pub(crate) const OVERHEAD: usize = 32 + 16;

/// Our source of randomness, as libraries want it.
pub(crate) struct Source<'a, R>(pub(crate) &'a mut R);

impl<R: Random> TryRng for Source<'_, R> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl<R: Random> TryCryptoRng for Source<'_, R> {}

/// The encapsulated key and the ciphertext; `None` where the key is of low order, so that no secret can be shared with it.
pub(crate) fn seal(
    to: &SealKey,
    info: &[u8],
    aad: &[u8],
    plain: &[u8],
    random: &mut impl Random,
) -> Option<Vec<u8>> {
    let to = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&to.0).ok()?;
    let sealed = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &to,
        info,
        plain,
        aad,
        &mut Source(random),
    );
    let (encapsulated, ciphertext) = sealed.ok()?;
    Some([&encapsulated.to_bytes()[..], &ciphertext].concat())
}

/// The plain text; `None` if it was sealed to another key, or otherwise, or is damaged.
pub(crate) fn open(
    sealed: &[u8],
    info: &[u8],
    aad: &[u8],
    secret: &SealSecret,
) -> Option<Zeroizing<Vec<u8>>> {
    let (encapsulated, ciphertext) = sealed.split_at_checked(32)?;
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret.secret(),
        &encapsulated,
        info,
        ciphertext,
        aad,
    );
    opened.ok().map(Zeroizing::new)
}
