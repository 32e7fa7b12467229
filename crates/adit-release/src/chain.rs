//! A holder's log of one object: entries that each name the one before.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The digest of something: a policy, an invocation, a grant, an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl std::fmt::Debug for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One use of a sealed object: a slot, for an invocation, under a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The policy that allows it.
    pub policy: Id,
    /// Which of the policy's uses it is, from 0.
    pub slot: u32,
    /// Whose it is.
    pub invocation: Id,
}

/// What governs an object now. Signed by its owner; of two, that with the higher number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Most bytes of one.
    pub const MOST_BYTES: usize = 113;

    /// Its bytes: the digest before, the start (4), the time (8), the kind (1), and what the kind has. Numbers are
    /// big-endian. Every kind has one length, so no two entries have the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::MOST_BYTES);
        bytes.extend(self.before.0);
        bytes.extend(self.boot.to_be_bytes());
        bytes.extend(self.time.to_be_bytes());
        match &self.act {
            Act::Started => bytes.push(0),
            Act::Head(head) => {
                bytes.push(1);
                bytes.extend(head.number.to_be_bytes());
                bytes.push(u8::from(head.policy.is_some()));
                bytes.extend(head.policy.map_or([0; 32], |policy| policy.0));
                bytes.extend(head.uses.to_be_bytes());
            }
            Act::Used(used) => {
                bytes.push(2);
                bytes.extend(used.policy.0);
                bytes.extend(used.slot.to_be_bytes());
                bytes.extend(used.invocation.0);
            }
            Act::Refused { invocation, reason } => {
                bytes.extend([3, *reason]);
                bytes.extend(invocation.0);
            }
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (before, rest) = bytes.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let ([kind], rest) = rest.split_first_chunk()?;
        let (act, rest) = match kind {
            0 => (Act::Started, rest),
            1 => {
                let (number, rest) = rest.split_first_chunk()?;
                let ([some], rest) = rest.split_first_chunk()?;
                let (policy, rest) = rest.split_first_chunk()?;
                let (uses, rest) = rest.split_first_chunk()?;
                let policy = match some {
                    0 if *policy == [0; 32] => None,
                    1 => Some(Id(*policy)),
                    _ => return None,
                };
                let (number, uses) = (u64::from_be_bytes(*number), u32::from_be_bytes(*uses));
                (Act::Head(Head { number, policy, uses }), rest)
            }
            2 => {
                let (policy, rest) = rest.split_first_chunk()?;
                let (slot, rest) = rest.split_first_chunk()?;
                let (invocation, rest) = rest.split_first_chunk()?;
                let slot = u32::from_be_bytes(*slot);
                (Act::Used(Use { policy: Id(*policy), slot, invocation: Id(*invocation) }), rest)
            }
            3 => {
                let ([reason], rest) = rest.split_first_chunk()?;
                let (invocation, rest) = rest.split_first_chunk()?;
                (Act::Refused { invocation: Id(*invocation), reason: *reason }, rest)
            }
            _ => return None,
        };
        let (boot, time) = (u32::from_be_bytes(*boot), u64::from_be_bytes(*time));
        rest.is_empty().then_some(Self { before: Id(*before), boot, time, act })
    }

    /// The digest that the holder signs, and that the next entry names: SHA-256 of `adit/release-entry/1`, a zero byte and
    /// the entry's bytes.
    pub fn id(&self) -> Id {
        let hash = Sha256::new().chain_update(b"adit/release-entry/1\0").chain_update(self.to_bytes());
        Id(hash.finalize().into())
    }
}

/// As a byte string.
impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: serde_bytes::ByteBuf = Deserialize::deserialize(deserializer)?;
        Self::from_bytes(&bytes).ok_or_else(|| serde::de::Error::custom("not an entry of a release log"))
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

    /// A log that somebody showed, from its beginning; `None` if an entry does not name the one before it. Whether its holder
    /// signed them is not looked at here.
    pub fn of(grant: &Id, holder: u8, entries: &[Entry]) -> Option<Self> {
        let mut chain = Self::new(grant, holder);
        for entry in entries {
            if entry.before != chain.tip() {
                return None;
            }
            chain.push(entry.clone());
        }
        Some(chain)
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
    pub(crate) fn rank(&self) -> (u32, usize) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let used = Use { policy: Id([2; 32]), slot: 7, invocation: Id([3; 32]) };
        let acts = [
            Act::Started,
            Act::Head(Head { number: 9, policy: Some(Id([2; 32])), uses: 8 }),
            Act::Head(Head { number: 10, policy: None, uses: 0 }),
            Act::Used(used),
            Act::Refused { invocation: Id([3; 32]), reason: 200 },
        ];
        acts.map(|act| Entry { before: Id([1; 32]), boot: 4, time: 1_800_000_000_000, act }).to_vec()
    }

    #[test]
    fn entries_read_back_and_no_other_bytes_are_one() {
        for entry in entries() {
            let bytes = entry.to_bytes();
            assert!(bytes.len() <= Entry::MOST_BYTES);
            assert_eq!(Entry::from_bytes(&bytes).as_ref(), Some(&entry));
            for len in 0..bytes.len() {
                assert_eq!(Entry::from_bytes(&bytes[..len]), None, "{entry:?} cut at {len}");
            }
            assert_eq!(Entry::from_bytes(&[&bytes[..], &[0]].concat()), None);
            // Whatever else can be read is another entry, with another digest.
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1;
                if let Some(other) = Entry::from_bytes(&other) {
                    assert_ne!((other.id(), &other), (entry.id(), &entry));
                }
            }
        }
        let mut bytes = entries()[2].to_bytes();
        *bytes.last_chunk_mut::<5>().unwrap() = [1, 0, 0, 0, 0];
        assert_eq!(Entry::from_bytes(&bytes), None, "a policy where there is none");
        assert_eq!(Entry::from_bytes(&[&[0; 44][..], &[4]].concat()), None, "an unknown kind");
    }

    #[test]
    fn a_log_that_is_shown_has_no_gap() {
        let grant = Id([9; 32]);
        let mut chain = Chain::new(&grant, 1);
        for entry in entries() {
            chain.push(Entry { before: chain.tip(), ..entry });
        }
        assert_eq!(Chain::of(&grant, 1, chain.entries()).as_ref(), Some(&chain));
        assert_eq!(Chain::of(&grant, 2, chain.entries()), None, "another holder's");
        assert_eq!(Chain::of(&grant, 1, &chain.entries()[1..]), None, "without its beginning");
        let without_one = [&chain.entries()[..2], &chain.entries()[3..]].concat();
        assert_eq!(Chain::of(&grant, 1, &without_one), None);
    }

    /// Other implementations must agree on this.
    #[test]
    fn the_digest_of_an_entry_stays() {
        let digest = entries()[3].id().0;
        assert_eq!(
            data_encoding::HEXLOWER.encode(&digest),
            "e483a7d528c81ee3559d7c25ccbcaec62e4b0c2ec111551f270bd5593cc6e353"
        );
    }
}
