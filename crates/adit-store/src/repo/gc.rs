//! Garbage collection: everything that no pin and no lease keeps is deleted.
//!
//! It runs beside adds, pins, jobs and reads. What is appended after it began is never looked
//! at; what was there before and is claimed meanwhile is spared, because a claim and a deletion
//! of the same block are put in order by the leases' lock (see [`Spare`](crate::disk::Spare)).
//! A crash at any moment leaves the repo sound: deletions are commits of the index, and space is
//! freed only after them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use cid::Cid;

use super::{
    Repo,
    lease::BlockSet,
    mark::{Holes, MarkError, mark},
    pins::{Pin, PinKind, now},
};
use crate::{
    StoreError,
    disk::{LogPosition, free_garbage, is_before},
    key::BlockKey,
};

/// Index entries looked at, and at most deleted, in one step. Adds wait that long.
const STEP: usize = 128 << 10;

/// A collection stopped. Nothing that is pinned was deleted.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// A pin's tree has a hole that could hide blocks, so nobody can say what is garbage.
    #[error(
        "the pin of {root} is damaged ({reason}); `adit pin add` fetches it again, `adit pin rm` gives it up"
    )]
    DamagedPin { root: Cid, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    pub blocks_deleted: u64,
    pub blocks_kept: u64,
    pub pins_expired: u64,
    /// Disk space that was given back.
    pub bytes_freed: u64,
    /// Bytes of live blocks that were moved together.
    pub bytes_moved: u64,
    pub elapsed: Duration,
}

impl Repo {
    /// Deletes everything that neither a pin nor a lease keeps, and gives its space back.
    pub async fn gc(&self) -> Result<GcReport, GcError> {
        let _alone = self.upkeep.lock().await;
        let started = Instant::now();
        if self.medium.free_bytes().is_ok_and(|free| free < self.blocks.disk.reserve()) {
            self.ballast.drop_overboard();
        }
        let result = self.collect().await;
        self.ballast.load();
        // There may be room now for what had to wait; then the store takes more again.
        let settled = self.blocks.disk.shared().on_writer(|writer| writer.settle_what_fits()).await;
        if let Ok(Err(error)) | Err(error) = settled {
            tracing::warn!(%error, "what waited for room could not be written");
        }
        result.map(|report| GcReport { elapsed: started.elapsed(), ..report })
    }

    async fn collect(&self) -> Result<GcReport, GcError> {
        let shared = self.blocks.disk.shared().clone();
        // From here on nothing that a lease touches is forgotten.
        let collection = self.leases.begin_collection();
        let claims = collection.snapshot();
        let horizon = shared
            .on_writer(|writer| {
                // On a full disk what is buffered stays buffered, and is not looked at.
                writer.settle_what_fits().map(|()| writer.position())
            })
            .await??;
        let horizon = claims.oldest.map_or(horizon, |oldest| oldest.min(horizon));

        // The pins are read after the horizon: one that came before covers blocks before it.
        let (expired, pins): (Vec<_>, Vec<_>) = {
            let now = now();
            self.pins.all()?.into_iter().partition(|pin| pin.is_expired(now))
        };
        for root in expired.iter().filter(|pin| pin.in_backend).map(|pin| pin.cid).collect::<HashSet<_>>() {
            let now = now();
            self.let_go(&root, |pin| pin.in_backend && pin.is_expired(now)).await?;
        }
        self.pins.remove_all(&expired)?;
        // What the backend keeps need not stay here as well.
        let pins = pins.into_iter().filter(|pin| !pin.in_backend).collect();
        let mut marked = self.mark_pins(pins).await?;
        marked = self.mark_loose(claims.roots, marked).await?;

        let mut report = GcReport { pins_expired: expired.len() as u64, ..GcReport::default() };
        let mut after = None;
        loop {
            marked = self.mark_loose(collection.take_late_roots(), marked).await?;
            let step = Step { after, horizon };
            let (page, back) = self.look(step, marked).await?;
            marked = back;
            let Some(last) = page.last else { break };
            let wanted = page.victims.len() as u64;
            let leases = self.leases.clone();
            let deleted =
                shared.on_writer(move |writer| writer.remove(page.victims, || leases.hold_still())).await??;
            report.blocks_deleted += deleted;
            if deleted < wanted && self.leases.has_late_roots() {
                // Everything was spared for a root that came in between: mark it, look again.
                continue;
            }
            after = Some(last);
        }
        drop(collection);
        if let Some(keeper) = self.keeper() {
            report.blocks_deleted += keeper.collect().await.map_err(StoreError::from)?;
        }
        report.blocks_kept = self.blocks.disk.count().await?;
        let freed = free_garbage(&shared).await?;
        report.bytes_freed = freed.bytes;
        report.bytes_moved = freed.bytes_moved;
        Ok(report)
    }

    /// Marks below all pins; a damaged one is found out and named.
    async fn mark_pins(&self, pins: Vec<Pin>) -> Result<BlockSet, GcError> {
        let (recursive, direct): (Vec<_>, Vec<_>) =
            pins.into_iter().partition(|pin| pin.kind == PinKind::Recursive);
        let roots: Vec<_> = recursive.into_iter().map(|pin| pin.cid).collect();
        let shared = self.blocks.disk.shared().clone();
        blocking(move || {
            let mut marked = match mark(&shared, roots.clone(), Holes::Refuse, BlockSet::default()) {
                Ok(marked) => marked,
                Err(MarkError::Store(error)) => return Err(GcError::Store(error)),
                Err(MarkError::Hole(hole)) => {
                    // Whose hole it is takes a walk of each.
                    let damaged =
                        |root: &Cid| mark(&shared, vec![*root], Holes::Refuse, BlockSet::default()).is_err();
                    let root = roots.iter().copied().find(damaged);
                    return Err(GcError::DamagedPin {
                        root: root.unwrap_or(hole.cid()),
                        reason: hole.to_string(),
                    });
                }
            };
            // Only now: a direct pin's links do not count, those of the same block further
            // down a recursive pin do.
            for key in direct.iter().filter_map(|pin| BlockKey::of(&pin.cid)) {
                marked.insert(&key);
            }
            Ok(marked)
        })
        .await
    }

    /// Marks what is there below roots whose trees may be incomplete.
    async fn mark_loose(&self, roots: Vec<Cid>, marked: BlockSet) -> Result<BlockSet, GcError> {
        if roots.is_empty() {
            return Ok(marked);
        }
        let shared = self.blocks.disk.shared().clone();
        blocking(move || match mark(&shared, roots, Holes::Ignore, marked) {
            Err(MarkError::Store(error)) => Err(GcError::Store(error)),
            Err(MarkError::Hole(hole)) => unreachable!("holes are ignored: {hole}"),
            Ok(marked) => Ok(marked),
        })
        .await
    }

    /// The garbage among the next entries of the index.
    async fn look(&self, step: Step, marked: BlockSet) -> Result<(Page, BlockSet), GcError> {
        let shared = self.blocks.disk.shared().clone();
        blocking(move || {
            let entries = shared.index.page(step.after, STEP)?;
            let last = entries.last().map(|(key, _)| *key);
            let garbage =
                |(key, place): &(BlockKey, _)| is_before(place, step.horizon) && !marked.contains(key);
            let victims = entries.into_iter().filter(garbage).collect();
            Ok((Page { last, victims }, marked))
        })
        .await
    }
}

#[derive(Clone, Copy)]
struct Step {
    after: Option<BlockKey>,
    horizon: LogPosition,
}

struct Page {
    /// The last key looked at; `None` at the end of the index.
    last: Option<BlockKey>,
    victims: Vec<(BlockKey, crate::disk::Place)>,
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GcError> + Send + 'static,
) -> Result<T, GcError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| GcError::Store(StoreError::Closed))?
}
