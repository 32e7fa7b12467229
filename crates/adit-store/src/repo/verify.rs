//! Reading everything again: which blocks rotted, and which pins have holes.

use cid::Cid;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Repo,
    lease::BlockSet,
    mark::{Holes, MarkError, mark},
    pins::{PinKind, now},
};
use crate::{BlockStore, StoreError};

/// Index entries per step.
const STEP: usize = 4096;
/// Steps under way: reading one while another is hashed.
const STEPS: usize = 2;

/// What to do with a corrupt block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCorrupt {
    /// List it only.
    Report,
    /// Delete it, so that it can be fetched again.
    Drop,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub blocks: u64,
    pub bytes: u64,
    pub corrupt: Vec<Cid>,
    /// How many of them were deleted.
    pub dropped: u64,
    /// Pins with a hole.
    pub incomplete: Vec<Incomplete>,
}

/// A pin whose tree is not all there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    pub root: Cid,
    pub reason: String,
}

impl Repo {
    /// Reads and hashes every stored block, then walks every pin.
    pub async fn verify(&self, on_corrupt: OnCorrupt) -> Result<VerifyReport, StoreError> {
        let _alone = self.upkeep.lock().await;
        let shared = self.blocks.disk.shared();
        // On a full disk what is buffered is not looked at: nobody was told that it is stored.
        shared.on_writer(|writer| writer.settle_what_fits()).await??;
        let mut report = VerifyReport::default();
        let pages = stream::try_unfold(None, |after| async move {
            let page = self.blocks.disk.index_page(after, STEP).await?;
            let last = page.last().map(|(key, _)| *key);
            Ok::<_, StoreError>(last.map(|last| (page, Some(last))))
        });
        let steps = pages.map_ok(|page| self.blocks.disk.check_page(page)).try_buffered(STEPS);
        // Boxed, because the compiler cannot show an unboxed one to be `Send` for every lifetime, which
        // whoever awaits this in a task needs (rust-lang/rust#100013).
        let mut steps = steps.boxed();
        while let Some(checked) = steps.next().await {
            let checked = checked?;
            report.blocks += checked.blocks;
            report.bytes += checked.bytes;
            report.corrupt.extend(checked.corrupt);
        }
        if on_corrupt == OnCorrupt::Drop {
            for cid in &report.corrupt {
                self.blocks.disk.delete(cid).await?;
                report.dropped += 1;
            }
        }
        report.incomplete = self.incomplete_pins().await?;
        if let Some(keeper) = self.keeper() {
            let there = keeper.verify().await?;
            report.blocks += there.blocks;
            report.corrupt.extend(there.corrupt);
            report.incomplete.extend(there.incomplete);
        }
        Ok(report)
    }

    async fn incomplete_pins(&self) -> Result<Vec<Incomplete>, StoreError> {
        let mut incomplete = Vec::new();
        for pin in self.read_pins().await?.into_iter().filter(|pin| !pin.in_backend && !pin.is_expired(now()))
        {
            let root = pin.cid;
            let reason = match pin.kind {
                PinKind::Direct if self.blocks.disk.has(&root).await? => None,
                PinKind::Direct => Some(format!("block {root} is missing")),
                PinKind::Recursive => {
                    let shared = self.blocks.disk.shared().clone();
                    let walk = move || mark(&shared, vec![root], Holes::RefuseAll, BlockSet::default());
                    match tokio::task::spawn_blocking(walk).await.map_err(|_| StoreError::Closed)? {
                        Ok(_) => None,
                        Err(MarkError::Store(error)) => return Err(error),
                        Err(MarkError::Hole(hole)) => Some(hole.to_string()),
                    }
                }
            };
            incomplete.extend(reason.map(|reason| Incomplete { root, reason }));
        }
        Ok(incomplete)
    }
}
