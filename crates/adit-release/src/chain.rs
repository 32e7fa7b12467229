//! A holder's log of one object: entries that each name the one before.

use sha2::{Digest, Sha256};

/// The digest of something: a policy, an invocation, a grant, an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 32]);

impl std::fmt::Debug for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One use of a sealed object: a slot, for an invocation, under a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Use {
    /// The policy that allows it.
    pub policy: Id,
    /// Which of the policy's uses it is, from 0.
    pub slot: u32,
    /// Whose it is.
    pub invocation: Id,
}

/// What governs an object now. Signed by its owner; of two, that with the higher number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// From 1; 0 is before the owner said anything.
    pub number: u64,
    /// The policy in force; `None`: nothing is allowed any more.
    pub policy: Option<Id>,
    /// Uses that the policy allows.
    pub uses: u32,
}

impl Head {
    /// Before the owner said anything: nothing is allowed.
    pub const NONE: Self = Self { number: 0, policy: None, uses: 0 };
}

/// What a holder did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// It started, and had heard enough other holders.
    Started,
    /// It heard the owner.
    Head(Head),
    /// It gave a slot. Its share is given once enough others have this entry.
    Used(Use),
    /// It refused, for a reason with this number.
    Refused { invocation: Id, reason: u8 },
}

/// One line of a holder's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The entry before it; the first names the object and the holder.
    pub before: Id,
    /// How often the holder had started.
    pub boot: u32,
    /// When, in Unix milliseconds by the holder's clock.
    pub time: u64,
    /// What.
    pub act: Act,
}

impl Entry {
    /// The digest that the holder signs, and that the next entry names.
    pub fn id(&self) -> Id {
        let mut hash = Sha256::new();
        hash.update(b"adit/release-entry/1\0");
        hash.update(self.before.0);
        hash.update(self.boot.to_be_bytes());
        hash.update(self.time.to_be_bytes());
        // Every kind has one length, and its number comes first: no two entries have the same bytes.
        match &self.act {
            Act::Started => hash.update([0]),
            Act::Head(head) => {
                hash.update([1]);
                hash.update(head.number.to_be_bytes());
                hash.update([u8::from(head.policy.is_some())]);
                hash.update(head.policy.map_or([0; 32], |policy| policy.0));
                hash.update(head.uses.to_be_bytes());
            }
            Act::Used(used) => {
                hash.update([2]);
                hash.update(used.policy.0);
                hash.update(used.slot.to_be_bytes());
                hash.update(used.invocation.0);
            }
            Act::Refused { invocation, reason } => {
                hash.update([3, *reason]);
                hash.update(invocation.0);
            }
        }
        Id(hash.finalize().into())
    }
}

/// A log, as far as it is known here: one's own, or another holder's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Of the beginning and of each entry.
    ids: Vec<Id>,
    entries: Vec<Entry>,
}

/// What became of entries that were offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// They stand in the chain already.
    Known,
    /// They stand in it now: from this position on, nothing stays of what was there.
    Taken { at: usize },
    /// They begin after its end.
    Gap,
    /// They are no continuation, or of an earlier time than what is there.
    Refused,
}

impl Chain {
    /// The empty log of a holder about an object.
    pub fn new(grant: &Id, holder: u8) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"adit/release-log/1\0");
        hash.update(grant.0);
        hash.update([holder]);
        Self { ids: vec![Id(hash.finalize().into())], entries: Vec::new() }
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last entry's digest.
    pub fn tip(&self) -> Id {
        *self.ids.last().expect("a chain has a beginning")
    }

    /// The digest after so many entries.
    pub fn tip_at(&self, len: usize) -> Option<Id> {
        self.ids.get(len).copied()
    }

    /// Of two versions of one holder's log, that of the later start counts, and of those the longer.
    fn rank(&self) -> (u32, usize) {
        (self.entries.last().map_or(0, |entry| entry.boot), self.len())
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        debug_assert_eq!(entry.before, self.tip());
        self.ids.push(entry.id());
        self.entries.push(entry);
    }

    /// Puts entries at a position, whatever was there.
    pub(crate) fn put(&mut self, at: usize, entries: &[Entry]) {
        self.entries.truncate(at);
        self.ids.truncate(at + 1);
        entries.iter().for_each(|entry| self.push(entry.clone()));
    }

    /// Takes entries that follow the first `at` ones, if they are a later version of this log.
    pub(crate) fn offer(&mut self, at: usize, entries: &[Entry]) -> Offered {
        let Some(mut tip) = self.tip_at(at) else { return Offered::Gap };
        let mut boot = at.checked_sub(1).map_or(0, |last| self.entries[last].boot);
        for entry in entries {
            if entry.before != tip || entry.boot < boot {
                return Offered::Refused;
            }
            (tip, boot) = (entry.id(), entry.boot);
        }
        let same = entries.iter().zip(&self.entries[at..]).take_while(|(one, other)| one == other).count();
        if same == entries.len() {
            return Offered::Known;
        }
        let at = at + same;
        if at < self.len() && (boot, at + entries.len() - same) <= self.rank() {
            return Offered::Refused;
        }
        self.put(at, &entries[same..]);
        Offered::Taken { at }
    }
}
