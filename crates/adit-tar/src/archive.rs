//! A UnixFS tree into a tar stream, as it is read.

use crate::{Entry, Kind, MAX_DEPTH};
use adit_store::BlockSource;
use adit_store::export::{self, ExportError, Range};
use adit_unixfs::data::Metadata;
use adit_unixfs::read::StatKind;
use bytes::Bytes;
use cid::Cid;
use futures::{Stream, StreamExt};
use std::io;
use std::sync::Arc;

/// Entries of one tree, at most: a directory bomb shall end.
const MAX_TREE: u64 = 10_000_000;
/// Most entries that are known and not yet written.
const MAX_WAITING: usize = 1_000_000;
/// Entries of one directory.
const MAX_DIRECTORY: usize = 1 << 20;

/// Why a tree cannot be sent to its end. The client sees the stream break off; the log says why.
#[derive(Debug, thiserror::Error)]
enum ArchiveError {
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("the tree is nested deeper than {}", MAX_DEPTH)]
    TooDeep,
    #[error("the tree has more than {MAX_TREE} entries")]
    TooMany,
}

/// Streams what stands at `root`. A directory and what is in it stand below `top`, or at the archive's root where that
/// is empty; anything else is one entry called `name`.
pub fn archive(
    source: Arc<dyn BlockSource>,
    root: Cid,
    top: String,
    name: String,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let stream = async_stream::try_stream! {
        // Depth first; the stack holds what is still to come, deepest on top.
        let mut stack = vec![(top.clone(), root)];
        let mut count = 0;
        while let Some((path, cid)) = stack.pop() {
            count += 1;
            if count > MAX_TREE {
                Err(ArchiveError::TooMany)?;
            }
            if path.split('/').count() > MAX_DEPTH {
                Err(ArchiveError::TooDeep)?;
            }
            let stat = export::stat(&*source, &cid).await.map_err(ArchiveError::from)?;
            let lone = || if path == top { name.clone() } else { path.clone() };
            match stat.kind {
                StatKind::Directory { .. } => {
                    yield header(path.clone(), Kind::Directory, stat.metadata, 0o755);
                    let entries = export::ls(&*source, &cid, MAX_DIRECTORY).await.map_err(ArchiveError::from)?;
                    let ahead: Vec<Cid> = entries.iter().take(32).map(|entry| entry.cid).collect();
                    source.prefetch(&ahead);
                    if stack.len() + entries.len() > MAX_WAITING {
                        Err(ArchiveError::TooMany)?;
                    }
                    stack.extend(entries.into_iter().rev().map(|entry| {
                        let below = if path.is_empty() { entry.name } else { format!("{path}/{}", entry.name) };
                        (below, entry.cid)
                    }));
                }
                StatKind::Symlink { target } => {
                    yield header(lone(), Kind::Symlink { target }, stat.metadata, 0o777);
                }
                StatKind::File => {
                    let mut file =
                        export::cat(source.clone(), &cid, Range::ALL).await.map_err(ArchiveError::from)?;
                    yield header(lone(), Kind::File { size: file.size }, stat.metadata, 0o644);
                    while let Some(bytes) = file.content.next().await {
                        yield bytes.map_err(ArchiveError::from)?;
                    }
                    yield Bytes::from_static(crate::padding(file.size));
                }
            }
        }
        yield Bytes::from_static(crate::END);
    };
    stream.map(move |item: Result<Bytes, ArchiveError>| {
        item.map_err(|error| {
            tracing::info!(%root, %error, "an archive broke off");
            io::Error::other(error)
        })
    })
}

fn header(path: String, kind: Kind, metadata: Metadata, mode: u32) -> Bytes {
    let mtime = metadata.mtime.map_or(0, |mtime| mtime.seconds);
    crate::header(&Entry { path, kind, mode: metadata.mode.unwrap_or(mode), mtime }).into()
}
