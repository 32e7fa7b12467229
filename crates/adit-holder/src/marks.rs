//! Signatures of holders on the entries of their logs and on their starts.

use adit_model::{AccountId, AccountSecret, SignerId};
use adit_release::{Chain, Entry, Id, Promise};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// A holder's signature: `r ‖ s ‖ v`, secp256k1, over a digest under a tag of its own.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(#[serde(with = "serde_bytes")] pub [u8; 65]);

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mark")
    }
}

/// The digest that a holder signs when it starts.
fn start_digest(grant: &Id, holder: u8, start: Promise) -> [u8; 32] {
    let hash =
        Sha256::new().chain_update(b"adit/holder-start/1\0").chain_update(grant.0).chain_update([holder]);
    hash.chain_update(start.boot.to_be_bytes()).chain_update(start.nonce.to_be_bytes()).finalize().into()
}

/// Signatures that were checked, by what they are on: of each holder's log, and on its last start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    entries: HashMap<Id, Mark>,
    starts: HashMap<u8, (Promise, Mark)>,
}

impl Marks {
    pub(crate) fn sign_entry(secret: &AccountSecret, entry: &Entry) -> Mark {
        Mark(AccountId::sign(secret, &entry.id().0))
    }

    pub(crate) fn sign_start(secret: &AccountSecret, grant: &Id, holder: u8, start: Promise) -> Mark {
        Mark(AccountId::sign(secret, &start_digest(grant, holder, start)))
    }

    /// Whether a signature on an entry is its holder's. What is known already isn't computed again.
    pub(crate) fn entry_holds(&self, by: &AccountId, id: &Id, mark: &Mark) -> bool {
        self.entries.get(id) == Some(mark) || by.check(&id.0, &mark.0).is_ok()
    }

    pub(crate) fn start_holds(
        &self,
        by: &AccountId,
        grant: &Id,
        holder: u8,
        start: Promise,
        mark: &Mark,
    ) -> bool {
        self.starts.get(&holder) == Some(&(start, *mark))
            || by.check(&start_digest(grant, holder, start), &mark.0).is_ok()
    }

    pub(crate) fn put_entry(&mut self, id: Id, mark: Mark) {
        self.entries.insert(id, mark);
    }

    /// A later start takes the place of an earlier one.
    pub(crate) fn put_start(&mut self, holder: u8, start: Promise, mark: Mark) {
        let known = self.starts.entry(holder).or_insert((start, mark));
        if start > known.0 {
            *known = (start, mark);
        }
    }

    pub(crate) fn entry(&self, id: &Id) -> Option<Mark> {
        self.entries.get(id).copied()
    }

    pub(crate) fn start(&self, holder: u8, start: Promise) -> Option<Mark> {
        self.starts.get(&holder).filter(|(known, _)| *known == start).map(|(_, mark)| *mark)
    }

    /// Forgets signatures on entries that stand in none of these logs.
    pub(crate) fn keep_only<'a>(&mut self, logs: impl Iterator<Item = &'a Chain>) {
        let kept: HashSet<_> =
            logs.flat_map(|log| (1..=log.len()).filter_map(|len| log.tip_at(len))).collect();
        self.entries.retain(|id, _| kept.contains(id));
    }
}
