//! Power loss and kills at every single disk operation of a small life of a repo, and full disks.
//! What was acknowledged is there afterwards, what was not is there whole or not at all.

use std::sync::Arc;

use adit_unixfs::{Block, block::RAW};

use super::{ballast::Ballast, *};
use crate::{disk::SimulatedDisk, import};

fn open(disk: &SimulatedDisk) -> Result<Repo, StoreError> {
    let options = RepoOptions { disk: DiskOptions { reserve: 0, ..DiskOptions::default() } };
    Repo::open_on(Arc::new(disk.clone()), options, Ballast::none(), None)
}

fn blocks(seed: u8, sizes: &[usize]) -> Vec<Block> {
    let block = |(i, size): (usize, &usize)| Block::new(RAW, vec![seed.wrapping_mul(31) ^ i as u8; *size]);
    sizes.iter().enumerate().map(block).collect()
}

/// What the repo has promised so far.
#[derive(Default)]
struct Promised {
    /// Synced, and not given up since.
    blocks: Vec<Block>,
    /// Pinned, with content.
    pins: Vec<(Cid, Vec<u8>)>,
    /// Unpinned: may be there or not.
    unpinned: Vec<Cid>,
}

/// Adds, syncs, pins, unpins and collects, until the disk stops working.
async fn life(repo: &Repo, promised: &mut Promised) -> Option<()> {
    let store = repo.blocks();
    let options = import::ImportOptions::default();
    for round in 0..3u8 {
        let loose = blocks(round * 3 + 1, &[10, 5000, 70_000]);
        store.put(loose.clone()).await.ok()?;
        store.sync().await.ok()?;
        promised.blocks.extend(loose);

        let content: Vec<u8> = (0..300_000u32).map(|i| (i / 3) as u8 ^ round).collect();
        let lease = repo.lease("add");
        let imported = import::bytes(&lease.store(), content.clone(), &options).await.ok()?;
        repo.pin_leased(&imported.root, &lease, PinOptions::default()).await.ok()?;
        promised.pins.push((imported.root, content));
        drop(lease);

        // Small ones, so that a segment has many narrow gaps.
        let many: Vec<_> = (0..40u8).flat_map(|i| blocks(100 + round * 40 + i, &[700])).collect();
        store.put(many.clone()).await.ok()?;
        store.sync().await.ok()?;
        promised.blocks.extend(many);

        if round == 1 {
            let (root, _) = promised.pins.remove(0);
            promised.unpinned.push(root);
            repo.unpin(&root, None).ok()?;
        }
        if round > 0 {
            // From here on nobody promises what is not pinned.
            promised.blocks.clear();
            repo.gc().await.ok()?;
        }
    }
    Some(())
}

async fn check(disk: &SimulatedDisk, promised: &Promised, what: &str) {
    let repo = open(disk).unwrap_or_else(|error| panic!("{what}: does not open: {error}"));
    let store = repo.blocks();
    for block in &promised.blocks {
        let found = store.get(&block.cid).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found.as_ref(), Some(&block.data), "{what}: a synced block is lost");
    }
    for (root, content) in &promised.pins {
        assert!(repo.is_pinned(root).unwrap(), "{what}: a pin is lost");
        let found = crate::export::read(&store, root, 1 << 20).await;
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(found == content[..], "{what}: a pinned file changed");
    }
    let report = repo.verify(OnCorrupt::Report).await.unwrap();
    assert_eq!(report.corrupt, [], "{what}: the index names blocks that are not there");
    assert_eq!(report.incomplete, [], "{what}: half a pin");
    // And life goes on.
    let mut more = Promised::default();
    life(&repo, &mut more).await.unwrap_or_else(|| panic!("{what}: does not work afterwards"));
    assert_eq!(repo.verify(OnCorrupt::Report).await.unwrap().incomplete, [], "{what}: later");
}

#[tokio::test(flavor = "multi_thread")]
async fn power_loss_at_every_operation_loses_nothing_acknowledged() {
    let whole = SimulatedDisk::default();
    let repo = open(&whole).unwrap();
    life(&repo, &mut Promised::default()).await.expect("the disk works");
    drop(repo);
    let operations = whole.operations();
    assert!(operations > 100, "{operations} operations are too few to mean anything");

    for at in 1..=operations {
        let disk = SimulatedDisk::default();
        disk.crash_at(at);
        let mut promised = Promised::default();
        if let Ok(repo) = open(&disk) {
            life(&repo, &mut promised).await;
        }
        for seed in [at, at ^ 0xffff] {
            check(&disk.after_power_loss(seed), &promised, &format!("power loss at {at}, seed {seed}")).await;
        }
        if at.is_multiple_of(4) {
            check(&disk.after_kill(), &promised, &format!("kill at {at}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_collection_makes_room() {
    let disk = SimulatedDisk::default();
    let options = RepoOptions { disk: DiskOptions { reserve: 3 << 20, ..DiskOptions::default() } };
    let repo = Repo::open_on(Arc::new(disk.clone()), options, Ballast::none(), None).unwrap();
    let store = repo.blocks();
    let kept = blocks(1, &[500_000]).remove(0);
    store.put(vec![kept.clone()]).await.unwrap();
    repo.pin(&kept.cid, &store, PinOptions::default()).await.unwrap();
    let capacity = disk.used() + (6 << 20);
    disk.set_capacity(Some(capacity));

    let mut synced = vec![kept.clone()];
    let error = loop {
        let next = blocks(synced.len() as u8 + 1, &[400_000]).remove(0);
        let put = store.put(vec![next.clone()]).await;
        match if put.is_ok() { store.sync().await } else { put } {
            Ok(()) => synced.push(next),
            Err(error) => break error,
        }
        assert!(synced.len() < 100, "the disk never fills up");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(synced.len() > 3);
    for block in &synced {
        assert_eq!(store.get(&block.cid).await.unwrap().as_ref(), Some(&block.data), "reads go on");
    }
    let error = store.put(blocks(200, &[400_000])).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");

    repo.gc().await.unwrap();
    store.sync().await.unwrap();
    store.put(blocks(201, &[400_000])).await.unwrap();
    store.sync().await.unwrap();
    assert_eq!(store.get(&kept.cid).await.unwrap().unwrap(), kept.data);
    drop((store, repo));
    check(&disk.after_power_loss(7), &Promised { blocks: vec![kept], ..Promised::default() }, "later").await;
}
