//! Listing a directory.

use cid::Cid;

use crate::limits;
use crate::murmur3::murmur3_x64_64;
use crate::node::{Node, Slot, hamt_slot};
use crate::read::{Entry, ReadError};

/// Streams the entries of a directory, block by block: in order for a basic directory, in hash order
/// for a HAMT.
///
/// A HAMT built to explode (few blocks that link to each other in many places) is stopped by the
/// limits, and an entry that its hash would not lead to is refused, so no entry appears twice.
#[derive(Clone, Debug)]
pub struct Lister {
    /// Blocks still to visit, the next one last.
    pending: Vec<Pending>,
    bits: Option<u32>,
    max_entries: usize,
    entries: usize,
    blocks: usize,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    cid: Cid,
    level: u32,
    /// The slots taken on the way here, packed like the hash bits they must equal.
    prefix: u64,
}

impl Lister {
    /// Lists with the default limits.
    pub fn new(directory: Cid) -> Self {
        Lister::with_max_entries(directory, limits::DIRECTORY_ENTRIES)
    }

    /// Lists at most `max_entries`; a larger directory is an error, never a silent cut.
    pub fn with_max_entries(directory: Cid, max_entries: usize) -> Self {
        let root = Pending { cid: directory, level: 0, prefix: 0 };
        Lister { pending: vec![root], bits: None, max_entries, entries: 0, blocks: 0 }
    }

    /// The block to supply next; `None` when all entries were given.
    pub fn want(&self) -> Option<Cid> {
        self.pending.last().map(|pending| pending.cid)
    }

    /// Blocks that will be needed after [`Lister::want`], soonest first.
    pub fn ahead(&self) -> impl Iterator<Item = Cid> + '_ {
        self.pending.iter().rev().skip(1).map(|pending| pending.cid)
    }

    /// Takes the verified bytes of [`Lister::want`] and returns the entries that this block holds.
    pub fn supply(&mut self, block: &[u8]) -> Result<Vec<Entry>, ReadError> {
        let Some(at) = self.pending.pop() else { return Ok(Vec::new()) };
        self.blocks += 1;
        if self.blocks > limits::SHARDS {
            return Err(ReadError::TooMany { what: "blocks", limit: limits::SHARDS });
        }
        let entries = match Node::parse(&at.cid, block).map_err(ReadError::node(at.cid))? {
            Node::Shard(shard) => self.shard(at, shard.bits, &shard.slots)?,
            _ if at.level > 0 => return Err(ReadError::Misplaced(at.cid)),
            Node::Directory(directory) => directory.entries.into_iter().map(Entry::from).collect(),
            Node::Symlink(link) => {
                return Err(ReadError::Symlink { cid: at.cid, target: link.target.into() });
            }
            Node::File(_) => return Err(ReadError::NotADirectory(at.cid)),
        };
        self.entries += entries.len();
        if self.entries > self.max_entries {
            return Err(ReadError::TooMany { what: "entries", limit: self.max_entries });
        }
        Ok(entries)
    }

    fn shard(
        &mut self,
        at: Pending,
        bits: u32,
        slots: &[(usize, Slot<'_>)],
    ) -> Result<Vec<Entry>, ReadError> {
        let misplaced = || ReadError::Misplaced(at.cid);
        if *self.bits.get_or_insert(bits) != bits || hamt_slot(0, at.level, bits).is_none() {
            return Err(misplaced());
        }
        let used = bits * (at.level + 1);
        let mut entries = Vec::new();
        let first_new = self.pending.len();
        for (slot, value) in slots {
            let prefix = at.prefix << bits | *slot as u64;
            match value {
                Slot::Entry(entry) => {
                    if murmur3_x64_64(entry.name.as_bytes()) >> (64 - used) != prefix {
                        return Err(misplaced());
                    }
                    entries.push(Entry::from(*entry));
                }
                Slot::Shard(cid) => {
                    self.pending.push(Pending { cid: *cid, level: at.level + 1, prefix });
                }
            }
        }
        // The lowest slot comes first, and the next block is taken from the end.
        self.pending[first_new..].reverse();
        Ok(entries)
    }
}

/// Sorts entries by the bytes of their names, the order that guests see.
pub fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    entries
}
