//! Files, directories and streams into blocks.
//!
//! Memory stays bounded whatever the size: chunks of a file are read and hashed on several
//! threads, a few ahead of the tree that is built over them, and the store takes blocks no faster
//! than it writes them. Only a directory's own entries are held while it is built.
//!
//! Everything is durable when an import returns. For what is imported to stay, take a
//! [`Lease`](crate::Lease), import into its store, and pin the root with
//! [`Repo::pin_leased`](crate::Repo::pin_leased).

mod entry;
mod file;
mod tree;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use adit_unixfs::{
    Block, Layout,
    build::{Built, DirectoryError},
    data::Metadata,
};
use cid::Cid;
use tokio::io::AsyncRead;

pub use self::entry::{Reason, Skipped};
use crate::{BlockStore, StoreError};

/// Which entries of a directory are imported. What is named directly always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hidden {
    /// Names that begin with a dot are left out, as in `ipfs add`.
    #[default]
    Skip,
    Include,
}

/// What of a file's metadata goes into its node. Any of it makes the root differ from what
/// others get for the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preserve {
    pub mode: bool,
    pub mtime: bool,
}

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    pub layout: Layout,
    pub hidden: Hidden,
    pub preserve: Preserve,
    /// Counts bytes of content as they are read, for a progress bar.
    pub progress: Option<Arc<AtomicU64>>,
}

impl ImportOptions {
    fn count(&self, bytes: usize) {
        if let Some(progress) = &self.progress {
            progress.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// What an import made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub root: Cid,
    /// Bytes of file content.
    pub content: u64,
    /// Bytes of all blocks, those that occur more than once counted every time.
    pub tsize: u64,
    pub files: u64,
    pub directories: u64,
    /// What cannot be represented and was left out: sockets, devices, pipes.
    pub skipped: Vec<Skipped>,
}

/// An import failed; nothing of it is pinned.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the input: {0}")]
    ReadStream(#[source] io::Error),
    #[error("{path} is a {reason}; only files, directories and symlinks can be added")]
    Special { path: PathBuf, reason: Reason },
    #[error("the name {path:?} is not UTF-8, which UnixFS requires")]
    Name { path: PathBuf },
    #[error("{path}: symlink target is not UTF-8 or too long")]
    SymlinkTarget { path: PathBuf },
    #[error("{path}: {source}")]
    Directory {
        path: PathBuf,
        #[source]
        source: DirectoryError,
    },
    #[error("{path} is nested deeper than {limit} directories")]
    TooDeep { path: PathBuf, limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The runtime is shutting down.
    #[error("the import was interrupted")]
    Interrupted,
}

/// Imports a file, directory or symlink. Symlinks are imported as such, never followed.
pub async fn path(
    store: &Arc<dyn BlockStore>,
    path: &Path,
    options: &ImportOptions,
) -> Result<Imported, ImportError> {
    let tree = tree::Tree::new(store.clone(), options.clone());
    let built = tree.any(path.to_owned()).await?;
    store.sync().await?;
    Ok(tree.finish(built))
}

/// Imports what a reader gives, as one file.
pub async fn reader(
    store: &Arc<dyn BlockStore>,
    reader: impl AsyncRead + Unpin + Send,
    options: &ImportOptions,
) -> Result<Imported, ImportError> {
    let built = file::stream(store, reader, options, Metadata::NONE).await?;
    store.sync().await?;
    Ok(of_file(built))
}

/// Like [`reader`], with mode and mtime in the root. Nothing is synced: the caller does that when it has all.
pub async fn part(
    store: &Arc<dyn BlockStore>,
    reader: impl AsyncRead + Unpin + Send,
    options: &ImportOptions,
    metadata: Metadata,
) -> Result<Built, ImportError> {
    file::stream(store, reader, options, metadata).await
}

/// Imports bytes in memory, as one file.
pub async fn bytes(
    store: &Arc<dyn BlockStore>,
    data: impl Into<bytes::Bytes>,
    options: &ImportOptions,
) -> Result<Imported, ImportError> {
    let data = data.into();
    options.count(data.len());
    let mut blocks = Vec::new();
    let mut builder = adit_unixfs::build::FileBuilder::new(options.layout, Default::default());
    builder.push(data, &mut blocks);
    let built = builder.finish(&mut blocks);
    store.put(blocks).await?;
    store.sync().await?;
    Ok(of_file(built))
}

fn of_file(built: Built) -> Imported {
    Imported {
        root: built.cid,
        content: built.content,
        tsize: built.tsize,
        files: 1,
        directories: 0,
        skipped: Vec::new(),
    }
}

/// Hands finished blocks over and empties the vector.
async fn put(store: &Arc<dyn BlockStore>, blocks: &mut Vec<Block>) -> Result<(), StoreError> {
    match blocks.is_empty() {
        true => Ok(()),
        false => store.put(std::mem::take(blocks)).await,
    }
}
