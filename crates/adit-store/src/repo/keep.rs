//! Pins under a backend that keeps: they are made there, and a row here says whose they are.
//!
//! The backend has one pin for each root; here a root may have several, with names and times. So rows are kept for what
//! was pinned through this repo, and the backend's pin goes with the last of them. A pin that somebody else had made there is
//! noted as a row of its own first, so that ours does not take it along. What the backend no longer pins counts
//! no more, whatever a row says: it is the backend's operator who decided that.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use adit_unixfs::{Block, block::RAW, links};
use cid::Cid;
use futures::{StreamExt, stream};

use super::{
    PINNING, PinOptions, Repo,
    lease::BlockSet,
    pins::{Pin, PinKind, now},
};
use crate::{
    BackendFailure, BlockStore, Keeper, KeeperStat, StoreError, backend::BlockStream, key::BlockKey,
    layered::Layered,
};

/// How long a backend that went away in the middle may take to come back before an add or a pin fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often blocks are handed over once more when the keeper then lacks some.
const RETAKE: u32 = 2;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

impl Repo {
    /// The backend below, if it keeps what it is given.
    pub(super) fn keeper(&self) -> Option<&dyn Keeper> {
        self.blocks.below.as_ref().and_then(|below| below.keeper())
    }

    /// Whether the keeper holds a pin that covers this one; notes whose it was.
    pub(super) async fn is_kept(
        &self,
        keeper: &dyn Keeper,
        root: &Cid,
        kind: PinKind,
    ) -> Result<bool, StoreError> {
        let Some(there) = keeper.pinned(root).await? else { return Ok(false) };
        if there.kind != kind && there.kind != PinKind::Recursive {
            return Ok(false);
        }
        if !self.pins.of(root)?.iter().any(|pin| pin.in_backend) {
            self.pins.add(&foreign(there.cid, there.kind, there.name))?;
        }
        Ok(true)
    }

    /// Hands over what of the tree lies here, and has it pinned there. While the backend is away or breaks off, tries
    /// again from the start: it takes the same blocks twice without harm.
    pub(super) async fn hand_over(
        &self,
        keeper: &dyn Keeper,
        root: &Cid,
        options: &PinOptions,
    ) -> Result<(), StoreError> {
        let until = Instant::now() + PATIENCE;
        let mut holes = 0;
        loop {
            let blocks = staged(self.blocks.clone(), *root, options.kind);
            match keeper.take(root, options.kind, blocks).await {
                Ok(()) => break,
                Err(error)
                    if error.failure == BackendFailure::Unreachable && Instant::now() + PAUSE < until =>
                {
                    tracing::debug!(%error, %root, "tried again");
                    tokio::time::sleep(PAUSE).await;
                }
                // It may have collected garbage between taking the blocks and pinning them.
                Err(error) if error.failure == BackendFailure::Incomplete && holes < RETAKE => holes += 1,
                Err(error) => return Err(error.into()),
            }
        }
        if !options.name.is_empty() && !keeper.pin(root, options.kind, &options.name).await? {
            let reason = format!("what was handed over below {root} is gone again");
            return Err(self.complain(BackendFailure::Incomplete, reason));
        }
        Ok(())
    }

    /// Keeps pins and unpins of one root apart.
    pub(super) fn pinning_of(&self, root: &Cid) -> &tokio::sync::Mutex<()> {
        let last = root.hash().digest().last().copied().unwrap_or(0);
        &self.pinning[usize::from(last) % PINNING]
    }

    fn complain(&self, failure: BackendFailure, reason: String) -> StoreError {
        let backend = self.blocks.below.as_ref().map_or("", |below| below.name()).to_owned();
        crate::BackendError { backend, failure, reason }.into()
    }

    /// All pins that have not expired: those recorded here, and those that the backend's other users made.
    ///
    /// # Errors
    /// Where a backend does not answer: part of the pins would look like all of them.
    pub async fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let (now, mut pins) = (now(), self.read_pins().await?);
        pins.retain(|pin| !pin.is_expired(now));
        let Some(keeper) = self.keeper() else { return Ok(pins) };
        let there: HashMap<Cid, _> =
            keeper.pins().await?.into_iter().map(|kept| (kept.cid, (kept.kind, kept.name))).collect();
        pins.retain(|pin| !pin.in_backend || there.contains_key(&pin.cid));
        let known: HashSet<Cid> = pins.iter().filter(|pin| pin.in_backend).map(|pin| pin.cid).collect();
        let others = there.into_iter().filter(|(cid, _)| !known.contains(cid));
        pins.extend(others.map(|(cid, (kind, name))| foreign(cid, kind, name)));
        Ok(pins)
    }

    pub(super) async fn read_pins(&self) -> Result<Vec<Pin>, StoreError> {
        let pins = self.pins.clone();
        tokio::task::spawn_blocking(move || pins.all()).await.map_err(|_| StoreError::Closed)?
    }

    /// The pins of one root that have not expired, by whomever they were made.
    ///
    /// # Errors
    /// As [`Repo::pins`].
    pub async fn pins_of(&self, cid: &Cid) -> Result<Vec<Pin>, StoreError> {
        let (now, pins, root) = (now(), self.pins.clone(), *cid);
        let pins = tokio::task::spawn_blocking(move || pins.of(&root)).await;
        let mut pins = pins.map_err(|_| StoreError::Closed)??;
        pins.retain(|pin| !pin.is_expired(now));
        let Some(keeper) = self.keeper() else { return Ok(pins) };
        let there = keeper.pinned(cid).await?;
        pins.retain(|pin| !pin.in_backend || there.is_some());
        if let Some(kept) = there
            && !pins.iter().any(|pin| pin.in_backend)
        {
            pins.push(foreign(kept.cid, kept.kind, kept.name));
        }
        Ok(pins)
    }

    /// Whether `cid` is the root of a pin.
    pub async fn is_pinned(&self, cid: &Cid) -> Result<bool, StoreError> {
        let now = now();
        let here = self.pins.of(cid)?.iter().any(|pin| !pin.in_backend && !pin.is_expired(now));
        match self.keeper() {
            Some(keeper) if !here => Ok(keeper.pinned(cid).await?.is_some()),
            _ => Ok(here),
        }
    }

    /// Removes pins of a root, durably: the one of this name, or all. How many there were.
    pub async fn unpin(&self, cid: &Cid, name: Option<&str>) -> Result<usize, StoreError> {
        self.let_go(cid, |pin| name.is_none_or(|name| name == pin.name)).await
    }

    pub(super) async fn let_go(&self, cid: &Cid, which: impl Fn(&Pin) -> bool) -> Result<usize, StoreError> {
        let Some(keeper) = self.keeper() else { return self.pins.remove(cid, which) };
        let _alone = self.pinning_of(cid).lock().await;
        let there = keeper.pinned(cid).await?;
        let mut rows = self.pins.of(cid)?;
        if let Some(kept) = &there
            && !rows.iter().any(|pin| pin.in_backend)
        {
            rows.push(foreign(kept.cid, kept.kind, kept.name.clone()));
        }
        let (gone, stay): (Vec<_>, Vec<_>) = rows.into_iter().partition(which);
        let last = gone.iter().any(|pin| pin.in_backend) && !stay.iter().any(|pin| pin.in_backend);
        if last && there.is_some() {
            keeper.unpin(cid).await?;
        }
        self.pins.remove_all(&gone)?;
        Ok(gone.iter().filter(|pin| !pin.in_backend || there.is_some()).count())
    }

    /// The backend's name, and how full it is where it keeps things. `None` without one.
    pub async fn backend_stat(&self) -> Option<(String, Result<Option<KeeperStat>, StoreError>)> {
        let below = self.blocks.below.as_ref()?;
        let stat = match below.keeper() {
            Some(keeper) => keeper.stat().await.map(Some).map_err(StoreError::from),
            None => Ok(None),
        };
        Some((below.name().to_owned(), stat))
    }

    /// Has the backend tell its network of a root; whether there is one that can.
    pub async fn provide_below(&self, root: &Cid) -> Result<bool, StoreError> {
        match self.keeper() {
            Some(keeper) => Ok(keeper.provide(root).await.map(|()| true)?),
            None => Ok(false),
        }
    }
}

/// A pin that was not made through this repo: when, nobody knows.
fn foreign(cid: Cid, kind: PinKind, name: String) -> Pin {
    Pin { cid, kind, name, created: 0, expires: None, in_backend: true }
}

/// The blocks of a tree that lie on the own disk, parents first. What lies below is only read to find the way.
fn staged(blocks: Layered, root: Cid, kind: PinKind) -> BlockStream {
    let walk = (blocks, vec![root], BlockSet::default());
    let steps = stream::try_unfold(walk, move |(blocks, mut stack, mut seen)| async move {
        while let Some(cid) = stack.pop() {
            if !BlockKey::of(&cid).is_some_and(|key| seen.insert(&key)) {
                continue;
            }
            let here = blocks.disk.get(&cid).await?;
            let leaf = cid.codec() == RAW || kind == PinKind::Direct;
            let data = match &here {
                Some(data) => Some(data.clone()),
                None if leaf => None,
                None => blocks.get(&cid).await?,
            };
            if let Some(data) = data.filter(|_| !leaf) {
                // Links that cannot be read are the keeper's to refuse.
                stack.extend(links(&cid, &data).unwrap_or_default().into_iter().rev());
            }
            if let Some(data) = here {
                return Ok(Some((Block { cid, data }, (blocks, stack, seen))));
            }
        }
        Ok(None)
    });
    steps.boxed()
}
