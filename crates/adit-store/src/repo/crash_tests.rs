//! Power loss and kills at every single disk operation of a small life of a repo, and full disks.
//! What was acknowledged is there afterwards, what was not is there whole or not at all.

use std::sync::Arc;

use adit_unixfs::{Block, block::RAW};
use cid::Cid;

use super::{ballast::Ballast, *};
use crate::{disk::SimulatedDisk, import};

fn open(disk: &SimulatedDisk) -> Result<Repo, StoreError> {
    let options = RepoOptions { disk: DiskOptions { reserve: 0, ..DiskOptions::default() }, backend: None };
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
            repo.unpin(&root, None).await.ok()?;
        }
        if round > 0 {
            // From here on nobody promises what is not pinned.
            promised.blocks.clear();
            repo.gc().await.ok()?;
        }
    }
    Some(())
}

/// What a restart on this disk finds, compared with what was promised.
async fn check(disk: &SimulatedDisk, promised: &Promised) -> Result<(), String> {
    let repo = open(disk).map_err(|error| format!("does not open: {error}"))?;
    let store = repo.blocks();
    for block in &promised.blocks {
        let found = store.get(&block.cid).await.map_err(|error| error.to_string())?;
        if found.as_ref() != Some(&block.data) {
            return Err(format!("a synced block is lost: {}", block.cid));
        }
    }
    for (root, content) in &promised.pins {
        if !repo.is_pinned(root).await.map_err(|error| error.to_string())? {
            return Err("a pin is lost".into());
        }
        let found = crate::export::read(&store, root, 1 << 20).await.map_err(|error| error.to_string())?;
        if found != content[..] {
            return Err("a pinned file changed".into());
        }
    }
    let report = repo.verify(OnCorrupt::Report).await.map_err(|error| error.to_string())?;
    if !report.corrupt.is_empty() || !report.incomplete.is_empty() {
        return Err(format!("the index names what is not there, or there is half a pin: {report:?}"));
    }
    // And life goes on.
    life(&repo, &mut Promised::default()).await.ok_or("does not work afterwards")?;
    let report = repo.verify(OnCorrupt::Report).await.map_err(|error| error.to_string())?;
    if !report.corrupt.is_empty() || !report.incomplete.is_empty() {
        return Err(format!("later: {report:?}"));
    }
    Ok(())
}

/// A life on a disk whose power goes at an operation, and what it had promised by then.
async fn cut_short(disk: &SimulatedDisk, at: u64) -> Promised {
    disk.crash_at(at);
    let mut promised = Promised::default();
    if let Ok(repo) = open(disk) {
        life(&repo, &mut promised).await;
    }
    promised
}

/// How many operations a whole life takes.
async fn operations() -> u64 {
    let disk = SimulatedDisk::default();
    let repo = open(&disk).unwrap();
    life(&repo, &mut Promised::default()).await.expect("the disk works");
    drop(repo);
    let operations = disk.operations();
    assert!(operations > 100, "{operations} operations are too few to mean anything");
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn power_loss_at_every_operation_loses_nothing_acknowledged() {
    for at in 1..=operations().await {
        let disk = SimulatedDisk::default();
        let promised = cut_short(&disk, at).await;
        for seed in [at, at ^ 0xffff] {
            let found = check(&disk.after_power_loss(seed), &promised).await;
            found.unwrap_or_else(|what| panic!("power loss at {at}, seed {seed}: {what}"));
        }
        if at.is_multiple_of(4) {
            let found = check(&disk.after_kill(), &promised).await;
            found.unwrap_or_else(|what| panic!("kill at {at}: {what}"));
        }
    }
}

/// The test above is worth something: on a disk that ignores syncs it finds losses.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_lies_about_syncs_is_found_out() {
    let mut losses = 0;
    for at in (20..=operations().await).step_by(7) {
        let disk = SimulatedDisk::default();
        disk.lie();
        let promised = cut_short(&disk, at).await;
        losses += u32::from(check(&disk.after_power_loss(at), &promised).await.is_err());
    }
    assert!(losses > 5, "only {losses} losses were noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_collection_makes_room() {
    let disk = SimulatedDisk::default();
    let options =
        RepoOptions { disk: DiskOptions { reserve: 3 << 20, ..DiskOptions::default() }, backend: None };
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
    let promised = Promised { blocks: vec![kept], ..Promised::default() };
    disk.set_capacity(None);
    check(&disk.after_power_loss(7), &promised).await.unwrap();
}
