//! Shares, and what they are bound to.

use adit_model::{AccountId, GrantCid, InvocationCid, PolicyCid, SealKey};
use adit_release::Terms;
use adit_seal::Random;
use adit_seal::age::{FileKey, Header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use vsss_rs::{Gf256, IdentifierGf256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::SealSecret;
use crate::wrap::{OVERHEAD, Source, open, seal};

/// Bytes of a share, as many as of the key.
const SHARE: usize = 16;
const SALT: usize = 32;
/// Version 1: this suite of HPKE, and these forms.
const VERSION: u8 = 1;
const COMMITMENT: &[u8] = b"adit/share-commitment/1\0";
const AT_REST: &[u8] = b"adit/share-at-rest/1";
const RELEASE: &[u8] = b"adit/share-release/1";

/// Length of a sealed share, at rest and released alike.
pub const SEALED_BYTES: usize = 1 + OVERHEAD + SHARE + SALT;

/// Where a share belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The signed grant.
    pub grant: GrantCid,
    /// The grant's nonce.
    pub nonce: [u8; 16],
    /// The grant's epoch.
    pub epoch: u32,
    /// Which of the grant's holders has it, from 1.
    pub index: u8,
}

impl Place {
    fn bytes(&self) -> Vec<u8> {
        [&self.grant.digest()[..], &self.nonce, &self.epoch.to_be_bytes(), &[self.index]].concat()
    }
}

/// What a share is released for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The policy that allows it.
    pub policy: PolicyCid,
    /// Which of the policy's uses it is.
    pub slot: u32,
    /// Whose.
    pub invocation: InvocationCid,
    /// The holder that releases it.
    pub holder: AccountId,
}

impl Use {
    fn bytes(&self) -> Vec<u8> {
        let Self { policy, slot, invocation, holder } = self;
        [&policy.digest()[..], &slot.to_be_bytes(), &invocation.digest()[..], &holder.0].concat()
    }
}

/// One share of a key, with the salt of its commitment. Cleared when dropped, and never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Share {
    index: u8,
    share: [u8; SHARE],
    salt: [u8; SALT],
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({})", self.index)
    }
}

/// Why a share can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    #[error("a sealed share has {SEALED_BYTES} bytes, not {0}")]
    Length(usize),
    #[error("this release reads version {VERSION} of a sealed share, not version {0}")]
    Version(u8),
    #[error("nothing can be sealed to this key")]
    Key,
    #[error("the share was not sealed to this key, or not for this")]
    NotForThis,
    #[error("the share is not the one that the grant commits to")]
    Commitment,
}

/// Why shares give no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    #[error("{have} different shares are fewer than the {needed} that are needed")]
    TooFew { have: usize, needed: u8 },
    #[error(
        "the shares are those that the grant commits to, and do not open this object: its owner shared out another key"
    )]
    OtherKey,
}

/// Splits a key among all holders, in the order of their indices. Each share comes with fresh salt.
pub fn split(key: &FileKey, terms: Terms, random: &mut impl Random) -> Vec<Share> {
    let ids = (1..=terms.holders()).map(|index| IdentifierGf256(Gf256(index)));
    let (needed, n) = (usize::from(terms.needed()), usize::from(terms.holders()));
    let shares = Gf256::split_bytes_with_participant_ids_iter(needed, n, key.expose(), Source(random), ids)
        .expect("the terms are sound, and the indices distinct and not zero");
    let salted = shares.into_iter().map(|bytes| {
        let bytes = Zeroizing::new(bytes);
        let mut share = Share { index: bytes[0], share: [0; SHARE], salt: [0; SALT] };
        share.share.copy_from_slice(&bytes[1..]);
        random.fill(&mut share.salt);
        share
    });
    salted.collect()
}

impl Share {
    /// Which one it is, from 1.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// What the grant commits to: it fixes the share and its place, and tells nothing of it.
    pub fn commitment(&self, nonce: &[u8; 16], epoch: u32) -> [u8; 32] {
        Sha256::new()
            .chain_update(COMMITMENT)
            .chain_update(nonce)
            .chain_update(epoch.to_be_bytes())
            .chain_update([self.index])
            .chain_update(self.salt)
            .chain_update(self.share)
            .finalize()
            .into()
    }

    /// Seals it to its holder, for as long as the grant lasts.
    ///
    /// # Errors
    /// The holder's key is none.
    pub fn keep(&self, place: &Place, to: &SealKey, random: &mut impl Random) -> Result<Vec<u8>, ShareError> {
        self.seal(to, AT_REST, &place.bytes(), random)
    }

    /// Opens what [`keep`](Self::keep) made, and checks it against the commitment in the grant.
    ///
    /// # Errors
    /// It is of another place or for another holder, damaged, or not what was committed to.
    pub fn open(
        sealed: &[u8],
        place: &Place,
        secret: &SealSecret,
        commitment: &[u8; 32],
    ) -> Result<Self, ShareError> {
        Self::unseal(sealed, place, AT_REST, &place.bytes(), secret, commitment)
    }

    /// Seals it to an enclave's key for one job, for this use and no other.
    ///
    /// # Errors
    /// The enclave's key is none.
    pub fn release(
        &self,
        place: &Place,
        used: &Use,
        to: &SealKey,
        random: &mut impl Random,
    ) -> Result<Vec<u8>, ShareError> {
        self.seal(to, RELEASE, &[place.bytes(), used.bytes()].concat(), random)
    }

    /// Opens what [`release`](Self::release) made, and checks it against the commitment in the grant: a wrong one shows
    /// whose it is.
    ///
    /// # Errors
    /// It is for another use, key or place, damaged, or not what was committed to.
    pub fn receive(
        sealed: &[u8],
        place: &Place,
        used: &Use,
        secret: &SealSecret,
        commitment: &[u8; 32],
    ) -> Result<Self, ShareError> {
        let aad = [place.bytes(), used.bytes()].concat();
        Self::unseal(sealed, place, RELEASE, &aad, secret, commitment)
    }

    fn seal(
        &self,
        to: &SealKey,
        info: &[u8],
        aad: &[u8],
        random: &mut impl Random,
    ) -> Result<Vec<u8>, ShareError> {
        let mut plain = Zeroizing::new([0; SHARE + SALT]);
        plain[..SHARE].copy_from_slice(&self.share);
        plain[SHARE..].copy_from_slice(&self.salt);
        let sealed = seal(to, info, aad, &plain[..], random).ok_or(ShareError::Key)?;
        Ok([&[VERSION][..], &sealed].concat())
    }

    fn unseal(
        sealed: &[u8],
        place: &Place,
        info: &[u8],
        aad: &[u8],
        secret: &SealSecret,
        commitment: &[u8; 32],
    ) -> Result<Self, ShareError> {
        if sealed.len() != SEALED_BYTES {
            return Err(ShareError::Length(sealed.len()));
        }
        if sealed[0] != VERSION {
            return Err(ShareError::Version(sealed[0]));
        }
        let plain = open(&sealed[1..], info, aad, secret).ok_or(ShareError::NotForThis)?;
        let mut share = Share { index: place.index, share: [0; SHARE], salt: [0; SALT] };
        share.share.copy_from_slice(&plain[..SHARE]);
        share.salt.copy_from_slice(&plain[SHARE..]);
        let found = share.commitment(&place.nonce, place.epoch);
        if !bool::from(found.ct_eq(commitment)) {
            return Err(ShareError::Commitment);
        }
        Ok(share)
    }
}

/// Puts shares together, and checks that the key opens the object with this header. More than are needed may be given; of
/// one index the first counts.
///
/// # Errors
/// Too few, or another object's.
pub fn combine(header: &Header, terms: Terms, shares: &[Share]) -> Result<FileKey, CombineError> {
    let mut chosen: Vec<&Share> = Vec::new();
    for share in shares {
        if chosen.len() < usize::from(terms.needed()) && chosen.iter().all(|one| one.index != share.index) {
            chosen.push(share);
        }
    }
    if chosen.len() < usize::from(terms.needed()) {
        return Err(CombineError::TooFew { have: chosen.len(), needed: terms.needed() });
    }
    let points: Zeroizing<Vec<Vec<u8>>> =
        Zeroizing::new(chosen.iter().map(|share| [&[share.index][..], &share.share].concat()).collect());
    let secret = Gf256::combine_bytes(&*points).map(Zeroizing::new).map_err(|_| CombineError::OtherKey)?;
    let mut bytes = Zeroizing::new([0; SHARE]);
    bytes.copy_from_slice(&secret);
    let key = FileKey::from_bytes(*bytes);
    header.check(&key).map_err(|_| CombineError::OtherKey)?;
    Ok(key)
}
