//! One object of which a share is held here.

use crate::keep::Row;
use crate::marks::Marks;
use crate::wire::{Distrust, Heard, Packet, pack};
use adit_model::{AccountId, AccountSecret};
use adit_release::{Action, Book, Change, Head, Id, Refusal, Terms, Use};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An object of which a share is held here: what its grant says, and the share as its owner sealed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// The grant's digest.
    pub grant: Id,
    /// The accounts of all holders, in the grant's order.
    pub holders: Vec<AccountId>,
    /// Which of them is this one, from 0.
    pub me: u8,
    /// How many holders give the key together.
    pub needed: u8,
    /// The owner's signed grant: what his words are checked with.
    #[serde(with = "serde_bytes")]
    pub signed: Vec<u8>,
    /// The share, sealed to this holder. It is kept, and never opened here.
    #[serde(with = "serde_bytes")]
    pub share: Vec<u8>,
}

impl Object {
    /// Its numbers, if they are sound and every holder has one place.
    pub fn terms(&self) -> Option<Terms> {
        let n = u8::try_from(self.holders.len()).ok()?;
        let once = self.holders.iter().enumerate().all(|(at, holder)| !self.holders[..at].contains(holder));
        (once && self.me < n).then(|| Terms::new(n, self.needed).ok()).flatten()
    }
}

/// What a group gives back besides what must be stored.
pub(crate) enum Out {
    Send { to: AccountId, packet: Bytes },
    Release { used: Use, entry: Id },
}

pub(crate) struct Group {
    pub(crate) object: Object,
    pub(crate) book: Book,
    /// On what stands in the book.
    marks: Marks,
    /// On what the packet in hand says.
    told: Marks,
    /// How long each holder's log is that is stored here.
    lens: Vec<usize>,
    words: Option<(Head, Bytes)>,
    refusals: Refusals,
}

impl Group {
    /// Opens the book with what was stored. What comes out is to be stored and sent like that of any later call.
    pub(crate) fn open(
        object: Object,
        terms: Terms,
        stored: Stored,
        nonce: u64,
        secret: &AccountSecret,
    ) -> (Self, Vec<Row>, Vec<Out>) {
        let Stored { changes, marks, words } = stored;
        let mut lens = vec![0; object.holders.len()];
        for change in &changes {
            if let Change::Chain { holder, entries, .. } = change {
                lens[usize::from(*holder)] = entries.len();
            }
        }
        let (book, actions) = Book::open(&object.grant, object.me, terms, changes, nonce);
        let mut group =
            Self { object, book, marks, told: Marks::default(), lens, words, refusals: Refusals::default() };
        let (rows, out) = group.act(actions, secret, None);
        (group, rows, out)
    }

    /// Takes another holder's packet.
    pub(crate) fn hear(
        &mut self,
        packet: Packet<'_>,
        owner_said: impl Fn(&[u8]) -> Option<Head>,
        secret: &AccountSecret,
        now: u64,
    ) -> Result<(Vec<Row>, Vec<Out>), Distrust> {
        let Heard { from, message, marks, words } = packet.check(&self.object, &self.marks, &owner_said)?;
        self.told = marks;
        let words = words.and_then(|words| Some((owner_said(&words)?, words)));
        let actions = self.book.hear(from, message, now);
        let done = self.act(actions, secret, words);
        self.told = Marks::default();
        Ok(done)
    }

    pub(crate) fn hear_owner(
        &mut self,
        head: Head,
        words: Bytes,
        secret: &AccountSecret,
        now: u64,
    ) -> Result<(Vec<Row>, Vec<Out>), Refusal> {
        let lacking = self.words.is_none() && head == *self.book.head();
        let actions = self.book.hear_owner(head, now)?;
        let (mut rows, out) = self.act(actions, secret, Some((head, words.clone())));
        if lacking {
            // Its own log had told it the number, but not the words.
            self.words = Some((head, words.clone()));
            rows.push(Row::Head { head, words: Some(words) });
        }
        Ok((rows, out))
    }

    pub(crate) fn commit(
        &mut self,
        used: Use,
        reserved_by: &[u8],
        secret: &AccountSecret,
        now: u64,
    ) -> Result<(Vec<Row>, Vec<Out>), Refusal> {
        let actions = self.book.commit(used, reserved_by, now)?;
        Ok(self.act(actions, secret, None))
    }

    pub(crate) fn note_refusal(
        &mut self,
        invocation: Id,
        reason: u8,
        secret: &AccountSecret,
        now: u64,
    ) -> (Vec<Row>, Vec<Out>) {
        if self.is_full() || !self.refusals.one_more(now) {
            return Default::default();
        }
        let actions = self.book.note_refusal(invocation, reason, now);
        self.act(actions, secret, None)
    }

    pub(crate) fn tick(&mut self, secret: &AccountSecret) -> (Vec<Row>, Vec<Out>) {
        let actions = self.book.tick();
        self.act(actions, secret, None)
    }

    /// Whether the log has as many entries as can be told to another holder at once.
    pub(crate) fn is_full(&self) -> bool {
        let own = self.book.chain(self.object.me).map_or(0, adit_release::Chain::len);
        own >= MOST_ENTRIES / self.object.holders.len()
    }

    pub(crate) fn mark(&self, entry: &Id) -> Option<crate::Mark> {
        self.marks.entry(entry)
    }

    pub(crate) fn words(&self) -> Option<&(Head, Bytes)> {
        self.words.as_ref()
    }

    /// Signs what is new, and turns actions into rows and packets.
    fn act(
        &mut self,
        actions: Vec<Action>,
        secret: &AccountSecret,
        words: Option<(Head, Bytes)>,
    ) -> (Vec<Row>, Vec<Out>) {
        let (mut rows, mut out) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Store(change) => rows.push(self.store(change, secret, words.as_ref())),
                Action::Send { to, message } => {
                    let packet = pack(&self.object, secret, to, message, &self.marks, self.words.as_ref());
                    let packet = packet.expect("what stands in the book was checked or signed here");
                    out.push(Out::Send { to: self.object.holders[usize::from(to)], packet });
                }
                Action::Release { used, entry } => out.push(Out::Release { used, entry }),
            }
        }
        (rows, out)
    }

    fn store(&mut self, change: Change, secret: &AccountSecret, words: Option<&(Head, Bytes)>) -> Row {
        let me = self.object.me;
        match change {
            Change::Chain { holder, at, entries } => {
                let mut marked = Vec::with_capacity(entries.len());
                for entry in entries {
                    let id = entry.id();
                    let mark = self.marks.entry(&id).or_else(|| self.told.entry(&id)).unwrap_or_else(|| {
                        assert_eq!(holder, me, "an entry of another holder was never checked");
                        Marks::sign_entry(secret, &entry)
                    });
                    self.marks.put_entry(id, mark);
                    marked.push((entry, mark));
                }
                let len = at + marked.len();
                let before = std::mem::replace(&mut self.lens[usize::from(holder)], len);
                if at < before {
                    let logs = (0..=u8::MAX).map_while(|holder| self.book.chain(holder));
                    self.marks.keep_only(logs);
                }
                Row::Chain { holder, at, entries: marked }
            }
            Change::Promise { holder, promise } => {
                let known = self.marks.start(holder, promise).or_else(|| self.told.start(holder, promise));
                let mark = known.unwrap_or_else(|| {
                    assert_eq!(holder, me, "a start of another holder was never checked");
                    Marks::sign_start(secret, &self.object.grant, me, promise)
                });
                self.marks.put_start(holder, promise, mark);
                Row::Start { holder, start: promise, mark }
            }
            Change::Head(head) => {
                self.words = words.filter(|(said, _)| *said == head).cloned();
                Row::Head { head, words: self.words.as_ref().map(|(_, words)| words.clone()) }
            }
        }
    }
}

/// What was stored of one object.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) changes: Vec<Change>,
    pub(crate) marks: Marks,
    pub(crate) words: Option<(Head, Bytes)>,
}

/// All entries of all holders' logs of one object: with their signatures they fit into one packet.
const MOST_ENTRIES: usize = 300_000;

/// How many refusals a minute are written down, and how many at once. The rest is only answered.
const REFUSALS_A_MINUTE: u64 = 6;
const REFUSALS_AT_ONCE: u64 = 60;

/// Keeps strangers from filling the log with refusals.
#[derive(Default)]
struct Refusals {
    /// Milliseconds of Unix time up to which all of the allowance is used.
    used_until: u64,
}

impl Refusals {
    fn one_more(&mut self, now: u64) -> bool {
        let each = 60_000 / REFUSALS_A_MINUTE;
        let from = self.used_until.max(now.saturating_sub(each * REFUSALS_AT_ONCE));
        let fits = from + each <= now;
        if fits {
            self.used_until = from + each;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_written_down_at_a_limited_rate() {
        let mut refusals = Refusals::default();
        let now = 1_800_000_000_000;
        let at_once = (0..1_000).filter(|_| refusals.one_more(now)).count();
        assert_eq!(at_once as u64, REFUSALS_AT_ONCE);
        let in_an_hour = (1..=3_600).filter(|second| refusals.one_more(now + second * 1_000)).count();
        assert_eq!(in_an_hour as u64, 60 * REFUSALS_A_MINUTE);
    }
}
