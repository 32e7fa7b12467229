//! Files as balanced trees: leaves of one size, all at the same depth, each internal node filled before
//! the next is begun. Built from the left with one unfinished node a level, so memory does not grow with
//! the file.

use bytes::{Bytes, BytesMut};

use crate::block::{Block, RAW};
use crate::build::{Built, node};
use crate::codec::dag_pb::PbLink;
use crate::data::{Data, Kind, Metadata};
use crate::profile::Layout;

/// Cuts a stream of bytes into leaves and builds the tree above them.
///
/// Holds at most one unfinished leaf and, for each level, the links of one unfinished node. The blocks
/// that each call pushes to `out` are the caller's to store before it calls again.
#[derive(Debug)]
pub struct FileBuilder {
    choices: Layout,
    layout: FileLayout,
    pending: BytesMut,
}

impl FileBuilder {
    /// An empty file.
    pub fn new(choices: impl Into<Layout>, metadata: Metadata) -> Self {
        let choices = choices.into();
        FileBuilder { choices, layout: FileLayout::new(choices, metadata), pending: BytesMut::new() }
    }

    /// Appends content. Chunks that lie wholly inside `data` become blocks without being copied.
    pub fn push(&mut self, mut data: Bytes, out: &mut Vec<Block>) {
        let chunk = self.choices.chunk_size;
        while !data.is_empty() {
            if self.pending.is_empty() && data.len() >= chunk {
                self.leaf(data.split_to(chunk), out);
                continue;
            }
            self.pending.reserve(chunk - self.pending.len());
            let part = data.split_to(data.len().min(chunk - self.pending.len()));
            self.pending.extend_from_slice(&part);
            if self.pending.len() == chunk {
                let full = self.pending.split().freeze();
                self.leaf(full, out);
            }
        }
    }

    /// Ends the file and returns its root.
    pub fn finish(mut self, out: &mut Vec<Block>) -> Built {
        if !self.pending.is_empty() || self.layout.is_empty() {
            let rest = self.pending.split().freeze();
            self.leaf(rest, out);
        }
        self.layout.finish(out)
    }

    fn leaf(&mut self, chunk: Bytes, out: &mut Vec<Block>) {
        let (block, built) = leaf(self.choices, chunk);
        out.push(block);
        self.layout.leaf(built, out);
    }
}

/// Makes one leaf. Independent of all others, so that leaves can be hashed on several threads.
/// `chunk` must be [`Layout::chunk_size`] bytes, except for the last.
pub fn leaf(choices: impl Into<Layout>, chunk: Bytes) -> (Block, Built) {
    let choices = choices.into();
    let content = chunk.len() as u64;
    if choices.raw_leaves {
        let block = Block::new(RAW, chunk);
        let built = Built { cid: block.cid, tsize: content, content };
        return (block, built);
    }
    let inline = (!chunk.is_empty()).then_some(&chunk[..]);
    let data = Data { data: inline, filesize: Some(content), ..Data::new(Kind::File) };
    node(choices, Vec::new(), &data, content)
}

/// The tree above leaves that were made elsewhere, handed over in file order.
#[derive(Debug)]
pub struct FileLayout {
    choices: Layout,
    metadata: Metadata,
    /// Unfinished nodes, from the one above the leaves upwards; none is ever empty.
    levels: Vec<Vec<Built>>,
}

impl FileLayout {
    /// A tree without leaves.
    pub fn new(choices: impl Into<Layout>, metadata: Metadata) -> Self {
        FileLayout { choices: choices.into(), metadata, levels: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Appends a leaf; nodes that this completes are pushed to `out`.
    pub fn leaf(&mut self, leaf: Built, out: &mut Vec<Block>) {
        self.append(0, leaf, out);
    }

    fn append(&mut self, level: usize, child: Built, out: &mut Vec<Block>) {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        // A full node is closed only when one more child comes: until then it may be the root, which
        // is written differently (with metadata).
        if self.levels[level].len() == self.choices.links_per_node {
            let full = std::mem::take(&mut self.levels[level]);
            let (block, built) = self.internal(&full, Metadata::NONE);
            out.push(block);
            self.append(level + 1, built, out);
        }
        self.levels[level].push(child);
    }

    /// Closes all nodes and returns the root. Without a leaf this is the empty file.
    pub fn finish(mut self, out: &mut Vec<Block>) -> Built {
        if self.is_empty() {
            let (block, built) = leaf(self.choices, Bytes::new());
            out.push(block);
            self.leaf(built, out);
        }
        let mut level = 0;
        loop {
            let children = std::mem::take(&mut self.levels[level]);
            let top = level + 1 == self.levels.len();
            // A single child at the top is the whole file. A leaf can be that only while it need not
            // carry metadata, for which raw blocks have no place (decision 0020).
            if top && children.len() == 1 && (level > 0 || self.metadata.is_none()) {
                return children[0];
            }
            let metadata = if top { self.metadata } else { Metadata::NONE };
            let (block, built) = self.internal(&children, metadata);
            out.push(block);
            if top {
                return built;
            }
            self.append(level + 1, built, out);
            level += 1;
        }
    }

    fn internal(&self, children: &[Built], metadata: Metadata) -> (Block, Built) {
        let links = children
            .iter()
            .map(|child| PbLink { cid: child.cid, name: Some(""), tsize: Some(child.tsize) })
            .collect();
        let content = children.iter().map(|child| child.content).sum();
        let data = Data {
            filesize: Some(content),
            blocksizes: children.iter().map(|child| child.content).collect(),
            metadata,
            ..Data::new(Kind::File)
        };
        node(self.choices, links, &data, content)
    }
}
