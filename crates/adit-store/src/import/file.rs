//! One file's content into leaves and the tree above them.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use adit_unixfs::{
    Block,
    build::{Built, FileLayout, leaf},
    data::Metadata,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{ImportError, ImportOptions, entry, put};
use crate::BlockStore;

/// Leaves that are read and hashed ahead of the tree. Two cores are kept busy; each costs a chunk
/// of memory.
const AHEAD: usize = 4;
/// Leaves that are handed to the store at once.
const PUT_LEAVES: usize = 4;

/// Imports a regular file.
pub(crate) async fn regular(
    store: &Arc<dyn BlockStore>,
    path: &Path,
    options: &ImportOptions,
) -> Result<Built, ImportError> {
    let chunk = options.layout.chunk_size;
    let first = {
        let (path, options) = (path.to_owned(), options.clone());
        blocking(move || open_and_read_first(path, &options)).await?
    };
    let Opened { file, metadata, first } = first;
    let mut layout = FileLayout::new(options.layout, metadata);
    let mut blocks = Vec::new();
    let whole = first.as_ref().is_none_or(|(_, built)| built.content < chunk as u64);
    if let Some((block, built)) = first {
        blocks.push(block);
        layout.leaf(built, &mut blocks);
    }
    if !whole {
        let file = Arc::new(file);
        // Leaves are independent of each other: whichever thread is free reads and hashes the
        // next one, and they arrive in file order.
        let rest = stream::iter(1u64..)
            .map(|at| {
                let (file, options, path) = (file.clone(), options.clone(), path.to_owned());
                blocking(move || {
                    read_leaf(&file, at * chunk as u64, &options)
                        .map_err(|source| ImportError::Read { path, source })
                })
            })
            .buffered(AHEAD);
        tokio::pin!(rest);
        while let Some((block, built)) = rest.next().await.transpose()?.flatten() {
            let last = built.content < chunk as u64;
            blocks.push(block);
            layout.leaf(built, &mut blocks);
            if blocks.len() >= PUT_LEAVES {
                put(store, &mut blocks).await?;
            }
            if last {
                break;
            }
        }
    }
    let built = layout.finish(&mut blocks);
    put(store, &mut blocks).await?;
    Ok(built)
}

struct Opened {
    file: File,
    metadata: Metadata,
    /// `None` for an empty file.
    first: Option<(Block, Built)>,
}

/// Small files are done with one hop to another thread.
fn open_and_read_first(path: PathBuf, options: &ImportOptions) -> Result<Opened, ImportError> {
    let read = || {
        let (file, metadata) = entry::open_file(&path)?;
        let metadata = entry::node_metadata(&metadata, options.preserve);
        let first = read_leaf(&file, 0, options)?;
        Ok(Opened { file, metadata, first })
    };
    read().map_err(|source| ImportError::Read { path: path.clone(), source })
}

/// Reads and hashes the leaf at `offset`; `None` at the end of the file.
fn read_leaf(file: &File, offset: u64, options: &ImportOptions) -> io::Result<Option<(Block, Built)>> {
    let chunk = options.layout.chunk_size;
    let left = file.metadata()?.len().saturating_sub(offset);
    // The file may grow or shrink meanwhile; what is read is what counts.
    let wanted = chunk.min(usize::try_from(left).unwrap_or(chunk));
    let bytes = crate::disk::read_at(file, wanted, offset)?;
    let read = bytes.len();
    options.count(read);
    Ok((read > 0).then(|| leaf(options.layout, Bytes::from(bytes))))
}

/// Imports what a reader gives.
pub(crate) async fn stream(
    store: &Arc<dyn BlockStore>,
    reader: impl AsyncRead + Unpin + Send,
    options: &ImportOptions,
    metadata: Metadata,
) -> Result<Built, ImportError> {
    let mut layout = FileLayout::new(options.layout, metadata);
    let mut blocks = Vec::new();
    let chunks = stream::try_unfold((reader, 0), |(mut reader, room)| async move {
        let chunk = read_chunk(&mut reader, room, options).await.map_err(ImportError::ReadStream)?;
        // What was a whole chunk is no trickle: the next one gets its memory at once.
        Ok(chunk.map(|chunk| {
            let room = chunk.len();
            (chunk, (reader, room))
        }))
    });
    let choices = options.layout;
    let mut leaves = chunks
        .map(|chunk: Result<Bytes, ImportError>| async move {
            let chunk = chunk?;
            blocking(move || Ok(leaf(choices, chunk))).await
        })
        .buffered(AHEAD)
        // Boxed, because the compiler cannot show an unboxed one to be `Send` for every lifetime, which
        // whoever awaits this in a task needs (rust-lang/rust#100013).
        .boxed();
    while let Some(done) = leaves.next().await {
        let (block, built) = done?;
        blocks.push(block);
        layout.leaf(built, &mut blocks);
        if blocks.len() >= PUT_LEAVES {
            put(store, &mut blocks).await?;
        }
    }
    let built = layout.finish(&mut blocks);
    put(store, &mut blocks).await?;
    Ok(built)
}

/// A whole chunk, a shorter one at the end, and then `None`. `room` bytes of memory are taken at once.
async fn read_chunk(
    reader: &mut (impl AsyncRead + Unpin),
    room: usize,
    options: &ImportOptions,
) -> io::Result<Option<Bytes>> {
    let chunk = options.layout.chunk_size;
    let mut bytes = Vec::with_capacity(room);
    // Grows beyond that as bytes come, so that a trickle does not hold whole chunks.
    reader.take(chunk as u64).read_to_end(&mut bytes).await?;
    options.count(bytes.len());
    Ok((!bytes.is_empty()).then(|| bytes.into()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ImportError::Interrupted)?
}
