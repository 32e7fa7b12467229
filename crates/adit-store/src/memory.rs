//! The block store as a map in memory: the reference for what the trait means, and a store for
//! tests. It keeps the CID under which a block was first put.

use std::collections::HashMap;

use adit_unixfs::Block;
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::{StreamExt, stream, stream::BoxStream};
use parking_lot::RwLock;

use crate::{
    BlockStore, Location, StoreError,
    blocks::storable,
    key::{BlockKey, inline_data},
};

/// Blocks in memory, gone with the process. `sync` has nothing to do.
#[derive(Debug, Default)]
pub struct MemoryStore {
    blocks: RwLock<HashMap<BlockKey, Block>>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    fn find(&self, cid: &Cid) -> Option<Bytes> {
        inline_data(cid)
            .or_else(|| self.blocks.read().get(&BlockKey::of(cid)?).map(|block| block.data.clone()))
    }
}

#[async_trait]
impl BlockStore for MemoryStore {
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        Ok(self.find(cid))
    }

    async fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.find(cid).is_some())
    }

    async fn size(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        Ok(self.find(cid).map(|data| data.len() as u64))
    }

    async fn put(&self, blocks: Vec<Block>) -> Result<(), StoreError> {
        let mut accepted = Vec::with_capacity(blocks.len());
        for block in blocks {
            accepted.extend(storable(&block)?.map(|key| (key, block)));
        }
        let mut map = self.blocks.write();
        for (key, block) in accepted {
            map.entry(key).or_insert(block);
        }
        Ok(())
    }

    async fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn locate(&self, cid: &Cid) -> Result<Option<Location>, StoreError> {
        Ok(self.find(cid).map(Location::Inline))
    }

    async fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        if let Some(key) = BlockKey::of(cid) {
            self.blocks.write().remove(&key);
        }
        Ok(())
    }

    fn list(&self) -> BoxStream<'_, Result<(Cid, u64), StoreError>> {
        let all: Vec<_> = self.blocks.read().values().map(|b| Ok((b.cid, b.data.len() as u64))).collect();
        stream::iter(all).boxed()
    }
}
