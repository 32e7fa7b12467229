//! Files and directories by CID, read lazily.
//!
//! Nothing is fetched before a guest asks for it, and what it asks for is looked at in `adit_unixfs`, block by
//! block. What is remembered here is bounded, and forgetting it costs only time.

use super::{blocks::Blocks, stop::Stop};
use adit_unixfs::{
    block::RAW,
    limits,
    node::Node,
    read::{
        Entry, FileReader, FileStep, Lister, Lookup, LookupStep, ReadError, Stat, StatKind, Visit, sorted,
    },
};
use cid::Cid;
use std::{collections::HashMap, sync::Arc};

/// Descriptions of nodes kept.
const STATS: usize = 4096;

/// Directories kept, and entries of all of them together.
const DIRECTORIES: usize = 16;
const ENTRIES: usize = 200_000;

/// Most entries of one directory; a larger one is malformed for us, on every host.
const LARGEST_DIRECTORY: usize = 1_000_000;

/// What a guest learns about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) kind: Kind,
    /// Modification time in seconds and nanoseconds, where the node says.
    pub(crate) mtime: Option<(u64, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File { size: u64 },
    Directory,
    Symlink { target: Arc<str> },
}

#[derive(Default)]
pub(crate) struct Inputs {
    stats: HashMap<Cid, Described>,
    /// Sorted entries of directories.
    directories: HashMap<Cid, Arc<Vec<Entry>>>,
    entries: usize,
}

impl Inputs {
    pub(crate) fn describe(
        &mut self,
        blocks: &mut Blocks,
        cid: &Cid,
        ahead: &[Cid],
    ) -> Result<Described, Stop> {
        if let Some(known) = self.stats.get(cid) {
            return Ok(known.clone());
        }
        let stat = Stat::of(cid, blocks.get(cid, ahead)?)?;
        let kind = match stat.kind {
            StatKind::File => Kind::File { size: stat.size },
            StatKind::Directory { .. } => Kind::Directory,
            StatKind::Symlink { target } => Kind::Symlink { target: target.into() },
        };
        let mtime =
            stat.metadata.mtime.and_then(|time| Some((u64::try_from(time.seconds).ok()?, time.nanos)));
        let described = Described { kind, mtime };
        if self.stats.len() >= STATS {
            self.stats.clear();
        }
        self.stats.insert(*cid, described.clone());
        Ok(described)
    }

    /// The entry of that name, if there is one.
    pub(crate) fn lookup(
        &mut self,
        blocks: &mut Blocks,
        directory: &Cid,
        name: &str,
    ) -> Result<Option<Cid>, Stop> {
        if let Some(entries) = self.at_hand(blocks, directory)? {
            let found = entries.binary_search_by(|entry| entry.name.as_str().cmp(name));
            return Ok(found.ok().map(|at| entries[at].cid));
        }
        let mut lookup = Lookup::new(*directory, name);
        loop {
            let want = lookup.want();
            match lookup.supply(blocks.get(&want, &[])?)? {
                LookupStep::Need(_) => {}
                LookupStep::Found(entry) => return Ok(Some(entry.cid)),
                LookupStep::Absent => return Ok(None),
            }
        }
    }

    /// All entries, sorted by the bytes of their names.
    pub(crate) fn list(&mut self, blocks: &mut Blocks, directory: &Cid) -> Result<Arc<Vec<Entry>>, Stop> {
        if let Some(entries) = self.at_hand(blocks, directory)? {
            return Ok(entries);
        }
        let mut lister = Lister::with_max_entries(*directory, LARGEST_DIRECTORY);
        let mut entries = Vec::new();
        while let Some(want) = lister.want() {
            let ahead: Vec<Cid> = lister.ahead().take(blocks.window()).collect();
            entries.extend(lister.supply(blocks.get(&want, &ahead)?)?);
        }
        Ok(self.remember(directory, sorted(entries)))
    }

    /// The entries of a directory that is a single block or was listed before; `None` if it is a hash trie.
    fn at_hand(&mut self, blocks: &mut Blocks, cid: &Cid) -> Result<Option<Arc<Vec<Entry>>>, Stop> {
        if let Some(entries) = self.directories.get(cid) {
            return Ok(Some(entries.clone()));
        }
        let block = blocks.get(cid, &[])?;
        let directory = match Node::parse(cid, block) {
            Ok(Node::Shard(_)) => return Ok(None),
            Ok(Node::Directory(directory)) => directory,
            Ok(_) => return Err(ReadError::NotADirectory(*cid).into()),
            Err(source) => return Err(ReadError::Node { cid: *cid, source: Box::new(source) }.into()),
        };
        // Where a name stands twice, the first one counts, as for a `Lookup`.
        let mut entries: Vec<Entry> = directory.entries.into_iter().map(Entry::from).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|later, first| later.name == first.name);
        Ok(Some(self.remember(cid, entries)))
    }

    /// Keeps a directory's entries, if they are not too many.
    fn remember(&mut self, directory: &Cid, entries: Vec<Entry>) -> Arc<Vec<Entry>> {
        let entries = Arc::new(entries);
        if entries.len() > ENTRIES {
            return entries;
        }
        if self.directories.len() >= DIRECTORIES || self.entries + entries.len() > ENTRIES {
            self.directories.clear();
            self.entries = 0;
        }
        self.entries += entries.len();
        self.directories.insert(*directory, entries.clone());
        entries
    }
}

/// An open input file. Knows how it has been read so far, to guess what will be read next.
pub(crate) struct Opened {
    reader: FileReader,
    /// Where the last read ended; the next one that begins here is part of a scan.
    end: u64,
    /// How many blocks to ask ahead: none until a second block in sequence is read, then ever more.
    eager: usize,
}

impl Opened {
    pub(crate) fn open(blocks: &mut Blocks, cid: &Cid) -> Result<Self, Stop> {
        let reader = FileReader::open(*cid, blocks.get(cid, &[])?)?;
        Ok(Opened { reader, end: 0, eager: 0 })
    }

    pub(crate) fn size(&self) -> u64 {
        self.reader.size()
    }

    /// Bytes from `offset` to the end of the file, no more than `length`: what a read will find.
    pub(crate) fn available(&self, offset: u64, length: u64) -> u64 {
        self.size().saturating_sub(offset).min(length)
    }

    /// Up to `length` bytes from `offset`, fewer only at the end of the file.
    pub(crate) fn read(&mut self, blocks: &mut Blocks, offset: u64, length: u64) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::with_capacity(self.available(offset, length) as usize);
        self.read_to(blocks, offset, length, |data| bytes.extend_from_slice(data))?;
        Ok(bytes)
    }

    /// Hands [`available`](Opened::available) bytes to `take`, piece by piece as they lie in their blocks, and says
    /// how many. Where a read is short never depends on which blocks happen to be here.
    pub(crate) fn read_to(
        &mut self,
        blocks: &mut Blocks,
        offset: u64,
        length: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<u64, Stop> {
        let end = offset.saturating_add(length).min(self.size());
        if offset != self.end {
            self.eager = 0;
        }
        let mut at = offset;
        // Internal nodes met on the way to one leaf; a well-formed file has no more than it is deep.
        let mut descents = 0;
        while at < end {
            let FileStep::Need(want) = self.reader.seek(at)? else { break };
            let leaf = want.cid.codec() == RAW;
            let ahead = match self.eager {
                0 => Vec::new(),
                eager => {
                    let mut ahead = self.reader.ahead(at, eager.min(blocks.window()) + 1);
                    ahead.retain(|cid| *cid != want.cid);
                    ahead
                }
            };
            match self.reader.visit(&want, blocks.get(&want.cid, &ahead)?)? {
                Visit::Descend => {
                    descents += 1;
                    if descents > limits::FILE_DEPTH {
                        return Err(ReadError::TooDeep.into());
                    }
                }
                Visit::Data(data) => {
                    descents = 0;
                    let count = (data.len() as u64).min(end - at) as usize;
                    take(&data[..count]);
                    at += count as u64;
                    if count == data.len() && leaf {
                        // The block was read to its end: this is a scan, as far as anybody can tell.
                        self.eager = (self.eager * 2).clamp(1, blocks.window().max(1));
                    }
                }
            }
        }
        self.end = at;
        Ok(at - offset)
    }
}
