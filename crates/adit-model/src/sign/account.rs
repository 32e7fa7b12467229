//! secp256k1 keys: accounts of people, job keys of enclaves.

use super::secp::{self, Scalar};
use super::{SignatureError, SignerId};
use crate::ids::{AccountId, JobKey};
use sha3::{Digest, Keccak256};
use std::fmt;
use zeroize::Zeroizing;

/// The secret key of an account. Zeroised when dropped; Debug shows only whose it is.
#[derive(Clone)]
pub struct AccountSecret {
    scalar: Scalar,
    account: AccountId,
}

/// The secret half of an enclave's job key. It lives in the enclave's memory only.
#[derive(Clone)]
pub struct JobSecret {
    scalar: Scalar,
    key: JobKey,
}

/// Half of the group's order: signatures with `s` above it are refused (the low-`s` rule of EIP-2).
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d,
    0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// Ethereum's form of a recoverable signature: `r ‖ s ‖ v` with v 27 or 28.
fn with_v(scalar: &Scalar, digest: &[u8; 32]) -> [u8; 65] {
    let (rs, parity) = scalar.sign(digest);
    let mut signature = [0; 65];
    signature[..64].copy_from_slice(&rs);
    signature[64] = 27 + parity;
    signature
}

/// The uncompressed key that made a signature in Ethereum's form, of which only one form is accepted.
fn signer_of(digest: &[u8; 32], signature: &[u8; 65]) -> Option<[u8; 65]> {
    let (rs, v) = signature.split_first_chunk::<64>()?;
    let parity = v[0].checked_sub(27).filter(|parity| *parity < 2)?;
    if rs[32..] > HALF_ORDER[..] {
        return None;
    }
    secp::recover(digest, rs, parity)
}

fn account_of(public: &[u8; 65]) -> AccountId {
    let hash = Keccak256::digest(&public[1..]);
    AccountId(hash[12..].try_into().expect("20 of 32 bytes"))
}

fn compressed(public: &[u8; 65]) -> JobKey {
    let mut key = [0; 33];
    key[0] = 2 + (public[64] & 1);
    key[1..].copy_from_slice(&public[1..33]);
    JobKey(key)
}

impl AccountSecret {
    /// The account with this secret scalar.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, SignatureError> {
        let scalar = Scalar::from_bytes(bytes).ok_or(SignatureError::NotASecret)?;
        let account = account_of(&scalar.public());
        Ok(Self { scalar, account })
    }

    /// A new account, from the operating system's randomness.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn generate() -> Result<Self, SignatureError> {
        Self::from_bytes(&*super::random()?)
    }

    /// The scalar, to be stored where only its owner reads.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.scalar.to_bytes())
    }

    /// Whose key this is.
    pub fn account(&self) -> AccountId {
        self.account
    }
}

impl JobSecret {
    /// The job key with this secret scalar.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, SignatureError> {
        let scalar = Scalar::from_bytes(bytes).ok_or(SignatureError::NotASecret)?;
        let key = compressed(&scalar.public());
        Ok(Self { scalar, key })
    }

    /// A new job key, from the operating system's randomness.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn generate() -> Result<Self, SignatureError> {
        Self::from_bytes(&*super::random()?)
    }

    /// The public half.
    pub fn key(&self) -> JobKey {
        self.key
    }

    /// ES256K: `r ‖ s` over a SHA-256 digest.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.scalar.sign(digest).0
    }

    /// Ethereum's 65-byte form over a Keccak-256 digest.
    pub(crate) fn sign_recoverable(&self, digest: &[u8; 32]) -> [u8; 65] {
        with_v(&self.scalar, digest)
    }
}

impl JobKey {
    pub(crate) fn check(&self, digest: &[u8; 32], signature: &[u8; 64]) -> Result<(), SignatureError> {
        if secp::verify(&self.0, digest, signature) {
            Ok(())
        } else {
            Err(SignatureError::NotBySigner("the job key"))
        }
    }

    pub(crate) fn check_recoverable(
        &self,
        digest: &[u8; 32],
        signature: &[u8; 65],
    ) -> Result<(), SignatureError> {
        match signer_of(digest, signature) {
            Some(public) if compressed(&public) == *self => Ok(()),
            _ => Err(SignatureError::NotBySigner("the job key")),
        }
    }
}

impl SignerId for AccountId {
    type Secret = AccountSecret;
    type Signature = [u8; 65];

    fn of(secret: &AccountSecret) -> Self {
        secret.account
    }

    fn sign(secret: &AccountSecret, digest: &[u8; 32]) -> [u8; 65] {
        with_v(&secret.scalar, digest)
    }

    fn check(&self, digest: &[u8; 32], signature: &[u8; 65]) -> Result<(), SignatureError> {
        match signer_of(digest, signature) {
            Some(public) if account_of(&public) == *self => Ok(()),
            _ => Err(SignatureError::NotBySigner("the account it names")),
        }
    }
}

impl SignerId for JobKey {
    type Secret = JobSecret;
    type Signature = [u8; 64];

    fn of(secret: &JobSecret) -> Self {
        secret.key
    }

    fn sign(secret: &JobSecret, digest: &[u8; 32]) -> [u8; 64] {
        JobSecret::sign(secret, digest)
    }

    fn check(&self, digest: &[u8; 32], signature: &[u8; 64]) -> Result<(), SignatureError> {
        JobKey::check(self, digest, signature)
    }
}

impl fmt::Debug for AccountSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountSecret(of {})", self.account)
    }
}

impl fmt::Debug for JobSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobSecret(of {})", self.key)
    }
}
