//! Grant and PolicyHead: to whom an object's key is shared out, and which policy governs it now.

use crate::dagcbor::{DecodeError, Reader, Value, Writer, map_record};
use crate::ids::{AccountId, IdError, NodeId};
use crate::names::{GrantCid, PolicyCid, PolicyHeadCid};
use crate::rules::{Invalid, at_most, limits};
use crate::signed::Signable;
use cid::Cid;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An X25519 public key that something can be sealed to: a holder's, an enclave's for one job, a reader's. The same
/// 32 bytes as an age recipient's. Not every such key has a secret behind it that anybody knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealKey(pub [u8; 32]);

impl fmt::Display for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({self})")
    }
}

impl FromStr for SealKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| IdError::NotASealKey)?;
        bytes.try_into().map(Self).map_err(|_| IdError::NotASealKey)
    }
}

impl Value for SealKey {
    fn write(&self, w: &mut Writer) {
        self.0.write(w);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Value::read(r).map(Self)
    }
}

crate::text::serde_as_text!(SealKey);

/// One of the n that share an object's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Signs its log, and is what distinguishes it from the others.
    pub account: AccountId,
    /// The node through which it is reached. Others may carry its messages too: nothing rests on the way.
    pub node: NodeId,
    /// What its share is sealed to while it lies at the holder.
    pub key: SealKey,
    /// SHA-256 over its share, a salt and where the share belongs: see the specification of key shares. Tells a share
    /// that was swapped or damaged without telling anything of it.
    #[serde(with = "crate::text::hex")]
    pub commitment: [u8; 32],
}

map_record! {
    Holder as "holder";
    req "key" => key,
    req "node" => node,
    req "account" => account,
    req "commitment" => commitment,
}

/// What an object is sealed to, once. Signed by its owner.
///
/// The object's CID does not say who sealed it, so a grant is also the owner's claim to it: what a holder releases is a
/// key that opens this very object, and nobody gains by claiming another's, whose key he can't share out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The root of what is sealed: a file in the age format, or a sealed tree.
    #[serde(with = "crate::text::cid")]
    pub object: Cid,
    /// Random, made with the shares: keeps those of two grants of one object apart.
    #[serde(with = "crate::text::hex")]
    pub nonce: [u8; 16],
    /// Who decides about it, and signs.
    pub owner: AccountId,
    /// Who has a share, in the order of the shares' indices (from 1).
    pub holders: Vec<Holder>,
    /// How many of them give the key together.
    pub needed: u8,
    /// From 0; the next when the same key is shared out anew, which voids shares of earlier epochs.
    pub epoch: u32,
    /// Unix time in seconds, by the owner's clock.
    pub issued: u64,
}

map_record! {
    Grant as "grant", version 1;
    req "epoch" => epoch,
    req "nonce" => nonce,
    req "owner" => owner,
    req "issued" => issued,
    req "needed" => needed,
    req "object" => object,
    req "holders" => holders,
}

impl Grant {
    /// Checks counts: 2 to 32 holders, each once, of whom a majority is needed. With half of them or fewer, two groups
    /// could each use a slot, and a policy's uses would not count.
    pub fn check(&self) -> Result<(), Invalid> {
        let wrong = |why| Err(Invalid::Grant { why });
        let n = self.holders.len();
        if n < 2 {
            return wrong("has fewer than two holders");
        }
        at_most("holders", n, limits::HOLDERS)?;
        if usize::from(self.needed) > n {
            return wrong("needs more holders than it has");
        }
        if 2 * usize::from(self.needed) <= n {
            return wrong("needs no majority of its holders");
        }
        for (at, holder) in self.holders.iter().enumerate() {
            let before = &self.holders[..at];
            if before.iter().any(|other| other.account == holder.account || other.key == holder.key) {
                return wrong("names a holder twice");
            }
        }
        Ok(())
    }

    /// The place of a holder in the list, from 0.
    pub fn place_of(&self, account: &AccountId) -> Option<u8> {
        let at = self.holders.iter().position(|holder| holder.account == *account)?;
        u8::try_from(at).ok()
    }
}

impl Signable for Grant {
    type Signer = AccountId;
    type Name = GrantCid;
    const TAG: &'static str = "adit/grant/1";

    fn signer(&self) -> AccountId {
        self.owner
    }
    fn validate(&self) -> Result<(), Invalid> {
        self.check()
    }
    fn name(block: &[u8]) -> GrantCid {
        GrantCid::of_block(block)
    }
}

/// Which policy governs a grant, from its number on. Signed by the grant's owner.
///
/// Of two heads of one grant the higher number counts, for ever: a holder that has seen 7 acts on no 6. Two different
/// heads of one number are both believed nowhere that has seen one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyHead {
    /// What is governed.
    pub grant: GrantCid,
    /// The grant's owner, who signs.
    pub owner: AccountId,
    /// From 1, and higher each time.
    pub number: u64,
    /// The policy in force. Without one nothing is allowed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyCid>,
    /// How many uses this policy allows in all, those under earlier heads of the same policy included.
    pub uses: u32,
    /// Unix time in seconds, by the owner's clock.
    pub issued: u64,
    /// Unix time in seconds after which nothing is allowed until the owner speaks again.
    pub expiry: u64,
}

map_record! {
    PolicyHead as "policy head", version 1;
    req "uses" => uses,
    req "grant" => grant,
    req "owner" => owner,
    req "expiry" => expiry,
    req "issued" => issued,
    req "number" => number,
    opt "policy" => policy,
}

impl PolicyHead {
    /// Checks that it says something.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.number == 0 {
            return Err(Invalid::TooSmall { what: "a policy head's number", least: 1 });
        }
        if self.expiry <= self.issued {
            return Err(Invalid::EmptyInterval { what: "a policy head" });
        }
        Ok(())
    }

    /// Whether it takes another's place.
    pub fn succeeds(&self, other: &PolicyHead) -> bool {
        self.grant == other.grant && self.owner == other.owner && self.number > other.number
    }
}

impl Signable for PolicyHead {
    type Signer = AccountId;
    type Name = PolicyHeadCid;
    const TAG: &'static str = "adit/policy-head/1";

    fn signer(&self) -> AccountId {
        self.owner
    }
    fn validate(&self) -> Result<(), Invalid> {
        self.check()
    }
    fn name(block: &[u8]) -> PolicyHeadCid {
        PolicyHeadCid::of_block(block)
    }
}
