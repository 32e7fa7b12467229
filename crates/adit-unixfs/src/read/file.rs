//! Random access to a file.

use std::collections::HashMap;
use std::sync::Arc;

use cid::Cid;

use crate::block::RAW;
use crate::data::Metadata;
use crate::limits;
use crate::node::{FileChild, FileNode, Node};
use crate::read::ReadError;

/// Bytes of memory that a reader's remembered internal nodes may take, beyond the path in use.
const CACHE: usize = 8 * 1024 * 1024;

/// Reads a file at any offset. Content never passes through: the reader points into the block that the
/// caller supplies, so that a leaf may lie in shared memory.
///
/// ```text
/// loop {
///     match reader.seek(offset)? {
///         FileStep::End => break,
///         FileStep::Need(want) => match reader.visit(&want, block_of(want.cid))? {
///             Visit::Data(bytes) => { use(bytes); offset += bytes.len() }
///             Visit::Descend => {}
///         },
///     }
/// }
/// ```
///
/// Sizes that blocks state about each other are checked as they are met. A file that lies gives
/// [`ReadError::Size`] at the place of the lie, and right bytes before it.
#[derive(Debug)]
pub struct FileReader {
    root: Cid,
    size: u64,
    metadata: Metadata,
    nodes: NodeCache,
}

/// A block that is needed to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The block to supply to [`FileReader::visit`].
    pub cid: Cid,
    /// The offset that was sought.
    pub offset: u64,
    /// Where in the file the block's part begins.
    start: u64,
    /// Bytes of the file below the block, as its parent states.
    size: u64,
}

/// What [`FileReader::seek`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStep {
    /// Supply this block.
    Need(Want),
    /// The offset is at or behind the end of the file.
    End,
}

/// What a supplied block gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit<'a> {
    /// File content from the sought offset on: as much as the block has, at least one byte.
    Data(&'a [u8]),
    /// An internal node, now remembered: seek the same offset again.
    Descend,
}

impl FileReader {
    /// Opens a file by its verified root block.
    pub fn open(root: Cid, block: &[u8]) -> Result<Self, ReadError> {
        let Node::File(file) = Node::parse(&root, block).map_err(ReadError::node(root))? else {
            return Err(ReadError::NotAFile(root));
        };
        let mut reader =
            FileReader { root, size: file.size, metadata: file.metadata, nodes: NodeCache::default() };
        if !file.children.is_empty() {
            reader.nodes.insert(root, Inner::of(file));
        }
        Ok(reader)
    }

    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Mode and mtime.
    pub fn metadata(&self) -> Metadata {
        self.metadata
    }

    /// The root block's CID.
    pub fn root(&self) -> Cid {
        self.root
    }

    /// Finds the block to read for `offset`.
    pub fn seek(&mut self, offset: u64) -> Result<FileStep, ReadError> {
        if offset >= self.size {
            return Ok(FileStep::End);
        }
        self.nodes.begin();
        let mut want = Want { cid: self.root, offset, start: 0, size: self.size };
        for _ in 0..=limits::FILE_DEPTH {
            let Some(node) = self.nodes.get(&want.cid) else { return Ok(FileStep::Need(want)) };
            check_size(&want, node.size())?;
            let within = offset - want.start;
            if within < node.content {
                return Ok(FileStep::Need(want));
            }
            let (child, start) = node.child_at(within);
            want = Want { cid: child.cid, offset, start: want.start + start, size: child.size };
        }
        Err(ReadError::TooDeep)
    }

    /// Takes the verified bytes of the block that [`FileReader::seek`] just asked for.
    pub fn visit<'a>(&mut self, want: &Want, block: &'a [u8]) -> Result<Visit<'a>, ReadError> {
        let within = want.offset - want.start;
        if want.cid.codec() == RAW {
            check_size(want, block.len() as u64)?;
            // `within < want.size`, which is now the block's length.
            return Ok(Visit::Data(&block[within as usize..]));
        }
        let Node::File(file) = Node::parse(&want.cid, block).map_err(ReadError::node(want.cid))? else {
            return Err(ReadError::NotAFile(want.cid));
        };
        check_size(want, file.size)?;
        let content = file.content;
        if !file.children.is_empty() {
            self.nodes.insert(want.cid, Inner::of(file));
        }
        Ok(if within < content.len() as u64 {
            Visit::Data(&content[within as usize..])
        } else {
            Visit::Descend
        })
    }

    /// Up to `max` blocks that reading on from `offset` will need, in order, as far as the known
    /// internal nodes tell. Repeats are possible when the file repeats itself.
    pub fn ahead(&self, offset: u64, max: usize) -> Vec<Cid> {
        let mut out = Vec::new();
        if offset < self.size {
            self.collect(&self.root, 0, offset, max, limits::FILE_DEPTH, &mut out);
        }
        out
    }

    /// Appends what a sub-tree needs; false when the walk met an unknown node and should stop there.
    fn collect(
        &self,
        cid: &Cid,
        start: u64,
        from: u64,
        max: usize,
        depth: usize,
        out: &mut Vec<Cid>,
    ) -> bool {
        let Some(node) = self.nodes.peek(cid).filter(|_| depth > 0) else {
            out.push(*cid);
            // A raw leaf is complete in itself; what lies below an unknown node cannot be told.
            return cid.codec() == RAW;
        };
        let within = from.saturating_sub(start);
        let first = node.ends.partition_point(|(end, _)| *end <= within);
        for (i, (end, child)) in node.ends.iter().enumerate().skip(first) {
            if out.len() >= max {
                return false;
            }
            let child_start = if i == 0 { node.content } else { node.ends[i - 1].0 };
            if *end > child_start && !self.collect(child, start + child_start, from, max, depth - 1, out) {
                return false;
            }
        }
        true
    }
}

fn check_size(want: &Want, actual: u64) -> Result<(), ReadError> {
    if want.size == actual {
        Ok(())
    } else {
        Err(ReadError::Size { cid: want.cid, stated: want.size, actual })
    }
}

/// An internal node without its content bytes.
#[derive(Debug)]
struct Inner {
    /// Bytes of content in the node itself, before all children.
    content: u64,
    /// Each child and where it ends, relative to the node's start.
    ends: Vec<(u64, Cid)>,
}

impl Inner {
    fn of(file: FileNode<'_>) -> Self {
        let content = file.content.len() as u64;
        let mut end = content;
        let ends = file.children.iter().map(|child| {
            // Cannot overflow: `Node::parse` checked the sum of all children.
            end += child.size;
            (end, child.cid)
        });
        Inner { content, ends: ends.collect() }
    }

    fn size(&self) -> u64 {
        self.ends.last().map_or(self.content, |(end, _)| *end)
    }

    /// The child that holds the byte `within`, which must be behind `content` and below `size`, and
    /// where that child starts.
    fn child_at(&self, within: u64) -> (FileChild, u64) {
        let i = self.ends.partition_point(|(end, _)| *end <= within);
        let (end, cid) = self.ends[i];
        let start = if i == 0 { self.content } else { self.ends[i - 1].0 };
        (FileChild { cid, size: end - start }, start)
    }

    fn memory(&self) -> usize {
        self.ends.len() * size_of::<(u64, Cid)>() + 64
    }
}

/// Internal nodes met so far: the least recently used go when they take more than [`CACHE`]. The
/// nodes on the way to the current offset stay, or a seek would never arrive.
#[derive(Debug, Default)]
struct NodeCache {
    nodes: HashMap<Cid, (Arc<Inner>, u64)>,
    memory: usize,
    now: u64,
}

impl NodeCache {
    fn begin(&mut self) {
        self.now += 1;
    }

    fn get(&mut self, cid: &Cid) -> Option<Arc<Inner>> {
        let (node, used) = self.nodes.get_mut(cid)?;
        *used = self.now;
        Some(Arc::clone(node))
    }

    fn peek(&self, cid: &Cid) -> Option<&Inner> {
        self.nodes.get(cid).map(|(node, _)| &**node)
    }

    fn insert(&mut self, cid: Cid, node: Inner) {
        self.memory += node.memory();
        if let Some((old, _)) = self.nodes.insert(cid, (Arc::new(node), self.now)) {
            self.memory -= old.memory();
        }
        while self.memory > CACHE {
            let oldest = self
                .nodes
                .iter()
                .filter(|(_, (_, used))| *used < self.now)
                .min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(cid, _)| *cid) else { break };
            if let Some((node, _)) = self.nodes.remove(&oldest) {
                self.memory -= node.memory();
            }
        }
    }
}
