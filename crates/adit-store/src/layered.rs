//! The repo's own disk, and below it whoever else holds blocks.

use std::sync::Arc;

use adit_unixfs::Block;
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::{future::join_all, stream::BoxStream};

use crate::{Backend, BlockStore, DiskStore, Location, StoreError, key::BlockKey};

/// Questions of one batch that the backend has before it at the same time.
const ASKED_AT_ONCE: usize = 32;

/// Reads go to the disk first; writes go to the disk alone.
#[derive(Debug, Clone)]
pub(crate) struct Layered {
    pub(crate) disk: Arc<DiskStore>,
    pub(crate) below: Option<Arc<dyn Backend>>,
}

impl Layered {
    /// Who else is to be asked for a block: nobody for what carries its own data or cannot be checked.
    fn below(&self, cid: &Cid) -> Option<&Arc<dyn Backend>> {
        self.below.as_ref().filter(|_| BlockKey::of(cid).is_some())
    }
}

#[async_trait]
impl BlockStore for Layered {
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let here = self.disk.get(cid).await;
        let Some(below) = self.below(cid) else { return here };
        match here {
            Ok(None) => Ok(below.get(cid).await?),
            // A second copy is as good as the first was.
            Err(StoreError::Corrupt { cid }) => match below.get(&cid).await {
                Ok(Some(data)) => Ok(Some(data)),
                Ok(None) | Err(_) => Err(StoreError::Corrupt { cid }),
            },
            here => here,
        }
    }

    async fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        match (self.disk.has(cid).await?, self.below(cid)) {
            (false, Some(below)) => Ok(below.has(cid).await?),
            (here, _) => Ok(here),
        }
    }

    async fn size(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        match (self.disk.size(cid).await?, self.below(cid)) {
            (None, Some(below)) => Ok(below.size(cid).await?),
            (here, _) => Ok(here),
        }
    }

    async fn sizes(&self, cids: &[Cid]) -> Result<Vec<Option<u64>>, StoreError> {
        let mut sizes = self.disk.sizes(cids).await?;
        let Some(below) = &self.below else { return Ok(sizes) };
        let missing: Vec<usize> =
            (0..cids.len()).filter(|at| sizes[*at].is_none() && BlockKey::of(&cids[*at]).is_some()).collect();
        for some in missing.chunks(ASKED_AT_ONCE) {
            let found = join_all(some.iter().map(|at| below.size(&cids[*at]))).await;
            for (at, size) in some.iter().zip(found) {
                sizes[*at] = size?;
            }
        }
        Ok(sizes)
    }

    async fn put(&self, blocks: Vec<Block>) -> Result<(), StoreError> {
        self.disk.put(blocks).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.disk.sync().await
    }

    async fn locate(&self, cid: &Cid) -> Result<Option<Location>, StoreError> {
        match (self.disk.locate(cid).await?, self.below(cid)) {
            (None, Some(below)) => Ok(below.get(cid).await?.map(Location::Inline)),
            (here, _) => Ok(here),
        }
    }

    async fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        self.disk.delete(cid).await?;
        match self.below(cid).and_then(|below| below.keeper()) {
            Some(keeper) => Ok(keeper.remove(cid).await?),
            None => Ok(()),
        }
    }

    /// What is on the own disk. A backend has no list with lengths that could be had in reasonable time.
    fn list(&self) -> BoxStream<'_, Result<(Cid, u64), StoreError>> {
        self.disk.list()
    }
}
