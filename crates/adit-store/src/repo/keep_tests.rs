//! A repo over a backend that keeps: whose pins they are, what is handed over, what happens when it fails.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use adit_unixfs::{Block, block::RAW, links};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::TryStreamExt;
use parking_lot::Mutex;

use super::*;
use crate::{BackendError, BackendFailure, BlockStream, Keeper, KeeperReport, KeeperStat, Kept, import};

/// What a Kubo is to a repo, in memory.
#[derive(Debug, Default)]
struct Shelf {
    blocks: Mutex<HashMap<Cid, Bytes>>,
    pins: Mutex<HashMap<Cid, (PinKind, String)>>,
    /// How often it breaks off in the middle before it works.
    breaks: AtomicUsize,
    full: std::sync::atomic::AtomicBool,
}

fn failed(failure: BackendFailure) -> BackendError {
    BackendError { backend: "the shelf".into(), failure, reason: format!("{failure:?}") }
}

impl Shelf {
    fn is_whole(&self, root: &Cid) -> bool {
        let blocks = self.blocks.lock();
        let mut stack = vec![*root];
        while let Some(cid) = stack.pop() {
            let Some(data) = blocks.get(&cid) else { return false };
            stack.extend(links(&cid, data).unwrap());
        }
        true
    }
}

#[async_trait]
impl Backend for Shelf {
    fn name(&self) -> &str {
        "the shelf"
    }
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BackendError> {
        Ok(self.blocks.lock().get(cid).cloned())
    }
    async fn size(&self, cid: &Cid) -> Result<Option<u64>, BackendError> {
        Ok(self.blocks.lock().get(cid).map(|data| data.len() as u64))
    }
    fn keeper(&self) -> Option<&dyn Keeper> {
        Some(self)
    }
}

#[async_trait]
impl Keeper for Shelf {
    async fn take(&self, root: &Cid, kind: PinKind, mut blocks: BlockStream) -> Result<(), BackendError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(failed(BackendFailure::Full));
        }
        while let Some(block) = blocks.try_next().await.unwrap() {
            self.blocks.lock().insert(block.cid, block.data);
            if self.breaks.load(Ordering::Relaxed) > 0 {
                self.breaks.fetch_sub(1, Ordering::Relaxed);
                return Err(failed(BackendFailure::Unreachable));
            }
        }
        match self.pin(root, kind, "").await? {
            true => Ok(()),
            false => Err(failed(BackendFailure::Incomplete)),
        }
    }
    async fn pin(&self, root: &Cid, kind: PinKind, name: &str) -> Result<bool, BackendError> {
        let whole = self.is_whole(root);
        if whole {
            self.pins.lock().insert(*root, (kind, name.to_owned()));
        }
        Ok(whole)
    }
    async fn unpin(&self, root: &Cid) -> Result<bool, BackendError> {
        Ok(self.pins.lock().remove(root).is_some())
    }
    async fn pinned(&self, root: &Cid) -> Result<Option<Kept>, BackendError> {
        Ok(self.pins().await?.into_iter().find(|kept| kept.cid == *root))
    }
    async fn pins(&self) -> Result<Vec<Kept>, BackendError> {
        let pins = self.pins.lock();
        Ok(pins
            .iter()
            .map(|(cid, (kind, name))| Kept { cid: *cid, kind: *kind, name: name.clone() })
            .collect())
    }
    async fn remove(&self, cid: &Cid) -> Result<(), BackendError> {
        self.blocks.lock().remove(cid);
        Ok(())
    }
    async fn collect(&self) -> Result<u64, BackendError> {
        Ok(0)
    }
    async fn verify(&self) -> Result<KeeperReport, BackendError> {
        Ok(KeeperReport { blocks: self.blocks.lock().len() as u64, ..KeeperReport::default() })
    }
    async fn stat(&self) -> Result<KeeperStat, BackendError> {
        Err(failed(BackendFailure::Refused))
    }
    async fn provide(&self, _: &Cid) -> Result<(), BackendError> {
        Ok(())
    }
}

fn over(dir: &Path, shelf: &Arc<Shelf>) -> Repo {
    let backend: Arc<dyn Backend> = shelf.clone();
    Repo::open(dir, RepoOptions { backend: Some(backend), ..RepoOptions::default() }).unwrap()
}

async fn add(repo: &Repo, seed: u8, name: &str) -> Result<Cid, StoreError> {
    let lease = repo.lease("add");
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i >> 7) as u8 ^ seed).collect();
    let imported = import::bytes(&lease.store(), content, &Default::default()).await.unwrap();
    let options = PinOptions { name: name.into(), ..PinOptions::default() };
    repo.pin_leased(&imported.root, &lease, options).await?;
    Ok(imported.root)
}

#[tokio::test]
async fn what_is_added_goes_below_and_the_copy_here_is_garbage() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let repo = over(dir.path(), &shelf);
    // It breaks off twice in the middle.
    shelf.breaks.store(2, Ordering::Relaxed);
    let root = add(&repo, 1, "first").await.unwrap();
    assert!(shelf.is_whole(&root));
    assert_eq!(shelf.pins.lock()[&root].1, "first");
    assert!(repo.stat().await.unwrap().blocks > 1);
    repo.gc().await.unwrap();
    assert_eq!(repo.stat().await.unwrap().blocks, 0);
    assert!(repo.blocks().get(&root).await.unwrap().is_some());
    assert!(repo.is_pinned(&root).await.unwrap());
    // Asked of many at once, the backend answers for what it has.
    let there: Vec<Cid> = shelf.blocks.lock().keys().copied().collect();
    let absent = Block::new(RAW, b"nowhere".to_vec()).cid;
    let asked: Vec<Cid> = there.iter().flat_map(|cid| [*cid, absent]).collect();
    let sizes = repo.blocks().sizes(&asked).await.unwrap();
    assert!(sizes.chunks(2).all(|pair| pair[0].is_some() && pair[1].is_none()), "{sizes:?}");
    // A fresh look at the directory knows the same.
    drop(repo);
    let repo = over(dir.path(), &shelf);
    assert_eq!(repo.pins().await.unwrap().len(), 1);
    assert_eq!(repo.verify(OnCorrupt::Report).await.unwrap().incomplete, []);
}

#[tokio::test]
async fn a_pin_goes_below_with_its_last_name_and_not_with_others() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let repo = over(dir.path(), &shelf);
    let root = add(&repo, 1, "a").await.unwrap();
    let none = crate::MemoryStore::new();
    let options = PinOptions { name: "b".into(), ..PinOptions::default() };
    repo.pin(&root, &Arc::new(none), options.clone()).await.unwrap();
    assert_eq!(repo.unpin(&root, Some("a")).await.unwrap(), 1);
    assert!(shelf.pins.lock().contains_key(&root));
    assert_eq!(repo.unpin(&root, Some("b")).await.unwrap(), 1);
    assert!(!shelf.pins.lock().contains_key(&root));

    // What its own users pinned is seen, outlives our pin of the same root, and goes when told so.
    shelf.pins.lock().insert(root, (PinKind::Recursive, "theirs".into()));
    assert_eq!(repo.pins().await.unwrap()[0].name, "theirs");
    repo.pin(&root, &Arc::new(crate::MemoryStore::new()), options).await.unwrap();
    assert_eq!(repo.unpin(&root, Some("b")).await.unwrap(), 1);
    assert!(shelf.pins.lock().contains_key(&root));
    assert_eq!(repo.unpin(&root, None).await.unwrap(), 1);
    assert_eq!(repo.pins().await.unwrap(), []);
    assert!(shelf.pins.lock().is_empty());

    // What they unpinned is not pinned, whatever was recorded here.
    let root = add(&repo, 2, "").await.unwrap();
    shelf.pins.lock().clear();
    assert!(!repo.is_pinned(&root).await.unwrap());
    assert_eq!(repo.unpin(&root, None).await.unwrap(), 0);
}

#[tokio::test]
async fn a_backend_that_is_full_or_lacks_a_part_acknowledges_nothing() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), Arc::new(Shelf::default()));
    let repo = over(dir.path(), &shelf);
    shelf.full.store(true, Ordering::Relaxed);
    let error = add(&repo, 1, "").await.unwrap_err();
    assert!(matches!(&error, StoreError::Backend(e) if e.failure == BackendFailure::Full), "{error}");
    assert_eq!(repo.pins().await.unwrap(), []);
    shelf.full.store(false, Ordering::Relaxed);

    let missing = Block::new(RAW, b"nowhere".to_vec());
    let list = ipld_core::ipld::Ipld::List(vec![ipld_core::ipld::Ipld::Link(missing.cid)]);
    let data = adit_unixfs::codec::dag_cbor::encode(&list).unwrap();
    let root = Block::new(adit_unixfs::block::DAG_CBOR, data);
    let lease = repo.lease("test");
    lease.store().put(vec![root.clone()]).await.unwrap();
    let pinned = repo.pin_leased(&root.cid, &lease, PinOptions::default()).await;
    assert!(matches!(pinned, Err(StoreError::Backend(e)) if e.failure == BackendFailure::Incomplete));
    assert_eq!(repo.pins().await.unwrap(), []);
    add(&repo, 1, "").await.unwrap();
}

#[tokio::test]
async fn pins_from_before_the_backend_stay_here() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::open(dir.path(), RepoOptions::default()).unwrap();
    let root = add(&repo, 1, "").await.unwrap();
    drop(repo);
    let shelf = Arc::new(Shelf::default());
    let repo = over(dir.path(), &shelf);
    assert!(repo.is_pinned(&root).await.unwrap());
    let before = repo.stat().await.unwrap().blocks;
    assert_eq!(repo.gc().await.unwrap().blocks_deleted, 0);
    assert_eq!(repo.stat().await.unwrap().blocks, before);
    assert_eq!(repo.unpin(&root, None).await.unwrap(), 1);
}
