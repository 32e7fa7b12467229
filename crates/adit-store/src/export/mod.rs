//! Blocks back into what people know: paths, listings, streams of bytes, files.
//!
//! Every function takes any [`BlockSource`], so it works on the local store and across the
//! network alike. What is read was made by strangers: sizes are checked as blocks arrive,
//! listings and trees have limits, and writing to disk never leaves the directory it was given.

mod cat;
mod get;
mod place;

use adit_unixfs::{
    IpfsPath,
    read::{Entry, Lister, ReadError, ResolveStep, Resolver, Stat},
};
use bytes::{Bytes, BytesMut};
use cid::Cid;

pub use self::{
    cat::{Cat, Range, cat},
    get::{GetError, GetOptions, Got, Omitted, get},
};
use crate::{BlockSource, SourceError};

/// Blocks asked for ahead of a listing.
const AHEAD: usize = 32;

/// Reading failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A block could not be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The blocks are there, and are not what was asked for or are malformed.
    #[error(transparent)]
    Read(Box<ReadError>),
    #[error("the range begins at byte {from}, and the file has {size}")]
    Range { from: u64, size: u64 },
    #[error("{cid} has {size} bytes; at most {max} are accepted here")]
    TooLarge { cid: Cid, size: u64, max: u64 },
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        Self::Read(Box::new(error))
    }
}

/// Follows a path to the CID it names. Symlinks are not followed.
pub async fn resolve(source: &dyn BlockSource, path: &IpfsPath) -> Result<Cid, ExportError> {
    let mut resolver = Resolver::new(path.clone());
    let mut step = resolver.step();
    loop {
        match step {
            ResolveStep::Done(cid) => return Ok(cid),
            ResolveStep::Need(cid) => step = resolver.supply(&source.block(&cid).await?)?,
        }
    }
}

/// What a file, directory or symlink is, from its first block.
pub async fn stat(source: &dyn BlockSource, cid: &Cid) -> Result<Stat, ExportError> {
    Ok(Stat::of(cid, &source.block(cid).await?)?)
}

/// The entries of a directory, sorted by name; an error where there are more than `max_entries`.
pub async fn ls(source: &dyn BlockSource, cid: &Cid, max_entries: usize) -> Result<Vec<Entry>, ExportError> {
    let mut lister = Lister::with_max_entries(*cid, max_entries);
    let mut entries = Vec::new();
    while let Some(want) = lister.want() {
        let ahead: Vec<_> = lister.ahead().take(AHEAD).collect();
        source.prefetch(&ahead);
        entries.extend(lister.supply(&source.block(&want).await?)?);
    }
    Ok(adit_unixfs::read::sorted(entries))
}

/// A whole file in memory, an error where it has more than `max` bytes.
pub async fn read(source: &dyn BlockSource, cid: &Cid, max: u64) -> Result<Bytes, ExportError> {
    use futures::TryStreamExt;
    let file = cat(source, cid, Range::ALL).await?;
    if file.size > max {
        return Err(ExportError::TooLarge { cid: *cid, size: file.size, max });
    }
    let whole = BytesMut::with_capacity(file.size as usize);
    let append = |mut whole: BytesMut, part: Bytes| async move {
        whole.extend_from_slice(&part);
        Ok(whole)
    };
    Ok(file.content.try_fold(whole, append).await?.freeze())
}
