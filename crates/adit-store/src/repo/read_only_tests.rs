//! A repo over a backend that is only read.

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;

use super::*;
use crate::{BackendError, MemoryStore, import};

/// What a gateway is to a repo, in memory.
#[derive(Debug)]
struct Shelf(MemoryStore);

#[async_trait]
impl Backend for Shelf {
    fn name(&self) -> &str {
        "the shelf"
    }
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BackendError> {
        Ok(self.0.get(cid).await.unwrap())
    }
    async fn size(&self, cid: &Cid) -> Result<Option<u64>, BackendError> {
        Ok(self.0.size(cid).await.unwrap())
    }
}

#[tokio::test]
async fn what_is_pinned_is_copied_since_nobody_below_keeps_it() {
    let below: Arc<dyn BlockStore> = Arc::new(MemoryStore::new());
    let shelf = MemoryStore::new();
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i >> 7) as u8).collect();
    let root = import::bytes(&below, content, &Default::default()).await.unwrap().root;
    let mut pending = vec![root];
    while let Some(cid) = pending.pop() {
        let data = below.get(&cid).await.unwrap().unwrap();
        pending.extend(adit_unixfs::links(&cid, &data).unwrap());
        shelf.put(vec![crate::Block { cid, data }]).await.unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let options = RepoOptions { backend: Some(Arc::new(Shelf(shelf))), ..RepoOptions::default() };
    let repo = Repo::open(dir.path(), options).unwrap();
    assert!(repo.blocks().has(&root).await.unwrap(), "it is the node's");
    assert_eq!(repo.stat().await.unwrap().blocks, 0, "without a copy");
    let summary = repo.pin(&root, &repo.blocks(), PinOptions::default()).await.unwrap();
    assert!(summary.blocks > 1 && summary.fetched == summary.blocks, "{summary:?}");
    assert_eq!(repo.gc().await.unwrap().blocks_deleted, 0);
    drop(repo);
    // The shelf is gone, and nothing that was pinned with it.
    let repo = Repo::open(dir.path(), RepoOptions::default()).unwrap();
    assert_eq!(repo.verify(OnCorrupt::Report).await.unwrap().incomplete, []);
    assert_eq!(repo.stat().await.unwrap().blocks, summary.blocks);
    assert!(repo.blocks().has(&root).await.unwrap());
}
