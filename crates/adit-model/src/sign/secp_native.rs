//! secp256k1 by libsecp256k1.

use secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature};
use secp256k1::{All, Message, PublicKey, Secp256k1, SecretKey};
use std::sync::LazyLock;

/// One context for the process: making one builds tables, which costs more than many signatures.
static CONTEXT: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// A secret scalar, erased when dropped.
#[derive(Clone)]
pub(crate) struct Scalar(SecretKey);

impl Drop for Scalar {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl Scalar {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        SecretKey::from_byte_array(*bytes).ok().map(Self)
    }

    pub(crate) fn to_bytes(&self) -> [u8; 32] {
        self.0.secret_bytes()
    }

    /// The public key, uncompressed.
    pub(crate) fn public(&self) -> [u8; 65] {
        PublicKey::from_secret_key(&CONTEXT, &self.0).serialize_uncompressed()
    }

    /// `r ‖ s` with low `s`, and the parity bit that lets the key be recovered.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> ([u8; 64], u8) {
        let signature = CONTEXT.sign_ecdsa_recoverable(Message::from_digest(*digest), &self.0);
        let (id, bytes) = signature.serialize_compact();
        (bytes, i32::from(id) as u8)
    }
}

/// Whether `signature` (low `s`) is by the compressed `key`.
pub(crate) fn verify(key: &[u8; 33], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let (Ok(key), Ok(signature)) =
        (PublicKey::from_byte_array_compressed(*key), Signature::from_compact(signature))
    else {
        return false;
    };
    // libsecp256k1 itself refuses high `s`.
    CONTEXT.verify_ecdsa(Message::from_digest(*digest), &signature, &key).is_ok()
}

/// The uncompressed key that made this signature. The caller has checked that `s` is low.
pub(crate) fn recover(digest: &[u8; 32], signature: &[u8; 64], parity: u8) -> Option<[u8; 65]> {
    let id = RecoveryId::try_from(i32::from(parity)).ok()?;
    let signature = RecoverableSignature::from_compact(signature, id).ok()?;
    let key = CONTEXT.recover_ecdsa(Message::from_digest(*digest), &signature).ok()?;
    Some(key.serialize_uncompressed())
}
