//! Secret keys and what they sign.
//!
//! Two schemes, one rule. Accounts and job keys are secp256k1 (contracts can check them), node identities are
//! Ed25519 (libp2p has them). What is signed is always a 32-byte digest under a tag of its own, so a signature
//! made for one kind of record never means anything for another: `SHA-256(tag ‖ 0x00 ‖ body)`.
//!
//! secp256k1 is libsecp256k1 on native targets and `k256` on wasm32. Both use deterministic nonces (RFC 6979)
//! and low `s`, so they give the same bytes for the same key and digest; a test compares them. High-`s`
//! signatures are refused, or anybody could give a signed record a second name.

mod account;
mod node;
#[cfg(target_arch = "wasm32")]
#[path = "secp_portable.rs"]
mod secp;
#[cfg(not(target_arch = "wasm32"))]
#[path = "secp_native.rs"]
mod secp;

pub use account::{AccountSecret, JobSecret};
pub use node::NodeSecret;

use crate::dagcbor::Value;
use sha2::{Digest, Sha256};

/// A signature that does not hold, or a key that cannot sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature is not by {0}")]
    NotBySigner(&'static str),
    #[error("the bytes are not a secret key")]
    NotASecret,
    #[error("the record names another signer than the key that is to sign it")]
    WrongKey,
    #[error(transparent)]
    Invalid(#[from] crate::Invalid),
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// The digest that is signed for a record: its kind's tag, a zero byte, the canonical bytes.
pub(crate) fn digest(tag: &str, body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(tag.as_bytes()).chain_update([0]).chain_update(body).finalize().into()
}

/// Somebody whose signature can be checked from the identifier alone: an account, a node or an enclave's job key.
///
/// Sealed: the two schemes of version 1 are the only ones.
#[allow(private_bounds, reason = "the bound on the signature's encoding is what seals the trait")]
pub trait SignerId: Copy + Eq + std::fmt::Display {
    /// The key that signs for this identifier.
    type Secret;
    /// Its signature: 65 bytes (`r ‖ s ‖ v`, v 27 or 28) for accounts, 64 for nodes and job keys (`r ‖ s`).
    type Signature: Value + Copy + Eq + std::fmt::Debug + AsRef<[u8]> + TryFrom<Vec<u8>>;

    /// Whose key this is.
    fn of(secret: &Self::Secret) -> Self;
    /// Signs a digest.
    fn sign(secret: &Self::Secret, digest: &[u8; 32]) -> Self::Signature;
    /// Checks that this signer signed the digest.
    fn check(&self, digest: &[u8; 32], signature: &Self::Signature) -> Result<(), SignatureError>;
}

/// Fresh secret bytes from the operating system. On wasm32 the caller brings them: this crate does no I/O there.
#[cfg(not(target_arch = "wasm32"))]
fn random() -> Result<zeroize::Zeroizing<[u8; 32]>, SignatureError> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|_| SignatureError::NoRandomness)?;
    Ok(bytes)
}

/// The portable backend beside the native one, so that the tests can compare them.
#[cfg(all(test, not(target_arch = "wasm32")))]
#[path = "secp_portable.rs"]
mod portable;

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::{portable, secp};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_backends_give_the_same_bytes(secret in any::<[u8; 32]>(), digest in any::<[u8; 32]>()) {
            let native = secp::Scalar::from_bytes(&secret);
            let portable = portable::Scalar::from_bytes(&secret);
            let (Some(native), Some(portable)) = (native, portable) else { return Ok(()) };
            prop_assert_eq!(native.to_bytes(), portable.to_bytes());
            prop_assert_eq!(native.public(), portable.public());
            let (signature, parity) = native.sign(&digest);
            prop_assert_eq!((signature, parity), portable.sign(&digest));
            prop_assert_eq!(secp::recover(&digest, &signature, parity), Some(native.public()));
            prop_assert_eq!(portable::recover(&digest, &signature, parity), Some(native.public()));
            let mut key = [0; 33];
            key[0] = 2 + (native.public()[64] & 1);
            key[1..].copy_from_slice(&native.public()[1..33]);
            prop_assert!(secp::verify(&key, &digest, &signature));
            prop_assert!(portable::verify(&key, &digest, &signature));
            let mut other = digest;
            other[0] ^= 1;
            prop_assert!(!secp::verify(&key, &other, &signature));
            prop_assert!(!portable::verify(&key, &other, &signature));
        }
    }
}
