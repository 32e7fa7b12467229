//! CAR files in and out, as streams: memory holds a few blocks, and 16 bytes for each block of an
//! export so that it is written once.

use std::{collections::HashSet, io};

use adit_unixfs::{
    Block,
    car::{CarError, CarReader, header, section_prefix},
    links,
};
use bytes::Bytes;
use cid::Cid;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{BlockSource, BlockStore, SourceError, StoreError, key::BlockKey, repo::BlockSet};

/// Read from the stream at a time.
const READ: usize = 256 << 10;
/// Handed to the store at a time.
const PUT_BYTES: usize = 4 << 20;

/// What a CAR held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CarImported {
    /// The header's roots: claims, whose blocks may be absent.
    pub roots: Vec<Cid>,
    pub blocks: u64,
    pub bytes: u64,
}

/// An import of a CAR failed. Blocks before the failure may be in the store; none is pinned.
#[derive(Debug, thiserror::Error)]
pub enum CarImportError {
    #[error("cannot read the CAR: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Car(#[from] CarError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads a CAR, verifies each block and stores it; durable when this returns.
pub async fn import(
    store: &dyn BlockStore,
    mut reader: impl AsyncRead + Unpin + Send,
) -> Result<CarImported, CarImportError> {
    let mut car = CarReader::new();
    let mut imported = CarImported::default();
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    let mut buffer = vec![0; READ];
    loop {
        let read = reader.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        car.push(&buffer[..read]);
        while let Some(block) = car.next_block()? {
            imported.blocks += 1;
            imported.bytes += block.data.len() as u64;
            batch_bytes += block.data.len();
            batch.push(own(block));
            if batch_bytes >= PUT_BYTES {
                store.put(std::mem::take(&mut batch)).await?;
                batch_bytes = 0;
            }
        }
    }
    imported.roots = car.finish()?;
    store.put(batch).await?;
    store.sync().await?;
    Ok(imported)
}

/// A small block cut from the reader's buffer would keep the whole buffer in memory.
fn own(block: Block) -> Block {
    Block { cid: block.cid, data: Bytes::copy_from_slice(&block.data) }
}

/// An export failed.
#[derive(Debug, thiserror::Error)]
pub enum CarExportError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot export what is below {cid}: {reason}")]
    Links { cid: Cid, reason: String },
}

/// Writes everything below the roots as a CAR: depth first, in the order of links, every block
/// once, so that a reader can follow while it streams.
pub fn export<'a, S>(source: S, roots: Vec<Cid>) -> BoxStream<'a, Result<Bytes, CarExportError>>
where
    S: BlockSource + 'a,
{
    let head = Bytes::from(header(&roots));
    let walk = Walk { source, stack: roots.into_iter().rev().collect(), seen: BlockSet::default() };
    let sections =
        stream::try_unfold(
            walk,
            |mut walk| async move { Ok(walk.next().await?.map(|section| (section, walk))) },
        );
    let sections = sections.flat_map(|section| match section {
        Ok([prefix, data]) => stream::iter(vec![Ok(prefix), Ok(data)]),
        Err(error) => stream::iter(vec![Err(error)]),
    });
    stream::iter([Ok(head)]).chain(sections).boxed()
}

/// Blocks that the source is told about.
const HINTED: usize = 32;

struct Walk<S> {
    source: S,
    stack: Vec<Cid>,
    seen: BlockSet,
}

impl<S: BlockSource> Walk<S> {
    async fn next(&mut self) -> Result<Option<[Bytes; 2]>, CarExportError> {
        while let Some(cid) = self.stack.pop() {
            // Identity CIDs carry their data and need no section.
            let Some(key) = BlockKey::of(&cid) else { continue };
            if !self.seen.insert(&key) {
                continue;
            }
            let data = self.source.block(&cid).await?;
            let below = links(&cid, &data)
                .map_err(|error| CarExportError::Links { cid, reason: error.to_string() })?;
            if !below.is_empty() {
                self.source.prefetch(&below[..below.len().min(HINTED)]);
                // What was written before, or is linked to twice, need not wait on the stack. Whether it was is asked again
                // when it is taken off: another branch may come to it first, and CARs are in the order of first visits.
                let mut here = HashSet::new();
                let (seen, before) = (&self.seen, self.stack.len());
                let new =
                    |cid: &Cid| BlockKey::of(cid).is_some_and(|key| !seen.contains(&key) && here.insert(key));
                self.stack.extend(below.into_iter().filter(new));
                self.stack[before..].reverse();
            }
            return Ok(Some([section_prefix(&cid, data.len()).into(), data]));
        }
        Ok(None)
    }
}
