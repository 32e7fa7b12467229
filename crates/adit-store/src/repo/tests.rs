//! Pins, leases, collection and verification on a real directory.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_unixfs::{
    Block,
    block::{DAG_CBOR, RAW},
};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use parking_lot::Mutex;

use super::*;
use crate::{BlockSource, Location, SourceError, import};

fn open(dir: &Path) -> Repo {
    Repo::open(dir, RepoOptions::default()).unwrap()
}

fn leaf(seed: u64, len: usize) -> Block {
    let mut data = seed.to_le_bytes().to_vec();
    data.resize(len.max(8), seed as u8);
    Block::new(RAW, data)
}

/// A DAG-CBOR list of links.
fn node(children: &[Cid]) -> Block {
    let links = children.iter().copied().map(ipld_core::ipld::Ipld::Link).collect();
    let data = adit_unixfs::codec::dag_cbor::encode(&ipld_core::ipld::Ipld::List(links)).unwrap();
    Block::new(DAG_CBOR, data)
}

/// `count` leaves below one root; the root is last.
fn tree(seed: u64, count: u64, len: usize) -> Vec<Block> {
    let mut blocks: Vec<_> = (0..count).map(|i| leaf(seed * 1_000_000 + i, len)).collect();
    let root = node(&blocks.iter().map(|block| block.cid).collect::<Vec<_>>());
    blocks.push(root);
    blocks
}

async fn present(repo: &Repo, blocks: &[Block]) -> usize {
    let mut count = 0;
    for block in blocks {
        count += usize::from(repo.blocks().get(&block.cid).await.unwrap().is_some());
    }
    count
}

/// A source that counts and can be told to fail.
#[derive(Default)]
struct Remote {
    blocks: HashMap<Cid, Bytes>,
    fail_at: Option<usize>,
    served: Mutex<usize>,
}

impl Remote {
    fn with(blocks: &[Block]) -> Self {
        let blocks = blocks.iter().map(|block| (block.cid, block.data.clone())).collect();
        Self { blocks, ..Self::default() }
    }
}

#[async_trait]
impl BlockSource for Remote {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        let served = {
            let mut served = self.served.lock();
            *served += 1;
            *served
        };
        if self.fail_at.is_some_and(|at| served > at) {
            return Err(SourceError::Unavailable { cid: *cid, reason: "the peer left".into() });
        }
        self.blocks.get(cid).cloned().ok_or(SourceError::NotFound(*cid))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_who_has_the_repo() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = Repo::open(dir.path(), RepoOptions::default()).unwrap_err();
    let OpenError::Lock(LockError::InUse { pid, .. }) = &error else { panic!("{error}") };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    open(dir.path());
}

#[tokio::test]
async fn other_formats_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(dir.path().join("format"), "adit-store 3\n").unwrap();
    let error = Repo::open(dir.path(), RepoOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Lock(LockError::Newer { found: 3, .. })), "{error}");
    std::fs::write(dir.path().join("format"), "something else").unwrap();
    let error = Repo::open(dir.path(), RepoOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Lock(LockError::NotARepo { .. })), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_are_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let repo = open(dir.path());
    let blocks = tree(1, 50, 100);
    let root = blocks.last().unwrap().cid;

    let mut remote = Remote::with(&blocks);
    remote.fail_at = Some(30);
    let error = repo.pin(&root, &remote, PinOptions::default()).await.unwrap_err();
    assert!(matches!(error, PinError::Source(SourceError::Unavailable { .. })), "{error}");
    assert_eq!(repo.pins().await.unwrap(), []);

    remote.fail_at = None;
    let summary = repo.pin(&root, &remote, PinOptions::default()).await.unwrap();
    assert_eq!(summary.blocks, 51);
    assert!(summary.fetched < 51, "what the first try fetched was kept");
    assert!(repo.is_pinned(&root).await.unwrap());

    // Nothing is fetched for what is here.
    let again = PinOptions { name: "again".into(), ..PinOptions::default() };
    let summary = repo.pin(&root, &Remote::default(), again).await.unwrap();
    assert_eq!((summary.blocks, summary.fetched), (51, 0));

    let small = PinOptions { max_blocks: 50, ..PinOptions::default() };
    let error = repo.pin(&root, &remote, small).await.unwrap_err();
    assert!(matches!(error, PinError::TooManyBlocks { limit: 50, .. }), "{error}");

    drop(repo);
    let repo = open(dir.path());
    let names: Vec<_> = repo.pins().await.unwrap().into_iter().map(|pin| pin.name).collect();
    assert_eq!(names, ["", "again"], "pins survive a restart");
    assert_eq!(repo.unpin(&root, Some("")).await.unwrap(), 1);
    assert!(repo.is_pinned(&root).await.unwrap());
    assert_eq!(repo.unpin(&root, None).await.unwrap(), 1);
    assert!(!repo.is_pinned(&root).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn collection_keeps_what_is_pinned_and_frees_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let repo = open(dir.path());
    let (kept, garbage) = (tree(1, 200, 60_000), tree(2, 200, 60_000));
    let direct = tree(3, 3, 100);
    for blocks in [&kept, &garbage, &direct] {
        repo.blocks().put(blocks.to_vec()).await.unwrap();
    }
    let local = repo.blocks();
    repo.pin(&kept[200].cid, &local, PinOptions::default()).await.unwrap();
    let options = PinOptions { kind: PinKind::Direct, ..PinOptions::default() };
    repo.pin(&direct[3].cid, &local, options).await.unwrap();
    let before = repo.stat().await.unwrap();

    let report = repo.gc().await.unwrap();
    assert_eq!((report.blocks_deleted, report.blocks_kept), (201 + 3, 202));
    assert!(report.bytes_freed > 10_000_000, "{report:?}");
    let after = repo.stat().await.unwrap();
    assert!(after.used < before.used - 10_000_000 && after.used > 12_000_000, "{before:?} {after:?}");
    for round in 0..2 {
        assert_eq!(present(&repo, &kept).await, 201, "{round}");
        assert_eq!(present(&repo, &garbage).await, 0, "{round}");
        assert_eq!(present(&repo, &direct).await, 1, "{round}");
        assert_eq!(repo.gc().await.unwrap().blocks_deleted, 0, "{round}");
    }
    drop((local, repo));
    let repo = open(dir.path());
    assert_eq!(present(&repo, &kept).await, 201, "after a restart");
    assert_eq!(present(&repo, &garbage).await, 0, "what was collected does not come back");
    assert_eq!(repo.verify(OnCorrupt::Report).await.unwrap().blocks, 202);

    repo.unpin(&kept[200].cid, None).await.unwrap();
    repo.unpin(&direct[3].cid, None).await.unwrap();
    repo.gc().await.unwrap();
    assert_eq!(repo.stat().await.unwrap().blocks, 0);
    assert!(repo.stat().await.unwrap().used < 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_blocks_between_garbage_are_moved_together() {
    let dir = tempfile::tempdir().unwrap();
    let repo = open(dir.path());
    // Ten garbage blocks for each one that stays, too narrow to punch out.
    let kept = tree(1, 1000, 1000);
    for (i, block) in kept.iter().enumerate() {
        let garbage = (0..10).map(|j| leaf(9_000_000 + i as u64 * 10 + j, 1000)).collect();
        repo.blocks().put(garbage).await.unwrap();
        repo.blocks().put(vec![block.clone()]).await.unwrap();
    }
    let local = repo.blocks();
    repo.pin(&kept[1000].cid, &local, PinOptions::default()).await.unwrap();
    // A file descriptor taken before the move goes on working.
    let Some(Location::File { file, offset, len }) = local.locate(&kept[7].cid).await.unwrap() else {
        panic!("a synced block is in a file");
    };
    let report = repo.gc().await.unwrap();
    assert_eq!(report.blocks_deleted, 10_010);
    assert!(report.bytes_moved >= 1_000_000, "{report:?}");
    assert!(repo.stat().await.unwrap().used < 4_000_000, "{:?}", repo.stat().await);
    assert_eq!(present(&repo, &kept).await, 1001);
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, offset).unwrap();
    assert_eq!(bytes, kept[7].data);
    drop((local, repo));
    assert_eq!(present(&open(dir.path()), &kept).await, 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_keep_what_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let repo = open(dir.path());
    let old = tree(1, 10, 100);
    repo.blocks().put(old.clone()).await.unwrap();
    let touched = leaf(5, 100);
    repo.blocks().put(vec![touched.clone(), leaf(6, 100)]).await.unwrap();
    repo.blocks().sync().await.unwrap();

    let lease = repo.lease("a job");
    assert_eq!(repo.stat().await.unwrap().leases, ["a job"]);
    lease.protect(old[10].cid);
    // Put again although it lies there as garbage: the add relies on it.
    lease.store().put(vec![touched.clone()]).await.unwrap();
    let fetched = tree(2, 10, 100);
    repo.blocks().put(fetched.clone()).await.unwrap();

    let report = repo.gc().await.unwrap();
    assert_eq!(report.blocks_deleted, 1, "only the block that nobody claimed");
    assert_eq!(present(&repo, &old).await, 11);
    assert_eq!(present(&repo, &fetched).await, 11);
    assert_eq!(present(&repo, &[touched]).await, 1);

    drop(lease);
    assert_eq!(repo.gc().await.unwrap().blocks_deleted, 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_pins_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let repo = open(dir.path());
    let blocks = tree(1, 5, 10);
    repo.blocks().put(blocks.clone()).await.unwrap();
    let local = repo.blocks();
    let past = PinOptions { name: "job".into(), expires: Some(now() - 1), ..PinOptions::default() };
    repo.pin(&blocks[5].cid, &local, past).await.unwrap();
    assert!(!repo.is_pinned(&blocks[5].cid).await.unwrap());
    assert_eq!(repo.pins().await.unwrap(), []);
    let report = repo.gc().await.unwrap();
    assert_eq!((report.pins_expired, report.blocks_deleted), (1, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_beside_adds_and_pins_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Arc::new(open(dir.path()));
    let options = import::ImportOptions::default();
    let until = Instant::now() + Duration::from_secs(3);
    let adders = (0..4u64).map(|adder| {
        let (repo, options) = (repo.clone(), options.clone());
        tokio::spawn(async move {
            let mut roots = Vec::new();
            let mut round = 0u64;
            while Instant::now() < until {
                round += 1;
                let lease = repo.lease("add");
                // Half of the content is the same for everybody, and garbage now and then.
                let mut data = vec![(round % 5) as u8; 1 << 20];
                data.extend((adder * 1000 + round).to_le_bytes().repeat(20_000));
                let imported = import::bytes(&lease.store(), data, &options).await.unwrap();
                let pin = PinOptions { name: format!("{adder}-{round}"), ..PinOptions::default() };
                repo.pin_leased(&imported.root, &lease, pin).await.unwrap();
                drop(lease);
                if round.is_multiple_of(3) {
                    assert_eq!(
                        repo.unpin(&imported.root, Some(&format!("{adder}-{round}"))).await.unwrap(),
                        1
                    );
                } else {
                    roots.push(imported.root);
                }
            }
            roots
        })
    });
    let adders: Vec<_> = adders.collect();
    let mut collections = 0;
    while Instant::now() < until {
        repo.gc().await.unwrap();
        collections += 1;
    }
    let mut roots = 0;
    for adder in adders {
        roots += adder.await.unwrap().len();
    }
    let report = repo.verify(OnCorrupt::Report).await.unwrap();
    assert_eq!(report.incomplete, [], "after {collections} collections beside {roots} adds");
    assert_eq!(report.corrupt, []);
    assert!(collections > 1 && roots > 4, "{collections} {roots}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_block_is_reported_never_served_and_can_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = tree(1, 20, 3000);
    let root = blocks[20].cid;
    let repo = open(dir.path());
    repo.pin(&root, &Remote::with(&blocks), PinOptions::default()).await.unwrap();
    let Some(Location::File { offset, .. }) = repo.blocks().locate(&blocks[4].cid).await.unwrap() else {
        panic!("a pinned block is in a file");
    };
    let segment = dir.path().join("segments/00000001.seg");
    let file = OpenOptions::new().write(true).open(segment).unwrap();
    file.write_all_at(b"rot", offset + 1000).unwrap();

    let error = repo.blocks().get(&blocks[4].cid).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { cid } if cid == blocks[4].cid), "{error}");
    let report = repo.verify(OnCorrupt::Report).await.unwrap();
    assert_eq!((report.blocks, report.corrupt.as_slice()), (21, &[blocks[4].cid][..]));
    assert_eq!(report.incomplete, []);

    let report = repo.verify(OnCorrupt::Drop).await.unwrap();
    assert_eq!(report.dropped, 1);
    assert_eq!(report.incomplete.len(), 1);
    assert!(report.incomplete[0].reason.contains(&blocks[4].cid.to_string()), "{report:?}");

    let summary = repo.pin(&root, &Remote::with(&blocks), PinOptions::default()).await.unwrap();
    assert_eq!(summary.fetched, 1);
    let report = repo.verify(OnCorrupt::Report).await.unwrap();
    assert_eq!((report.corrupt.len(), report.incomplete.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pin_stops_the_collection_before_anything_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let repo = open(dir.path());
    let below = tree(1, 5, 100);
    let top = node(&[below[5].cid]);
    let garbage = leaf(77, 100);
    let mut all = below.clone();
    all.extend([top.clone(), garbage.clone()]);
    repo.pin(&top.cid, &Remote::with(&all), PinOptions::default()).await.unwrap();
    repo.blocks().put(vec![garbage.clone()]).await.unwrap();
    repo.blocks().delete(&below[5].cid).await.unwrap();

    let error = repo.gc().await.unwrap_err();
    assert!(matches!(error, GcError::DamagedPin { root, .. } if root == top.cid), "{error}");
    assert_eq!(present(&repo, &below[..5]).await, 5, "what the hole hides is still there");
    assert_eq!(present(&repo, &[garbage]).await, 1);

    repo.pin(&top.cid, &Remote::with(&all), PinOptions::default()).await.unwrap();
    assert_eq!(repo.gc().await.unwrap().blocks_deleted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_a_hundred_thousand_blocks_is_pinned_and_collected() {
    let dir = tempfile::tempdir().unwrap();
    let repo = open(dir.path());
    let mut chain = vec![leaf(1, 8)];
    for _ in 0..100_000 {
        let next = node(&[chain.last().unwrap().cid]);
        chain.push(next);
    }
    let root = chain.last().unwrap().cid;
    repo.blocks().put(chain).await.unwrap();
    let local = repo.blocks();
    let summary = repo.pin(&root, &local, PinOptions::default()).await.unwrap();
    assert_eq!(summary.blocks, 100_001);
    assert_eq!(repo.gc().await.unwrap().blocks_kept, 100_001);
    repo.unpin(&root, None).await.unwrap();
    assert_eq!(repo.gc().await.unwrap().blocks_deleted, 100_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_limit_is_an_error_that_collection_resolves() {
    let dir = tempfile::tempdir().unwrap();
    let disk = DiskOptions { limit: 5 << 20, ..DiskOptions::default() };
    let repo = Repo::open(dir.path(), RepoOptions { disk, ..RepoOptions::default() }).unwrap();
    let kept = leaf(1, 1 << 20);
    let local = repo.blocks();
    local.put(vec![kept.clone()]).await.unwrap();
    repo.pin(&kept.cid, &local, PinOptions::default()).await.unwrap();
    let mut refused = None;
    for seed in 2..20 {
        if let Err(error) = local.put(vec![leaf(seed, 1 << 20)]).await {
            refused = Some(error);
            break;
        }
        local.sync().await.unwrap();
    }
    let refused = refused.expect("the limit is enforced");
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("adit repo gc"), "{refused}");
    assert!(repo.stat().await.unwrap().used <= 5 << 20);
    assert_eq!(local.get(&kept.cid).await.unwrap().unwrap(), kept.data);
    repo.gc().await.unwrap();
    local.put(vec![leaf(50, 1 << 20)]).await.unwrap();
    local.sync().await.unwrap();
    assert_eq!(present(&repo, &[kept]).await, 1);
}
