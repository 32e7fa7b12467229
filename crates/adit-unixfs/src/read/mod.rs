//! Readers: machines that say which block they need next and are handed its bytes.
//!
//! None of them fetches anything. The caller gets the block from a store, the network or a
//! shared-memory slot, makes sure that it was verified against its CID, and supplies a borrowed slice.
//!
//! - [`Resolver`] follows a path, [`Lookup`] one name, through basic and HAMT directories;
//! - [`Lister`] streams a directory's entries;
//! - [`FileReader`] serves random access to a file and says what to read ahead;
//! - [`Stat::of`] describes a node by its first block.

mod file;
mod list;
mod lookup;
mod resolve;
mod stat;

pub use file::{FileReader, FileStep, Visit, Want};
pub use list::{Lister, sorted};
pub use lookup::{Lookup, LookupStep};
pub use resolve::{ResolveStep, Resolver};
pub use stat::{Stat, StatKind};

use cid::Cid;

use crate::limits;
use crate::node::{EntryRef, NodeError};

/// A directory entry that owns its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// File name; safe as one component of a path.
    pub name: String,
    /// What it names.
    pub cid: Cid,
    /// Cumulative size as claimed by the writer, unverified.
    pub tsize: u64,
}

impl From<EntryRef<'_>> for Entry {
    fn from(entry: EntryRef<'_>) -> Self {
        Entry { name: entry.name.to_owned(), cid: entry.cid, tsize: entry.tsize }
    }
}

/// Why reading failed although the blocks were there and had the right hashes: the content is malformed,
/// or is not what the caller took it for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A block is not a sound UnixFS node.
    #[error("{cid}: {source}")]
    Node {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        #[source]
        source: Box<NodeError>,
    },
    /// A path goes on below a file.
    #[error("{0} is not a directory")]
    NotADirectory(Cid),
    /// A path goes on below a symlink; readers never follow symlinks.
    #[error("{cid} is a symlink to {target:?}, which is not followed")]
    Symlink {
        /// The link itself.
        cid: Cid,
        /// Where it points.
        target: Box<str>,
    },
    /// A file was expected.
    #[error("{0} is not a file")]
    NotAFile(Cid),
    /// The directory has no entry of that name.
    #[error("no entry {name:?} in {directory}")]
    NotFound {
        /// The name looked for.
        name: Box<str>,
        /// Where.
        directory: Cid,
    },
    /// A child does not have the size that its parent stated.
    #[error("{cid} holds {actual} bytes of the file, but its parent states {stated}")]
    Size {
        /// The child.
        cid: Cid,
        /// What the parent says.
        stated: u64,
        /// What the child says or holds.
        actual: u64,
    },
    /// A file nested deeper than [`limits::FILE_DEPTH`].
    #[error("the file is nested deeper than {} levels", limits::FILE_DEPTH)]
    TooDeep,
    /// A HAMT whose parts do not belong together: wrong kind or fan-out below the root, an entry in a
    /// place its hash does not lead to, or more levels than the hash has bits.
    #[error("{0} does not belong where the directory links to it")]
    Misplaced(Cid),
    /// A directory over the caller's limit of entries or blocks.
    #[error("the directory has more than {limit} {what}")]
    TooMany {
        /// `entries` or `blocks`.
        what: &'static str,
        /// The limit that was reached.
        limit: usize,
    },
}

impl ReadError {
    fn node(cid: Cid) -> impl FnOnce(NodeError) -> ReadError {
        move |source| ReadError::Node { cid, source: Box::new(source) }
    }
}
