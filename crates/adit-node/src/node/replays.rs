//! Invocations this host has been given. An issuer who sends the same one twice has asked once.

use std::collections::HashMap;

use adit_model::{AccountId, Invocation, Nonce};
use parking_lot::Mutex;

/// Invocations remembered. Beyond it the host refuses rather than forgets: forgetting would let an
/// old one pass.
const MAX: usize = 1 << 20;
/// After how many new ones the expired are looked for.
const TIDY_EVERY: usize = 4096;

/// The memory, until each invocation's expiry.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    until: HashMap<(AccountId, Nonce), u64>,
    since_tidy: usize,
}

impl Replays {
    /// Whether this invocation is new. Asking makes it known.
    pub(crate) fn is_new(&self, invocation: &Invocation, now: u64) -> bool {
        let mut seen = self.seen.lock();
        seen.since_tidy += 1;
        if seen.since_tidy >= TIDY_EVERY || seen.until.len() >= MAX {
            seen.since_tidy = 0;
            seen.until.retain(|_, until| *until >= now);
        }
        if seen.until.len() >= MAX {
            return false;
        }
        seen.until.insert((invocation.issuer, invocation.nonce), invocation.expiry).is_none()
    }
}

#[cfg(test)]
mod tests {
    use adit_model::TaskCid;

    use super::*;

    #[test]
    fn an_invocation_counts_once_until_it_expires() {
        let replays = Replays::default();
        let invocation = |n: u8, issuer: u8, expiry| Invocation {
            task: TaskCid::of_block(b"task"),
            issuer: AccountId([issuer; 20]),
            nonce: Nonce([n; 16]),
            expiry,
            reply_key: None,
        };
        assert!(replays.is_new(&invocation(1, 1, 100), 0));
        assert!(!replays.is_new(&invocation(1, 1, 100), 50));
        assert!(replays.is_new(&invocation(1, 2, 100), 50), "another issuer's nonce is another's");
        for n in 0..TIDY_EVERY as u32 {
            let mut other = invocation(0, 9, 60);
            other.nonce.0[..4].copy_from_slice(&n.to_be_bytes());
            replays.is_new(&other, 70);
        }
        assert!(replays.seen.lock().until.len() < TIDY_EVERY, "the expired are forgotten");
        assert!(!replays.is_new(&invocation(1, 1, 100), 99), "the others are not");
    }
}
