//! Leases: what keeps garbage collection away from adds, pins and jobs under way.
//!
//! A lease keeps three things for as long as it lives: every block that was appended to the log
//! since it was taken, every block that is put, read or asked for through
//! [`Lease::store`], and everything below the roots named to [`Lease::protect`]. Leases are in
//! memory only: after a crash the blocks of an unfinished add are garbage like any other, and a
//! pin is recorded last, so there is no half of one.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use adit_unixfs::Block;
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::stream::BoxStream;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    BlockStore, Location, StoreError,
    disk::{LogPosition, Spare},
    key::BlockKey,
    layered::Layered,
};

/// A set of blocks by the first half of their digest: 16 bytes a block. Two blocks that share it
/// would take 2^64 work to make.
#[derive(Debug, Default)]
pub(crate) struct BlockSet(HashSet<[u8; 16]>);

impl BlockSet {
    fn half(key: &BlockKey) -> [u8; 16] {
        key.0[..16].try_into().expect("a digest has 32 bytes")
    }

    /// Answers whether the block is new to the set.
    pub(crate) fn insert(&mut self, key: &BlockKey) -> bool {
        self.0.insert(Self::half(key))
    }

    pub(crate) fn contains(&self, key: &BlockKey) -> bool {
        self.0.contains(&Self::half(key))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// All leases of a repo.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    active: HashMap<u64, Held>,
    /// Whether a collection is under way.
    collecting: bool,
    /// What leases that ended during the collection had touched. Their pins came too late for
    /// its mark phase.
    retired: Vec<BlockSet>,
    /// Roots named during the collection, to be marked before the next deletion.
    late_roots: Vec<Cid>,
}

#[derive(Debug)]
struct Held {
    label: String,
    since: LogPosition,
    roots: Vec<Cid>,
    touched: BlockSet,
}

/// What a collection has to respect, as of its start.
pub(crate) struct Snapshot {
    pub(crate) roots: Vec<Cid>,
    /// Blocks from here on belong to somebody.
    pub(crate) oldest: Option<LogPosition>,
}

impl Leases {
    fn take(&self, label: String, since: LogPosition) -> u64 {
        let mut inner = self.inner.lock();
        inner.next += 1;
        let id = inner.next;
        let held = Held { label, since, roots: Vec::new(), touched: BlockSet::default() };
        inner.active.insert(id, held);
        id
    }

    fn touch<'a>(&self, id: u64, cids: impl IntoIterator<Item = &'a Cid>) {
        let mut inner = self.inner.lock();
        if let Some(held) = inner.active.get_mut(&id) {
            for key in cids.into_iter().filter_map(BlockKey::of) {
                held.touched.insert(&key);
            }
        }
    }

    fn protect(&self, id: u64, root: Cid) {
        let mut inner = self.inner.lock();
        if inner.collecting {
            inner.late_roots.push(root);
        }
        if let Some(held) = inner.active.get_mut(&id) {
            held.roots.push(root);
        }
    }

    fn end(&self, id: u64) {
        let mut inner = self.inner.lock();
        if let Some(held) = inner.active.remove(&id)
            && inner.collecting
        {
            inner.retired.push(held.touched);
        }
    }

    /// A root that was pinned just now: a collection under way must mark it.
    pub(crate) fn pinned(&self, root: Cid) {
        let mut inner = self.inner.lock();
        if inner.collecting {
            inner.late_roots.push(root);
        }
    }

    pub(crate) fn begin_collection(&self) -> Collection<'_> {
        self.inner.lock().collecting = true;
        Collection { leases: self }
    }

    pub(crate) fn has_late_roots(&self) -> bool {
        !self.inner.lock().late_roots.is_empty()
    }

    pub(crate) fn labels(&self) -> Vec<String> {
        self.inner.lock().active.values().map(|held| held.label.clone()).collect()
    }
}

/// While it lives, nothing that a lease has touched is forgotten.
pub(crate) struct Collection<'a> {
    leases: &'a Leases,
}

impl Collection<'_> {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let inner = self.leases.inner.lock();
        Snapshot {
            roots: inner.active.values().flat_map(|held| held.roots.iter().copied()).collect(),
            oldest: inner.active.values().map(|held| held.since).min(),
        }
    }

    pub(crate) fn take_late_roots(&self) -> Vec<Cid> {
        std::mem::take(&mut self.leases.inner.lock().late_roots)
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        let mut inner = self.leases.inner.lock();
        inner.collecting = false;
        inner.retired = Vec::new();
        inner.late_roots = Vec::new();
    }
}

/// All leases, held still for a moment of deletion.
pub(crate) struct HeldStill<'a>(MutexGuard<'a, Inner>);

impl Leases {
    pub(crate) fn hold_still(&self) -> HeldStill<'_> {
        HeldStill(self.inner.lock())
    }
}

impl Spare for HeldStill<'_> {
    fn spares(&self, key: &BlockKey) -> bool {
        // A root that is not marked yet may be above anything.
        !self.0.late_roots.is_empty()
            || self.0.active.values().any(|held| held.touched.contains(key))
            || self.0.retired.iter().any(|touched| touched.contains(key))
    }
}

/// Keeps blocks from being collected until it is dropped. Made by [`Repo::lease`](crate::Repo::lease).
///
/// Clones share one lease, which ends with the last of them and of the stores made from it.
#[derive(Debug, Clone)]
pub struct Lease {
    inner: Arc<LeaseInner>,
}

#[derive(Debug)]
struct LeaseInner {
    leases: Arc<Leases>,
    id: u64,
    blocks: Layered,
}

impl Lease {
    pub(crate) fn new(leases: Arc<Leases>, blocks: Layered, label: String) -> Self {
        // The position first: whatever is appended after it is kept.
        let since = blocks.disk.log_end();
        let id = leases.take(label, since);
        Self { inner: Arc::new(LeaseInner { leases, id, blocks }) }
    }

    /// Keeps everything that can be reached from `root` in the store, now and when more of it
    /// arrives. What is missing is not missed.
    pub fn protect(&self, root: Cid) {
        self.inner.leases.protect(self.inner.id, root);
    }

    /// The repo's store; every block that is put, read or asked for through it is kept, even
    /// one that lay there as garbage before.
    pub fn store(&self) -> Arc<dyn BlockStore> {
        Arc::new(LeasedStore { lease: self.inner.clone(), blocks: self.inner.blocks.clone() })
    }

    /// The same over the repo's own disk alone.
    pub(crate) fn own_store(&self) -> Arc<dyn BlockStore> {
        let blocks = Layered { below: None, ..self.inner.blocks.clone() };
        Arc::new(LeasedStore { lease: self.inner.clone(), blocks })
    }

    /// Keeps single blocks.
    pub fn touch<'a>(&self, cids: impl IntoIterator<Item = &'a Cid>) {
        self.inner.leases.touch(self.inner.id, cids);
    }
}

impl Drop for LeaseInner {
    fn drop(&mut self) {
        self.leases.end(self.id);
    }
}

/// A store that touches before it looks, so that an answer "it is here" stays true.
struct LeasedStore {
    lease: Arc<LeaseInner>,
    blocks: Layered,
}

impl LeasedStore {
    fn touched<'a>(&self, cids: impl IntoIterator<Item = &'a Cid>) -> &Layered {
        self.lease.leases.touch(self.lease.id, cids);
        &self.blocks
    }
}

#[async_trait]
impl BlockStore for LeasedStore {
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.touched([cid]).get(cid).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.touched([cid]).has(cid).await
    }

    async fn size(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.touched([cid]).size(cid).await
    }

    async fn sizes(&self, cids: &[Cid]) -> Result<Vec<Option<u64>>, StoreError> {
        self.touched(cids).sizes(cids).await
    }

    async fn put(&self, blocks: Vec<Block>) -> Result<(), StoreError> {
        self.touched(blocks.iter().map(|block| &block.cid)).put(blocks).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.blocks.sync().await
    }

    async fn locate(&self, cid: &Cid) -> Result<Option<Location>, StoreError> {
        self.touched([cid]).locate(cid).await
    }

    async fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        self.blocks.delete(cid).await
    }

    fn list(&self) -> BoxStream<'_, Result<(Cid, u64), StoreError>> {
        self.blocks.list()
    }
}
