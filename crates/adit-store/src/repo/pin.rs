//! Pinning: fetch what is missing, keep it by a lease meanwhile, record the pin last.
//!
//! The record is what makes a pin, and it is committed after everything below the root is
//! durable: a crash leaves either the whole pin or none.

use adit_unixfs::{Block, block::RAW, links};
use cid::Cid;
use futures::{StreamExt, stream::FuturesUnordered};

use super::{
    Repo,
    lease::{BlockSet, Lease},
    pins::{Pin, PinKind, now},
};
use crate::{BlockSource, BlockStore, SourceError, StoreError, key::BlockKey};

/// Blocks asked for at a time.
const IN_FLIGHT: usize = 64;

/// How to pin.
#[derive(Debug, Clone)]
pub struct PinOptions {
    pub kind: PinKind,
    /// See [`Pin::name`].
    pub name: String,
    /// Unix seconds; the pin stops counting then.
    pub expires: Option<u64>,
    /// The most blocks that one pin may cover; each costs some 20 bytes of memory meanwhile.
    pub max_blocks: u64,
}

impl Default for PinOptions {
    fn default() -> Self {
        Self { kind: PinKind::Recursive, name: String::new(), expires: None, max_blocks: 1 << 26 }
    }
}

/// What a pin covers. All zeros where a backend held the whole of it: nobody counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PinSummary {
    pub blocks: u64,
    /// How many of them were not here before.
    pub fetched: u64,
    pub bytes_fetched: u64,
}

/// A pin was not made. Nothing of it is recorded; what was fetched is garbage until the next try.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot pin below {cid}: {reason}")]
    Links { cid: Cid, reason: String },
    #[error("the tree below {root} has more than {limit} blocks")]
    TooManyBlocks { root: Cid, limit: u64 },
}

impl Repo {
    /// Pins `root`: fetches what is missing from `source`, makes it durable, records the pin.
    pub async fn pin(
        &self,
        root: &Cid,
        source: &dyn BlockSource,
        options: PinOptions,
    ) -> Result<PinSummary, PinError> {
        let lease = self.lease(format!("pin {root}"));
        lease.protect(*root);
        if let Some(keeper) = self.keeper() {
            let PinOptions { kind, name, .. } = &options;
            // Most often it holds all or nothing, and can say so faster than we can look.
            if self.is_kept(keeper, root, *kind).await?
                || keeper.pin(root, *kind, name).await.map_err(StoreError::from)?
            {
                self.record(root, options).await?;
                return Ok(PinSummary::default());
            }
        }
        let summary = self.complete(root, source, &options, &lease).await?;
        self.record(root, options).await?;
        Ok(summary)
    }

    /// Pins what was put, as a whole, through the store of a lease that still lives: an import.
    pub async fn pin_leased(&self, root: &Cid, lease: &Lease, options: PinOptions) -> Result<(), StoreError> {
        lease.touch([root]);
        self.record(root, options).await
    }

    async fn record(&self, root: &Cid, options: PinOptions) -> Result<(), StoreError> {
        // Against a pin of the same root that ends meanwhile.
        let _alone = self.pinning_of(root).lock().await;
        let in_backend = match self.keeper() {
            None => self.blocks.sync().await.map(|()| false)?,
            Some(keeper) if self.is_kept(keeper, root, options.kind).await? => true,
            Some(keeper) => self.hand_over(keeper, root, &options).await.map(|()| true)?,
        };
        let PinOptions { kind, name, expires, .. } = options;
        self.pins.add(&Pin { cid: *root, kind, name, created: now(), expires, in_backend })?;
        if !in_backend {
            self.leases.pinned(*root);
        }
        Ok(())
    }

    /// Sees to it that everything the pin covers is in the store.
    async fn complete(
        &self,
        root: &Cid,
        source: &dyn BlockSource,
        options: &PinOptions,
        lease: &Lease,
    ) -> Result<PinSummary, PinError> {
        // What a backend holds and does not keep may be gone tomorrow, so what is pinned lies here.
        let unkept = self.blocks.below.is_some() && self.keeper().is_none();
        let store = if unkept { lease.own_store() } else { lease.store() };
        // Noted when linked to, not when walked: nodes that link to the same ones all over do not fill the stack.
        let mut seen = BlockSet::default();
        let mut stack = Vec::new();
        if let Some(key) = BlockKey::of(root) {
            seen.insert(&key);
            stack.push(*root);
        }
        let mut under_way = FuturesUnordered::new();
        let mut summary = PinSummary::default();
        loop {
            let first_new = stack.len().saturating_sub(IN_FLIGHT - under_way.len().min(IN_FLIGHT));
            for cid in stack.split_off(first_new).into_iter().rev() {
                under_way.push(ensure(&*store, source, cid, options.kind));
            }
            let Some(done) = under_way.next().await else { if stack.is_empty() { break } else { continue } };
            let Ensured { children, fetched } = done?;
            summary.blocks += 1;
            if let Some(bytes) = fetched {
                summary.fetched += 1;
                summary.bytes_fetched += bytes;
            }
            source.prefetch(&children[..children.len().min(IN_FLIGHT * 4)]);
            // The first child ends up on top, so that trees are walked in their own order.
            let new = |cid: &Cid| BlockKey::of(cid).is_some_and(|key| seen.insert(&key));
            stack.extend(children.into_iter().rev().filter(new));
            if seen.len() as u64 > options.max_blocks {
                return Err(PinError::TooManyBlocks { root: *root, limit: options.max_blocks });
            }
        }
        Ok(summary)
    }
}

struct Ensured {
    children: Vec<Cid>,
    /// Its length, where it was fetched.
    fetched: Option<u64>,
}

/// Sees to it that one block is in the store, and says what is below it.
async fn ensure(
    store: &dyn BlockStore,
    source: &dyn BlockSource,
    cid: Cid,
    kind: PinKind,
) -> Result<Ensured, PinError> {
    let leaf = cid.codec() == RAW || kind == PinKind::Direct;
    let here = if leaf && store.has(&cid).await? {
        return Ok(Ensured { children: Vec::new(), fetched: None });
    } else {
        match store.get(&cid).await {
            Ok(here) => here,
            // Fetched again and put in its place.
            Err(StoreError::Corrupt { .. }) => {
                store.delete(&cid).await?;
                None
            }
            Err(error) => return Err(error.into()),
        }
    };
    let (data, fetched) = match here {
        Some(data) => (data, None),
        None => {
            let data = source.block(&cid).await?;
            let len = data.len() as u64;
            store.put(vec![Block { cid, data: data.clone() }]).await?;
            (data, Some(len))
        }
    };
    let children = match leaf {
        true => Vec::new(),
        false => links(&cid, &data).map_err(|error| PinError::Links { cid, reason: error.to_string() })?,
    };
    Ok(Ensured { children, fetched })
}
