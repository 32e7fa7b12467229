//! What holders of one object say to each other.

use crate::chain::{Chain, Entry, Head, Id};
use serde::{Deserialize, Serialize};

/// How far a chain is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tip {
    /// Entries.
    pub len: usize,
    /// The last one's digest.
    pub id: Id,
}

/// That nothing is taken any more that a holder sent before it started for the `boot`th time. The holder's own signed
/// [`Message::Recall`] is what proves it to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// The start.
    pub boot: u32,
    /// A random number of that start: after an old backup, two have the same number.
    pub nonce: u64,
}

/// One message. The sender's signature is checked by whoever carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Message {
    /// "I start. What had I written, and what do you keep of the others?"
    Recall { start: Promise, have: Vec<Tip> },
    /// The answer: of each holder's chain the entries from a position, promises, and the owner's last word.
    Recalled { start: Promise, chains: Vec<(usize, Vec<Entry>)>, promises: Vec<Promise>, head: Head },
    /// "You have started with this number before", with the proof.
    Stale { known: Promise },
    /// "Keep these entries of mine", which follow the first `at`.
    Witness { start: Promise, at: usize, entries: Vec<Entry> },
    /// "I keep your log up to here", and which starts of others the sender knows.
    Witnessed { of: Promise, by: Promise, tip: Tip, promises: Vec<Promise> },
    /// "I know only so many entries before those."
    Lacking { of: Promise, len: usize },
}

/// What somebody lacks of a chain of which he has `tip`.
pub(crate) fn rest(chain: &Chain, tip: &Tip) -> (usize, Vec<Entry>) {
    let at = if chain.tip_at(tip.len) == Some(tip.id) { tip.len } else { 0 };
    (at, chain.entries()[at..].to_vec())
}
