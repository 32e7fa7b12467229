//! secp256k1 in pure Rust, for wasm32. The same functions as `secp_native.rs`, with the same results.

use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};

/// A secret scalar, erased when dropped (by `SigningKey` itself).
#[derive(Clone)]
pub(crate) struct Scalar(SigningKey);

impl Scalar {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(bytes).ok().map(Self)
    }

    pub(crate) fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// The public key, uncompressed.
    pub(crate) fn public(&self) -> [u8; 65] {
        uncompressed(self.0.verifying_key())
    }

    /// `r ‖ s` with low `s`, and the parity bit that lets the key be recovered.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> ([u8; 64], u8) {
        let (signature, id) = self.0.sign_prehash_recoverable(digest);
        (signature.to_bytes().into(), id.to_byte())
    }
}

fn uncompressed(key: &VerifyingKey) -> [u8; 65] {
    key.to_sec1_point(false).as_bytes().try_into().expect("an uncompressed point has 65 bytes")
}

/// Whether `signature` (low `s`) is by the compressed `key`.
pub(crate) fn verify(key: &[u8; 33], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(key), Signature::from_slice(signature))
    else {
        return false;
    };
    signature.normalize_s() == signature && key.verify_prehash(digest, &signature).is_ok()
}

/// The uncompressed key that made this signature. The caller has checked that `s` is low.
pub(crate) fn recover(digest: &[u8; 32], signature: &[u8; 64], parity: u8) -> Option<[u8; 65]> {
    let signature = Signature::from_slice(signature).ok()?;
    let id = RecoveryId::from_byte(parity)?;
    VerifyingKey::recover_from_prehash(digest, &signature, id).ok().map(|key| uncompressed(&key))
}
