//! One block, understood as a piece of a UnixFS file or directory and checked for consistency.

use cid::Cid;

use crate::block::{DAG_PB, RAW};
use crate::codec::dag_pb::{self, PbError, PbLink};
use crate::data::{Data, DataError, Kind, Metadata};
use crate::limits;

/// What a block is in UnixFS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// File content: a raw block, or a dag-pb file node.
    File(FileNode<'a>),
    /// A directory with all its entries.
    Directory(DirectoryNode<'a>),
    /// A part of a directory that is a hash trie.
    Shard(ShardNode<'a>),
    /// A symbolic link.
    Symlink(SymlinkNode<'a>),
}

/// A file, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNode<'a> {
    /// Content held by this block itself; it precedes that of the children.
    pub content: &'a [u8],
    /// The parts that follow, with the sizes this block claims for them.
    pub children: Vec<FileChild>,
    /// Length of it all; equal to the sum of the above.
    pub size: u64,
    /// Mode and mtime, meaningful at the root only.
    pub metadata: Metadata,
}

/// A claimed part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileChild {
    /// Its block.
    pub cid: Cid,
    /// Bytes of content below it, as claimed by the parent; readers check it when the block arrives.
    pub size: u64,
}

/// A directory that fits into one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryNode<'a> {
    /// Entries in the block's order (sorted by bytes, when an honest tool wrote it).
    pub entries: Vec<EntryRef<'a>>,
    /// Mode and mtime.
    pub metadata: Metadata,
}

/// One directory entry. The name is never empty, `.`, `..`, over-long, or with `/` or NUL in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// File name.
    pub name: &'a str,
    /// What it names.
    pub cid: Cid,
    /// Cumulative size as claimed by the writer; zero when it claims nothing.
    pub tsize: u64,
}

/// A node of a HAMT directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardNode<'a> {
    /// log2 of the fan-out: how many hash bits choose a slot.
    pub bits: u32,
    /// The used slots, ascending.
    pub slots: Vec<(usize, Slot<'a>)>,
    /// Mode and mtime, meaningful at the root only.
    pub metadata: Metadata,
}

/// What a slot of a HAMT node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot<'a> {
    /// An entry of the directory.
    Entry(EntryRef<'a>),
    /// A node one level down.
    Shard(Cid),
}

/// A symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymlinkNode<'a> {
    /// Where it points: any text, to be resolved by whoever follows it and never outside their tree.
    pub target: &'a str,
    /// Mode and mtime.
    pub metadata: Metadata,
}

/// Why a block is not a sound UnixFS node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// UnixFS lives in raw and dag-pb blocks.
    #[error("codec 0x{0:x} does not carry files or directories (raw and dag-pb do)")]
    Codec(u64),
    /// Not dag-pb.
    #[error("not valid dag-pb: {0}")]
    DagPb(#[from] PbError),
    /// dag-pb without a valid UnixFS message.
    #[error("not UnixFS: {0}")]
    Data(#[from] DataError),
    /// dag-pb with no message at all.
    #[error("a dag-pb block without UnixFS data")]
    NoData,
    /// The kind that nobody uses.
    #[error("UnixFS `Metadata` nodes are not supported")]
    MetadataNode,
    /// Sizes and links of a file do not fit together.
    #[error("the sizes that a file node states contradict each other")]
    FileSizes,
    /// A name no file system could take safely.
    #[error("the entry name {0:?} is not allowed")]
    Name(String),
    /// A HAMT node with unusable parameters, or whose links and bit field disagree.
    #[error("malformed HAMT node: {0}")]
    Hamt(&'static str),
    /// A symlink target that is not text or over-long.
    #[error("the symlink target is not text of at most {} bytes", limits::SYMLINK_TARGET)]
    SymlinkTarget,
}

/// Multihash code of murmur3-x64-64, the only hash that UnixFS HAMTs use.
pub const HAMT_HASH: u64 = 0x22;

impl<'a> Node<'a> {
    /// Reads a block. Its hash is assumed to be checked; everything else is checked here, as far as one
    /// block can tell.
    pub fn parse(cid: &Cid, bytes: &'a [u8]) -> Result<Self, NodeError> {
        match cid.codec() {
            RAW => Ok(Node::File(FileNode {
                content: bytes,
                children: Vec::new(),
                size: bytes.len() as u64,
                metadata: Metadata::NONE,
            })),
            DAG_PB => {
                let node = dag_pb::decode(bytes)?;
                let data = Data::decode(node.data.ok_or(NodeError::NoData)?)?;
                match data.kind {
                    Kind::File | Kind::Raw => file(node.links, data).map(Node::File),
                    Kind::Directory => directory(node.links, &data).map(Node::Directory),
                    Kind::HamtShard => shard(node.links, &data).map(Node::Shard),
                    Kind::Symlink => symlink(&data).map(Node::Symlink),
                    Kind::Metadata => Err(NodeError::MetadataNode),
                }
            }
            codec => Err(NodeError::Codec(codec)),
        }
    }

    /// Mode and mtime of the node.
    pub fn metadata(&self) -> Metadata {
        match self {
            Node::File(node) => node.metadata,
            Node::Directory(node) => node.metadata,
            Node::Shard(node) => node.metadata,
            Node::Symlink(node) => node.metadata,
        }
    }
}

fn file<'a>(links: Vec<PbLink<'a>>, data: Data<'a>) -> Result<FileNode<'a>, NodeError> {
    if links.len() != data.blocksizes.len() {
        return Err(NodeError::FileSizes);
    }
    let content = data.data.unwrap_or_default();
    let children: Vec<_> =
        links.iter().zip(&data.blocksizes).map(|(link, &size)| FileChild { cid: link.cid, size }).collect();
    let size = children
        .iter()
        .try_fold(content.len() as u64, |sum, child| sum.checked_add(child.size))
        .ok_or(NodeError::FileSizes)?;
    if data.filesize.is_some_and(|claimed| claimed != size) {
        return Err(NodeError::FileSizes);
    }
    Ok(FileNode { content, children, size, metadata: data.metadata })
}

fn directory<'a>(links: Vec<PbLink<'a>>, data: &Data<'a>) -> Result<DirectoryNode<'a>, NodeError> {
    let entries = links
        .into_iter()
        .map(|link| entry(link.name.unwrap_or_default(), &link))
        .collect::<Result<_, _>>()?;
    Ok(DirectoryNode { entries, metadata: data.metadata })
}

fn entry<'a>(name: &'a str, link: &PbLink<'a>) -> Result<EntryRef<'a>, NodeError> {
    check_name(name)?;
    Ok(EntryRef { name, cid: link.cid, tsize: link.tsize.unwrap_or(0) })
}

/// Refuses names that a file system could not hold, or that would leave the directory.
pub fn check_name(name: &str) -> Result<(), NodeError> {
    let bad = matches!(name, "" | "." | "..") || name.len() > limits::NAME || name.contains(['/', '\0']);
    if bad { Err(NodeError::Name(name.chars().take(80).collect())) } else { Ok(()) }
}

fn shard<'a>(links: Vec<PbLink<'a>>, data: &Data<'a>) -> Result<ShardNode<'a>, NodeError> {
    if data.hash_type != Some(HAMT_HASH) {
        return Err(NodeError::Hamt("the hash is not murmur3-x64-64"));
    }
    let fanout = match data.fanout {
        Some(fanout @ 8..=1024) if fanout.is_power_of_two() => fanout as usize,
        _ => return Err(NodeError::Hamt("the fan-out is not a power of two from 8 to 1024")),
    };
    // Entry names are prefixed by their slot: upper-case hex of the width of the largest slot number.
    let width = format!("{:X}", fanout - 1).len();
    let mut slots: Vec<(usize, Slot<'a>)> = Vec::with_capacity(links.len());
    for link in &links {
        let name = link.name.unwrap_or_default();
        let prefix = name.get(..width).ok_or(NodeError::Hamt("a link name without slot number"))?;
        let slot = usize::from_str_radix(prefix, 16)
            .ok()
            .filter(|slot| *slot < fanout && *prefix == format!("{slot:0width$X}"))
            .ok_or(NodeError::Hamt("a link name without slot number"))?;
        if slots.last().is_some_and(|(last, _)| *last >= slot) {
            return Err(NodeError::Hamt("slots are repeated or not sorted"));
        }
        let rest = &name[width..];
        let value = if rest.is_empty() { Slot::Shard(link.cid) } else { Slot::Entry(entry(rest, link)?) };
        slots.push((slot, value));
    }
    let field = data.data.unwrap_or_default();
    let set = |slot: usize| {
        let byte = field.len().checked_sub(1 + slot / 8).map_or(0, |at| field[at]);
        byte >> (slot % 8) & 1 == 1
    };
    let ones: usize = field.iter().map(|byte| byte.count_ones() as usize).sum();
    if ones != slots.len() || !slots.iter().all(|(slot, _)| set(*slot)) {
        return Err(NodeError::Hamt("links and bit field disagree"));
    }
    Ok(ShardNode { bits: fanout.trailing_zeros(), slots, metadata: data.metadata })
}

/// The slot that `hash` takes on `level` of a trie with `bits` hash bits a level; `None` when the hash
/// is used up.
pub fn hamt_slot(hash: u64, level: u32, bits: u32) -> Option<usize> {
    let used = level.checked_mul(bits)?;
    (used + bits <= 64).then(|| (hash << used >> (64 - bits)) as usize)
}

fn symlink<'a>(data: &Data<'a>) -> Result<SymlinkNode<'a>, NodeError> {
    let target = data.data.unwrap_or_default();
    if target.len() > limits::SYMLINK_TARGET {
        return Err(NodeError::SymlinkTarget);
    }
    let target = std::str::from_utf8(target).map_err(|_| NodeError::SymlinkTarget)?;
    Ok(SymlinkNode { target, metadata: data.metadata })
}
