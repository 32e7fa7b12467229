//! Signature checks over untrusted keys and signatures. Public values only; nothing here needs to be constant-time.

mod rsa;

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

pub(crate) use rsa::RsaKey;

/// A public key that verifiers understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Rsa(RsaKey),
}

/// The hash that a signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// ECDSA; the signature is an ASN.1 sequence.
    Ecdsa(Hash),
    /// RSASSA-PSS whose mask uses the same hash and whose salt is as long as it.
    RsaPss(Hash),
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(Hash),
}

impl Hash {
    pub(crate) fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(message).to_vec(),
            Hash::Sha384 => Sha384::digest(message).to_vec(),
            Hash::Sha512 => Sha512::digest(message).to_vec(),
        }
    }

    pub(crate) fn size(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }
}

impl PublicKey {
    /// A point of P-256 (64 bytes) or P-384 (96 bytes) as `x ‖ y`.
    pub(crate) fn point(point: &[u8]) -> Option<Self> {
        let sec1 = [&[4], point].concat();
        match point.len() {
            64 => p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).ok().map(PublicKey::P256),
            96 => p384::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).ok().map(PublicKey::P384),
            _ => None,
        }
    }

    /// Whether `signature` is this key's, over `message`. A scheme that the key cannot have made is no signature.
    pub(crate) fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        match (self, scheme) {
            (PublicKey::P256(key), Scheme::Ecdsa(hash)) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hash.digest(message), &signature).is_ok()),
            (PublicKey::P384(key), Scheme::Ecdsa(hash)) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hash.digest(message), &signature).is_ok()),
            (PublicKey::Rsa(key), Scheme::RsaPss(hash)) => key.verify_pss(hash, message, signature),
            (PublicKey::Rsa(key), Scheme::RsaPkcs1(hash)) => key.verify_pkcs1(hash, message, signature),
            _ => false,
        }
    }

    /// The same for ECDSA signatures as `r ‖ s`, both big-endian and of the curve's size.
    pub(crate) fn verify_fixed(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        let digest = hash.digest(message);
        match self {
            PublicKey::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            PublicKey::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            PublicKey::Rsa(_) => false,
        }
    }
}
