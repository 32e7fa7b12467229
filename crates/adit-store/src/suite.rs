//! What every block store must do, run over all of them.

use std::{io::Read, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use cid::{Cid, multihash::Multihash};
use futures::TryStreamExt;

use crate::{Block, BlockSource, BlockStore, DiskOptions, DiskStore, Location, MAX_BLOCK_LEN};
use crate::{MemoryStore, SourceError, StoreError};

const RAW: u64 = 0x55;
const DAG_CBOR: u64 = 0x71;

fn block(size: usize, seed: u8) -> Block {
    Block::new(RAW, (0..size).map(|i| (i * 31 + i / 251) as u8 ^ seed).collect::<Vec<_>>())
}

/// Sizes around every boundary that an implementation might have.
const SIZES: [usize; 12] =
    [0, 1, 31, 32, 33, 4000, 4096, 65_536, 65_537, 1 << 20, MAX_BLOCK_LEN - 1, MAX_BLOCK_LEN];

async fn what_is_put_is_read(store: &dyn BlockStore) {
    let blocks: Vec<_> = SIZES.iter().enumerate().map(|(i, size)| block(*size, i as u8)).collect();
    for block in &blocks {
        assert_eq!(store.get(&block.cid).await.unwrap(), None);
        assert!(!store.has(&block.cid).await.unwrap());
        assert_eq!(store.size(&block.cid).await.unwrap(), None);
        assert!(store.locate(&block.cid).await.unwrap().is_none());
    }
    store.put(blocks.clone()).await.unwrap();
    for round in ["buffered", "synced"] {
        for block in &blocks {
            assert_eq!(store.get(&block.cid).await.unwrap().as_ref(), Some(&block.data), "{round}");
            assert!(store.has(&block.cid).await.unwrap(), "{round}");
            assert_eq!(store.size(&block.cid).await.unwrap(), Some(block.data.len() as u64), "{round}");
            assert_eq!(located(store, &block.cid).await, block.data, "{round}");
        }
        // All at once, in their order, with ones between them that are not there and one that carries its data.
        let absent = block(77, 200).cid;
        let inline = Cid::new_v1(RAW, Multihash::wrap(0, b"inline").unwrap());
        let cids: Vec<Cid> = blocks.iter().flat_map(|block| [block.cid, absent]).chain([inline]).collect();
        let sizes = blocks.iter().flat_map(|block| [Some(block.data.len() as u64), None]);
        let sizes: Vec<_> = sizes.chain([Some(6)]).collect();
        assert_eq!(store.sizes(&cids).await.unwrap(), sizes, "{round}");
        store.sync().await.unwrap();
    }
    assert!(store.sizes(&[]).await.unwrap().is_empty());
}

async fn located(store: &dyn BlockStore, cid: &Cid) -> Bytes {
    match store.locate(cid).await.unwrap().expect("located") {
        Location::Inline(bytes) => bytes,
        Location::File { file, offset, len } => {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, offset).unwrap();
            bytes.into()
        }
    }
}

async fn the_codec_does_not_matter(store: &dyn BlockStore) {
    let raw = block(100, 77);
    let cbor = Cid::new_v1(DAG_CBOR, *raw.cid.hash());
    let v0 = Cid::new_v0(*raw.cid.hash()).unwrap();
    store.put(vec![raw.clone()]).await.unwrap();
    for cid in [cbor, v0] {
        assert_eq!(store.get(&cid).await.unwrap().as_ref(), Some(&raw.data));
    }
}

async fn identity_cids_carry_their_bytes(store: &dyn BlockStore) {
    let cid = Cid::new_v1(RAW, Multihash::wrap(0, b"inline").unwrap());
    assert_eq!(store.get(&cid).await.unwrap().unwrap(), "inline");
    assert_eq!(store.size(&cid).await.unwrap(), Some(6));
    store.put(vec![Block { cid, data: Bytes::from_static(b"inline") }]).await.unwrap();
    assert!(matches!(store.locate(&cid).await.unwrap(), Some(Location::Inline(_))));
}

async fn what_cannot_be_kept_is_refused_whole(store: &dyn BlockStore) {
    let good = block(10, 200);
    let large = block(MAX_BLOCK_LEN + 1, 0);
    let error = store.put(vec![good.clone(), large]).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    let blake3 = Cid::new_v1(RAW, Multihash::wrap(0x1e, &[3; 32]).unwrap());
    let error = store.put(vec![good.clone(), Block { cid: blake3, data: Bytes::new() }]).await.unwrap_err();
    assert!(matches!(error, StoreError::UnsupportedCid { .. }), "{error}");
    assert!(!store.has(&good.cid).await.unwrap(), "a refused batch leaves nothing behind");
    assert_eq!(store.get(&blake3).await.unwrap(), None);
}

async fn deleted_is_gone_and_can_come_back(store: &dyn BlockStore) {
    for (size, sync_first) in [(50, false), (50, true), (1 << 20, false), (1 << 20, true)] {
        let block = block(size, 99);
        for _ in 0..2 {
            store.put(vec![block.clone()]).await.unwrap();
            if sync_first {
                store.sync().await.unwrap();
            }
            store.delete(&block.cid).await.unwrap();
            assert_eq!(store.get(&block.cid).await.unwrap(), None);
            assert!(store.locate(&block.cid).await.unwrap().is_none());
            store.delete(&block.cid).await.unwrap();
        }
    }
}

async fn the_list_is_complete_and_without_duplicates(store: &dyn BlockStore) {
    let before: Vec<_> = store.list().try_collect().await.unwrap();
    let new: Vec<_> = (0..3000u32).map(|i| Block::new(RAW, i.to_le_bytes().to_vec())).collect();
    for (i, part) in new.chunks(1000).enumerate() {
        store.put(part.to_vec()).await.unwrap();
        if i == 1 {
            store.sync().await.unwrap();
        }
    }
    let mut listed: Vec<_> = store.list().try_collect().await.unwrap();
    listed.sort_unstable();
    let mut expected: Vec<_> =
        before.into_iter().chain(new.iter().map(|block| (block.cid, block.data.len() as u64))).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

async fn the_same_block_from_many_writers_is_one(store: Arc<dyn BlockStore>) {
    let before = store.list().try_collect::<Vec<_>>().await.unwrap().len();
    let tasks = (0..16).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..50u8 {
                let block = Block::new(RAW, vec![i, 0xab, 0xcd]);
                store.put(vec![block.clone()]).await.unwrap();
                assert_eq!(store.get(&block.cid).await.unwrap().unwrap(), block.data);
                if (i + task) % 8 == 0 {
                    store.sync().await.unwrap();
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(store.list().try_collect::<Vec<_>>().await.unwrap().len(), before + 50);
}

async fn a_store_is_a_source(store: Arc<dyn BlockStore>) {
    let there = block(10, 1);
    let not_there = block(10, 222);
    store.put(vec![there.clone()]).await.unwrap();
    assert_eq!(store.block(&there.cid).await.unwrap(), there.data);
    assert!(
        matches!(store.block(&not_there.cid).await, Err(SourceError::NotFound(cid)) if cid == not_there.cid)
    );
}

async fn everything(store: Arc<dyn BlockStore>) {
    what_is_put_is_read(&*store).await;
    the_codec_does_not_matter(&*store).await;
    identity_cids_carry_their_bytes(&*store).await;
    what_cannot_be_kept_is_refused_whole(&*store).await;
    deleted_is_gone_and_can_come_back(&*store).await;
    the_list_is_complete_and_without_duplicates(&*store).await;
    the_same_block_from_many_writers_is_one(store.clone()).await;
    a_store_is_a_source(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_store() {
    everything(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(DiskStore::open(dir.path(), DiskOptions::default()).unwrap());
    everything(store.clone()).await;
    let listed: Vec<_> = {
        let store: &dyn BlockStore = &*store;
        store.list().try_collect().await.unwrap()
    };
    store.close().await;
    assert!(matches!(store.put(vec![block(1, 1)]).await, Err(StoreError::Closed)));
    drop(store);

    // Everything is there after a restart, and the same suite passes on a store with a past.
    let store: Arc<dyn BlockStore> = Arc::new(DiskStore::open(dir.path(), DiskOptions::default()).unwrap());
    for (cid, len) in listed {
        let data = store.get(&cid).await.unwrap().expect("survived the restart");
        assert_eq!(data.len() as u64, len);
        store.delete(&cid).await.unwrap();
    }
    everything(store).await;
}

#[tokio::test]
async fn disk_store_on_one_thread() {
    let dir = tempfile::tempdir().unwrap();
    everything(Arc::new(DiskStore::open(dir.path(), DiskOptions::default()).unwrap())).await;
}

#[tokio::test]
async fn a_located_file_is_readable_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path(), DiskOptions::default()).unwrap();
    let block = block(100_000, 5);
    store.put(vec![block.clone()]).await.unwrap();
    store.sync().await.unwrap();
    let Some(Location::File { file, .. }) = store.locate(&block.cid).await.unwrap() else {
        panic!("a synced block is in a file");
    };
    assert!(file.write_at(b"x", 0).is_err(), "a guest's host could change blocks");
    assert!((&*file).read(&mut [0; 1]).is_ok());
}

/// Whoever awaits these in a spawned task needs them to be `Send`; this compiles or it does not.
#[allow(dead_code)]
fn futures_are_send(repo: &crate::Repo, store: &Arc<dyn BlockStore>, source: &dyn BlockSource, cid: &Cid) {
    use std::path::Path;

    use crate::{PinOptions, car, export, import};

    fn send<T: Send>(_: T) {}
    let (path, options) = (Path::new(""), import::ImportOptions::default());
    send(import::path(store, path, &options));
    send(import::reader(store, tokio::io::empty(), &options));
    send(import::bytes(store, Vec::new(), &options));
    send(export::resolve(source, &(*cid).into()));
    send(export::ls(source, cid, 1));
    send(export::cat(source, cid, export::Range::ALL));
    send(export::read(source, cid, 1));
    send(export::get(source, cid, path, export::GetOptions::default()));
    send(car::import(&**store, tokio::io::empty()));
    send(repo.pin(cid, source, PinOptions::default()));
    send(repo.gc());
    send(repo.verify(crate::OnCorrupt::Report));
}
