//! Owners' words, as records: a signed grant is what an object is enrolled by, a signed policy head what governs it.

use adit_model::{AccountId, Grant, PolicyHead, Signed, Verified};
use adit_release::{Head, Id};

use crate::{Object, Words};

/// Reads policy heads, for objects that [`Object::of_grant`] made.
///
/// A head's expiry is not looked at here: slots are given to whom the policy was found to allow, and that is judged
/// with the head as it stands ([`Holder::head`](crate::Holder::head) has the owner's bytes).
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyHeads;

impl Words for PolicyHeads {
    fn head(&self, object: &Object, words: &[u8]) -> Option<Head> {
        let head = Signed::<PolicyHead>::decode(words).ok()?.verify().ok()?.into_body();
        let grant = Signed::<Grant>::decode(&object.signed).ok()?.verify().ok()?;
        let of_this = head.grant == grant.cid() && object.grant == Id(*grant.cid().digest());
        (of_this && head.owner == grant.body().owner).then(|| Head {
            number: head.number,
            policy: head.policy.map(|policy| Id(*policy.digest())),
            uses: head.uses,
        })
    }
}

impl Object {
    /// What one of the grant's holders keeps: the grant, and its share as the owner sealed it. `None` if the grant does not
    /// name it.
    pub fn of_grant(grant: &Verified<Grant>, me: &AccountId, share: Vec<u8>) -> Option<Self> {
        let body = grant.body();
        Some(Self {
            grant: Id(*grant.cid().digest()),
            holders: body.holders.iter().map(|holder| holder.account).collect(),
            me: body.place_of(me)?,
            needed: body.needed,
            signed: grant.block().to_vec(),
            share,
        })
    }
}
