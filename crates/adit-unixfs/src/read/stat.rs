//! What a node is, from its first block alone.

use cid::Cid;

use crate::data::Metadata;
use crate::node::Node;
use crate::read::ReadError;

/// A description of a file, directory or symlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: StatKind,
    /// Bytes of content: of a file; of a symlink's target; 0 for a directory.
    pub size: u64,
    /// Blocks that the first one links to (parts of a file; entries or sub-tries of a directory).
    pub links: usize,
    /// Mode and mtime.
    pub metadata: Metadata,
}

/// The kinds that a path can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatKind {
    /// A file.
    File,
    /// A directory; `hamt` when it is a hash trie.
    Directory {
        /// Whether entries are spread over several blocks.
        hamt: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: String,
    },
}

impl Stat {
    /// Reads the verified root block of something.
    pub fn of(cid: &Cid, block: &[u8]) -> Result<Self, ReadError> {
        let node = Node::parse(cid, block).map_err(ReadError::node(*cid))?;
        let metadata = node.metadata();
        let (kind, size, links) = match node {
            Node::File(file) => (StatKind::File, file.size, file.children.len()),
            Node::Directory(directory) => (StatKind::Directory { hamt: false }, 0, directory.entries.len()),
            Node::Shard(shard) => (StatKind::Directory { hamt: true }, 0, shard.slots.len()),
            Node::Symlink(link) => {
                (StatKind::Symlink { target: link.target.to_owned() }, link.target.len() as u64, 0)
            }
        };
        Ok(Stat { kind, size, links, metadata })
    }
}
