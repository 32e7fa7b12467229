//! Directories: one block while small, a HAMT above the profile's threshold.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use cid::Cid;

use crate::block::Block;
use crate::build::{Built, node};
use crate::codec::dag_pb::{PbLink, encoded_link_len};
use crate::data::{Data, Kind, Metadata};
use crate::murmur3::murmur3_x64_64;
use crate::node::{HAMT_HASH, NodeError, check_name, hamt_slot};
use crate::profile::Layout;

/// Collects entries, then builds the directory. Memory grows with the number of entries (some 200
/// bytes each), not with what they name.
#[derive(Debug)]
pub struct DirectoryBuilder {
    choices: Layout,
    metadata: Metadata,
    entries: BTreeMap<String, (Cid, u64)>,
}

/// Why an entry was refused or a directory cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The name is empty, too long, `.`, `..`, or contains `/` or NUL.
    #[error(transparent)]
    Name(#[from] NodeError),
    /// The name was added before.
    #[error("the directory already has an entry {0:?}")]
    Duplicate(String),
    /// More than a HAMT's depth of names share all 64 bits of their hash.
    #[error("different names have the same hash in all bits")]
    HashCollision,
}

impl DirectoryBuilder {
    /// An empty directory.
    pub fn new(choices: impl Into<Layout>, metadata: Metadata) -> Self {
        DirectoryBuilder { choices: choices.into(), metadata, entries: BTreeMap::new() }
    }

    /// Adds an entry; the order does not matter.
    pub fn add(&mut self, name: impl Into<String>, child: &Built) -> Result<(), DirectoryError> {
        self.add_cid(name, child.cid, child.tsize)
    }

    /// Adds something that was built earlier, of which only CID and cumulative size are known.
    pub fn add_cid(&mut self, name: impl Into<String>, cid: Cid, tsize: u64) -> Result<(), DirectoryError> {
        let name = name.into();
        check_name(&name)?;
        match self.entries.entry(name) {
            Entry::Occupied(entry) => Err(DirectoryError::Duplicate(entry.key().clone())),
            Entry::Vacant(entry) => {
                entry.insert((cid, tsize));
                Ok(())
            }
        }
    }

    /// Number of entries so far.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Builds the directory's blocks, the root last.
    pub fn finish(self, out: &mut Vec<Block>) -> Result<Built, DirectoryError> {
        let data = Data { metadata: self.metadata, ..Data::new(Kind::Directory) };
        if self.estimated_size(&data) > self.choices.directory_threshold {
            return self.hamt(out);
        }
        let links = self
            .entries
            .iter()
            .map(|(name, &(cid, tsize))| PbLink { cid, name: Some(name), tsize: Some(tsize) })
            .collect();
        let (block, built) = node(self.choices, links, &data, 0);
        out.push(block);
        Ok(built)
    }

    /// What is compared with the threshold: the exact size of the block, or (legacy) only the
    /// bytes of names and CIDs.
    fn estimated_size(&self, data: &Data<'_>) -> usize {
        let exact = self.choices.exact_directory_size;
        let links = self.entries.iter().map(|(name, &(cid, tsize))| match exact {
            true => encoded_link_len(&PbLink { cid, name: Some(name), tsize: Some(tsize) }),
            false => name.len() + cid.encoded_len(),
        });
        let links: usize = links.sum();
        match exact {
            // The `Data` field: one byte of key, one of length (the message is always short).
            true => links + 2 + data.encode().len(),
            false => links,
        }
    }

    fn hamt(self, out: &mut Vec<Block>) -> Result<Built, DirectoryError> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(name, &(cid, tsize))| Hashed { hash: murmur3_x64_64(name.as_bytes()), name, cid, tsize })
            .collect();
        entries.sort_by_key(|entry| entry.hash);
        shard(self.choices, &entries, 0, self.metadata, out)
    }
}

struct Hashed<'a> {
    hash: u64,
    name: &'a str,
    cid: Cid,
    tsize: u64,
}

/// Builds the trie node for entries that share the slots of all levels above `level`. The entries are
/// sorted by hash, so those of one slot lie together.
fn shard(
    choices: Layout,
    entries: &[Hashed<'_>],
    level: u32,
    metadata: Metadata,
    out: &mut Vec<Block>,
) -> Result<Built, DirectoryError> {
    let fanout = choices.hamt_fanout;
    let bits = fanout.trailing_zeros();
    let slot_of = |entry: &Hashed<'_>| hamt_slot(entry.hash, level, bits);
    let mut field = vec![0u8; fanout / 8];
    let mut links: Vec<(String, Cid, u64)> = Vec::new();
    for group in entries.chunk_by(|a, b| slot_of(a) == slot_of(b)) {
        let slot = slot_of(&group[0]).ok_or(DirectoryError::HashCollision)?;
        field[fanout / 8 - 1 - slot / 8] |= 1 << (slot % 8);
        links.push(match group {
            [entry] => (format!("{slot:02X}{}", entry.name), entry.cid, entry.tsize),
            several => {
                let below = shard(choices, several, level + 1, Metadata::NONE, out)?;
                (format!("{slot:02X}"), below.cid, below.tsize)
            }
        });
    }
    // The bit field is a big-endian number without leading zero bytes.
    let used = field.iter().position(|byte| *byte != 0).unwrap_or(field.len());
    let data = Data {
        data: Some(&field[used..]),
        hash_type: Some(HAMT_HASH),
        fanout: Some(fanout as u64),
        metadata,
        ..Data::new(Kind::HamtShard)
    };
    let links = links
        .iter()
        .map(|(name, cid, tsize)| PbLink { cid: *cid, name: Some(name), tsize: Some(*tsize) })
        .collect();
    let (block, built) = node(choices, links, &data, 0);
    out.push(block);
    Ok(built)
}
