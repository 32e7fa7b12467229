//! The two traits that everybody above this crate programs against.

use std::{fs::File, sync::Arc};

use adit_unixfs::{Block, block, limits};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::stream::BoxStream;

use crate::{
    SourceError, StoreError,
    key::{BlockKey, inline_data},
};

/// The longest block that a store keeps: what peers agree on.
pub const MAX_BLOCK_LEN: usize = limits::BLOCK;

/// Where a block's bytes can be read without going through the store.
///
/// The bytes are **not verified**: whoever reads them hashes them, which is what makes handing
/// out a file descriptor worth it. A location stays readable for as long as it is held, but
/// after the block was collected it may read as zeros; hold a lease against that.
#[derive(Debug, Clone)]
pub enum Location {
    /// `len` bytes from `offset` of an open, read-only file.
    File { file: Arc<File>, offset: u64, len: u64 },
    /// The block is still, or only, in memory.
    Inline(Bytes),
}

/// A place that keeps blocks, keyed by the multihash of their CID: a block put under one codec
/// is found under every other.
#[async_trait]
pub trait BlockStore: Send + Sync + 'static {
    /// The block's bytes, verified against `cid`, or `None` where the store lacks it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where the stored bytes are not the CID's: never the bytes.
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError>;

    /// Whether the store has the block. Says nothing about the state of its bytes.
    async fn has(&self, cid: &Cid) -> Result<bool, StoreError>;

    /// The block's length in bytes.
    async fn size(&self, cid: &Cid) -> Result<Option<u64>, StoreError>;

    /// The lengths of many blocks, in the order of `cids`: one look-up where single ones would be as many. What came or
    /// went meanwhile may be told as before or as after.
    async fn sizes(&self, cids: &[Cid]) -> Result<Vec<Option<u64>>, StoreError> {
        let mut sizes = Vec::with_capacity(cids.len());
        for cid in cids {
            sizes.push(self.size(cid).await?);
        }
        Ok(sizes)
    }

    /// Takes blocks that the caller knows to match their CIDs. They are readable when this
    /// returns and durable after a later [`sync`](Self::sync). Waits while too much is unwritten.
    async fn put(&self, blocks: Vec<Block>) -> Result<(), StoreError>;

    /// Makes everything that was put before the call durable. Callers that arrive together
    /// share one commit.
    async fn sync(&self) -> Result<(), StoreError>;

    /// Where to read the block from another process.
    async fn locate(&self, cid: &Cid) -> Result<Option<Location>, StoreError>;

    /// Removes a block if it is there, pinned or not. For tools; garbage collection is
    /// the repo's business.
    async fn delete(&self, cid: &Cid) -> Result<(), StoreError>;

    /// Every stored block with its length, in no promised order. Blocks put or deleted meanwhile
    /// may be missing or listed. CIDs are of version 1, with
    /// the codec under which the block was first put.
    fn list(&self) -> BoxStream<'_, Result<(Cid, u64), StoreError>>;
}

/// Somebody who can be asked for any block: a store alone, or a store with the network behind it.
#[async_trait]
pub trait BlockSource: Send + Sync {
    /// The block's bytes, verified against `cid`.
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError>;

    /// A hint that these blocks will be asked for soon, in this order. Must not block.
    fn prefetch(&self, _cids: &[Cid]) {}
}

/// A store by itself is a source: what it lacks is not found.
#[async_trait]
impl<S: BlockStore + ?Sized> BlockSource for Arc<S> {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        self.get(cid).await?.ok_or(SourceError::NotFound(*cid))
    }
}

#[async_trait]
impl<S: BlockSource + ?Sized> BlockSource for &S {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        (**self).block(cid).await
    }

    fn prefetch(&self, cids: &[Cid]) {
        (**self).prefetch(cids);
    }
}

#[async_trait]
impl BlockSource for Arc<dyn BlockSource> {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        (**self).block(cid).await
    }

    fn prefetch(&self, cids: &[Cid]) {
        (**self).prefetch(cids);
    }
}

/// The key under which a block is kept; `None` where the CID carries the data itself.
///
/// # Errors
/// What could never be verified again, and what is too long.
pub(crate) fn storable(block: &Block) -> Result<Option<BlockKey>, StoreError> {
    let cid = block.cid;
    if block.data.len() > MAX_BLOCK_LEN {
        return Err(StoreError::TooLarge { cid, len: block.data.len(), limit: MAX_BLOCK_LEN });
    }
    if inline_data(&cid).is_some() {
        return Ok(None);
    }
    if cid.codec() > u64::from(u32::MAX) {
        return Err(StoreError::UnsupportedCid { cid, why: "its codec is out of range" });
    }
    let unchecked = StoreError::UnsupportedCid { cid, why: "only SHA2-256 can be checked here" };
    BlockKey::of(&cid).map(Some).ok_or(unchecked)
}

/// The check that every read ends with: whether the bytes are what the CID names.
pub(crate) fn fits(cid: &Cid, data: &[u8]) -> bool {
    block::verify_hash(cid, data).is_ok()
}
