//! Where blocks come from: a source, with patience for each, and a small memory of what is asked for often.

use std::sync::Arc;
use std::time::Duration;

use adit_deny::Denials;
use adit_store::{BlockSource, SourceError};
use adit_unixfs::block::identity_data;
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use lru::LruCache;
use parking_lot::Mutex;

use crate::limits;

/// A source that the gateway's streams can own.
#[derive(Clone)]
pub struct Blocks {
    source: Arc<dyn BlockSource>,
    hot: Arc<Hot>,
    patience: Duration,
    denials: Denials,
}

impl Blocks {
    /// Waits for each block of `source` as long as `patience`.
    pub fn new(source: Arc<dyn BlockSource>, hot: Arc<Hot>, patience: Duration, denials: Denials) -> Self {
        Self { source, hot, patience, denials }
    }

    /// Lists change while blocks are in memory: asked each time.
    fn denies(&self, cid: &Cid) -> bool {
        self.denials.now().denies_block(cid)
    }

    /// A block that others are likely to ask for too: directories, roots of files, small files.
    pub async fn common(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        if self.denies(cid) {
            return Err(SourceError::Denied(*cid));
        }
        if let Some(bytes) = self.hot.get(cid) {
            return Ok(bytes);
        }
        let bytes = self.fetch(cid).await?;
        self.hot.put(cid, &bytes);
        Ok(bytes)
    }

    async fn fetch(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        if let Some(data) = identity_data(cid) {
            return Ok(Bytes::copy_from_slice(data));
        }
        match tokio::time::timeout(self.patience, self.source.block(cid)).await {
            Ok(result) => result,
            Err(_) => Err(SourceError::Unavailable {
                cid: *cid,
                reason: format!("nobody delivered it within {} seconds", self.patience.as_secs_f32()),
            }),
        }
    }
}

#[async_trait]
impl BlockSource for Blocks {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        if self.denies(cid) {
            return Err(SourceError::Denied(*cid));
        }
        match self.hot.get(cid) {
            Some(bytes) => Ok(bytes),
            None => self.fetch(cid).await,
        }
    }

    fn prefetch(&self, cids: &[Cid]) {
        self.source.prefetch(cids);
    }
}

/// Verified blocks in memory, the least recently used leaving first, bounded in bytes.
pub struct Hot {
    blocks: Mutex<(LruCache<Cid, Bytes>, usize)>,
    room: usize,
}

impl Hot {
    /// Room for so many bytes.
    pub fn new(room: usize) -> Self {
        Self { blocks: Mutex::new((LruCache::unbounded(), 0)), room }
    }

    fn get(&self, cid: &Cid) -> Option<Bytes> {
        self.blocks.lock().0.get(cid).cloned()
    }

    fn put(&self, cid: &Cid, bytes: &Bytes) {
        if bytes.len() > limits::HOT_BLOCK || bytes.len() > self.room || identity_data(cid).is_some() {
            return;
        }
        // A copy of its own: the bytes may be a part of something larger.
        let own = Bytes::copy_from_slice(bytes);
        let mut blocks = self.blocks.lock();
        let (cache, used) = &mut *blocks;
        *used += cost(&own);
        if let Some(old) = cache.put(*cid, own) {
            *used -= cost(&old);
        }
        while *used > self.room {
            let Some((_, old)) = cache.pop_lru() else { break };
            *used -= cost(&old);
        }
    }

    #[cfg(test)]
    fn used(&self) -> usize {
        self.blocks.lock().1
    }
}

/// What a block takes, with its entry.
fn cost(bytes: &Bytes) -> usize {
    bytes.len() + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_unixfs::{Block, block::RAW};

    #[test]
    fn the_memory_of_blocks_has_a_bound_and_forgets_the_oldest() {
        let hot = Hot::new(10_000);
        let blocks: Vec<_> = (0..20u8).map(|byte| Block::new(RAW, vec![byte; 1000])).collect();
        for block in &blocks {
            hot.put(&block.cid, &block.data);
            assert!(hot.used() <= 10_000);
        }
        assert!(hot.get(&blocks[0].cid).is_none());
        assert_eq!(hot.get(&blocks[19].cid).as_ref(), Some(&blocks[19].data));
        let large = Block::new(RAW, vec![0; 20_000]);
        hot.put(&large.cid, &large.data);
        assert!(hot.get(&large.cid).is_none());
    }
}
