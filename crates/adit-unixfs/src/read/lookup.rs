//! Finding one name in a directory.

use cid::Cid;

use crate::murmur3::murmur3_x64_64;
use crate::node::{Node, Slot, hamt_slot};
use crate::read::{Entry, ReadError};

/// Looks one name up; loads one block of a basic directory, and one a level of a HAMT.
#[derive(Clone, Debug)]
pub struct Lookup {
    name: String,
    hash: u64,
    level: u32,
    /// Hash bits a level, known once the root is.
    bits: Option<u32>,
    want: Cid,
}

/// What a [`Lookup`] says after a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupStep {
    /// Supply this block next.
    Need(Cid),
    /// There is such an entry.
    Found(Entry),
    /// There is none.
    Absent,
}

impl Lookup {
    /// Begins at a directory's root block.
    pub fn new(directory: Cid, name: impl Into<String>) -> Self {
        let name = name.into();
        Lookup { hash: murmur3_x64_64(name.as_bytes()), name, level: 0, bits: None, want: directory }
    }

    /// The block to supply next.
    pub fn want(&self) -> Cid {
        self.want
    }

    /// Takes the verified bytes of [`Lookup::want`].
    pub fn supply(&mut self, block: &[u8]) -> Result<LookupStep, ReadError> {
        let cid = self.want;
        let misplaced = Err(ReadError::Misplaced(cid));
        match Node::parse(&cid, block).map_err(ReadError::node(cid))? {
            Node::Directory(_) | Node::File(_) | Node::Symlink(_) if self.level > 0 => misplaced,
            Node::Directory(directory) => {
                let found = directory.entries.into_iter().find(|entry| entry.name == self.name);
                Ok(found.map_or(LookupStep::Absent, |entry| LookupStep::Found(entry.into())))
            }
            Node::Shard(shard) => {
                if *self.bits.get_or_insert(shard.bits) != shard.bits {
                    return misplaced;
                }
                let Some(slot) = hamt_slot(self.hash, self.level, shard.bits) else { return misplaced };
                match shard.slots.binary_search_by_key(&slot, |(slot, _)| *slot) {
                    Err(_) => Ok(LookupStep::Absent),
                    Ok(found) => match shard.slots[found].1 {
                        Slot::Entry(entry) if entry.name == self.name => Ok(LookupStep::Found(entry.into())),
                        Slot::Entry(_) => Ok(LookupStep::Absent),
                        Slot::Shard(below) => {
                            self.level += 1;
                            self.want = below;
                            Ok(LookupStep::Need(below))
                        }
                    },
                }
            }
            Node::Symlink(link) => Err(ReadError::Symlink { cid, target: link.target.into() }),
            Node::File(_) => Err(ReadError::NotADirectory(cid)),
        }
    }
}
