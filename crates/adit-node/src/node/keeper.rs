//! This node as a keeper: one task for each stream on which another node asks for a copy to be kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adit_model::{AccountId, KeepOrder, NodeId, Signed};
use adit_net::{JobStream, node_of};
use adit_store::{BlockSource, PinKind, PinOptions, SourceError};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::shared::Shared;
use crate::clock::unix_seconds;
use crate::deny::GuardedSource;
use crate::host::{Refusal, RefusalKind};
use crate::replicas::giving::{Giving, Kept, Table};
use crate::replicas::message::{FromKeeper, FromOwner};
use crate::replicas::{pin_name, shelf::Shelf};

/// How long an owner's stream may be silent.
const IDLE: Duration = Duration::from_secs(30);
/// Messages taken on one stream.
const MESSAGES: usize = 16;
/// While a copy is fetched, its owner hears of it this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// The longest time for which a copy is promised at once, in seconds.
const LONGEST: u64 = 7 * 86_400;
/// How long one block may take to come.
const BLOCK_PATIENCE: Duration = Duration::from_secs(30);
/// How often what has expired or was unpinned by the operator is struck off.
const TIDY: Duration = Duration::from_secs(15);
/// Room on the disk that copies for others leave alone.
const LEAST_ROOM: u64 = 256 << 20;
/// Blocks that may be on their way beyond those asked for are counted as if each had this many bytes.
const AHEAD: u64 = 1 << 20;

/// What is kept for others.
#[derive(Debug)]
pub(crate) struct Keeping {
    giving: Giving,
    table: Mutex<Table>,
}

impl Keeping {
    pub(crate) fn new(giving: Giving, table: Table) -> Self {
        Keeping { giving, table: Mutex::new(table) }
    }
}

/// A row of the table for as long as its content is being fetched.
struct Reservation<'a> {
    keeping: &'a Keeping,
    key: (Cid, NodeId),
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut table = self.keeping.table.lock();
        if table.get(&self.key).is_some_and(|kept| kept.fetching) {
            table.remove(&self.key);
        }
    }
}

/// Answers one stream.
pub(crate) async fn converse(shared: Arc<Shared>, mut stream: JobStream) {
    stream.set_idle(IDLE);
    let Some(owner) = node_of(&stream.peer()) else { return };
    for _ in 0..MESSAGES {
        let received = tokio::select! {
            received = stream.recv() => received,
            () = shared.stop.cancelled() => return,
        };
        let Ok(Some(bytes)) = received else { break };
        let answer = match FromOwner::decode(&bytes) {
            Ok(FromOwner::Ask { root, bytes, account }) => offer(&shared, owner, root, bytes, account).await,
            Ok(FromOwner::Keep { order }) => keep(&shared, &mut stream, owner, &order).await,
            Ok(FromOwner::Check { root, block, nonce }) => prove(&shared, owner, root, block, nonce).await,
            Ok(FromOwner::Release { root }) => release(&shared, owner, root).await,
            Err(error) => Err(Refusal::new(RefusalKind::Malformed, error.to_string())),
        };
        let malformed = matches!(&answer, Err(refusal) if refusal.kind == RefusalKind::Malformed);
        if let Err(refusal) = &answer {
            tracing::debug!(%owner, reason = %refusal, "no copy is kept");
        }
        let answer = answer.unwrap_or_else(FromKeeper::Refuse).encode();
        if stream.send(&answer).await.is_err() || malformed {
            break;
        }
    }
    let _ = stream.finish().await;
}

async fn offer(
    shared: &Shared,
    owner: NodeId,
    root: Cid,
    bytes: u64,
    account: AccountId,
) -> Result<FromKeeper, Refusal> {
    permitted(shared, &root)?;
    let present = shared.surveyor.survey(&*shared.store, &root).await;
    let have = present.is_ok_and(|presence| presence.is_complete());
    let room = room(shared).await?;
    let table = shared.keeping.table.lock();
    let free = shared.keeping.giving.admit(&owner, &account, bytes, &table, room, unix_seconds())?;
    Ok(FromKeeper::Offer { free, have })
}

fn permitted(shared: &Shared, root: &Cid) -> Result<(), Refusal> {
    if shared.draining.is_cancelled() {
        return Err(Refusal::new(RefusalKind::Draining, "this node is stopping"));
    }
    if shared.denials.now().denies_block(root) {
        let detail = "this node's operator does not keep this content";
        return Err(Refusal::new(RefusalKind::ContentDenied, detail));
    }
    Ok(())
}

/// What the disk has left for others.
async fn room(shared: &Shared) -> Result<u64, Refusal> {
    let stat = shared.repo.stat().await.map_err(|e| Refusal::new(RefusalKind::Disk, e.to_string()))?;
    let room = stat.limit.map_or(stat.free, |limit| limit.saturating_sub(stat.used).min(stat.free));
    Ok(room.saturating_sub(LEAST_ROOM))
}

/// Keeps what is ordered; answers when all of it is here and the pin is durable.
async fn keep(
    shared: &Arc<Shared>,
    stream: &mut JobStream,
    owner: NodeId,
    order: &[u8],
) -> Result<FromKeeper, Refusal> {
    let malformed = |e: String| Refusal::new(RefusalKind::Malformed, e);
    let order = Signed::<KeepOrder>::decode(order).map_err(|e| malformed(e.to_string()))?;
    let order = order.verify().map_err(|e| malformed(e.to_string()))?.into_body();
    if order.owner != owner || order.keeper != shared.me() {
        return Err(malformed("the order is between other nodes".into()));
    }
    permitted(shared, &order.root)?;
    let now = unix_seconds();
    let until = order.until.min(now + LONGEST);
    if until <= now {
        let detail = "the order has expired (are both clocks right?)";
        return Err(Refusal::new(RefusalKind::Expired, detail));
    }
    let (root, key) = (order.root, (order.root, owner));
    // What is here already may be more than the owner says.
    let present = shared.surveyor.survey(&*shared.store, &root).await.map_or(0, |presence| presence.present);
    let bytes = order.bytes.max(present);
    let pinned = pinned(shared, root, owner).await?;
    let room = room(shared).await?;
    {
        let mut table = shared.keeping.table.lock();
        let known = table.get(&key).copied();
        if known.is_some_and(|kept| kept.fetching) {
            return Err(Refusal::new(RefusalKind::Busy, "it is being fetched already"));
        }
        // What is kept for this owner already is not counted beside what it asks for.
        let counted = table.remove(&key);
        let here = if pinned { 0 } else { bytes };
        let admitted = shared.keeping.giving.admit(&owner, &order.account, here, &table, room, now);
        if let Err(refusal) = admitted {
            counted.map(|kept| table.insert(key, kept));
            return Err(refusal);
        }
        table.insert(key, Kept { account: order.account, bytes, until, fetching: true });
    }
    let _reserved = Reservation { keeping: &shared.keeping, key };
    let kept = Kept { account: order.account, bytes, until, fetching: false };
    // Before the pin, so that there is none that nobody has counted.
    on_disk(shared, move |shelf| shelf.put_kept(&key.0, &key.1, &kept)).await?;
    let options = PinOptions {
        kind: PinKind::Recursive,
        name: pin_name(&owner),
        expires: Some(until),
        max_blocks: order.blocks.max(1),
    };
    if pinned {
        let lease = shared.repo.lease("a copy for another node");
        lease.protect(root);
        let failed = |e: adit_store::StoreError| Refusal::new(RefusalKind::Disk, e.to_string());
        shared.repo.pin_leased(&root, &lease, options).await.map_err(failed)?;
    } else {
        fetch(shared, stream, &root, order.bytes, options).await?;
        if shared.config().jobs.provide
            && let Err(error) = shared.net.provide(root).await
        {
            tracing::warn!(%root, %error, "a copy could not be announced");
        }
        tracing::info!(%root, %owner, bytes, "a copy is kept");
    }
    shared.keeping.table.lock().insert(key, kept);
    Ok(FromKeeper::Kept { until })
}

async fn fetch(
    shared: &Shared,
    stream: &mut JobStream,
    root: &Cid,
    bytes: u64,
    options: PinOptions,
) -> Result<(), Refusal> {
    let session = shared.net.session(vec![stream.peer()]);
    let guarded = GuardedSource { source: session, denials: shared.denials.clone() };
    let source = Bounded { source: guarded, limit: bytes, fetched: AtomicU64::new(0) };
    let pin = shared.repo.pin(root, &source, options);
    let mut pin = std::pin::pin!(pin);
    let mut tick = tokio::time::interval(SIGN_OF_LIFE);
    loop {
        tokio::select! {
            done = &mut pin => {
                let kind = if source.is_over() { RefusalKind::Limit } else { RefusalKind::Busy };
                return done.map(drop).map_err(|e| Refusal::new(kind, e.to_string()));
            }
            _ = tick.tick() => {
                let bytes = source.fetched.load(Ordering::Relaxed);
                let told = stream.send(&FromKeeper::Working { bytes }.encode()).await;
                told.map_err(|e| Refusal::new(RefusalKind::Malformed, e.to_string()))?;
            }
            () = shared.stop.cancelled() => {
                return Err(Refusal::new(RefusalKind::Draining, "this node is stopping"));
            }
        }
    }
}

/// A source that gives no more than the owner said there is, and does not wait for a block for ever.
struct Bounded<S> {
    source: S,
    limit: u64,
    fetched: AtomicU64,
}

impl<S> Bounded<S> {
    fn is_over(&self) -> bool {
        self.fetched.load(Ordering::Relaxed) > self.limit
    }
}

#[async_trait]
impl<S: BlockSource> BlockSource for Bounded<S> {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        let unavailable = |reason: String| SourceError::Unavailable { cid: *cid, reason };
        let block = tokio::time::timeout(BLOCK_PATIENCE, self.source.block(cid)).await;
        let block = block.map_err(|_| unavailable(format!("it did not come in {BLOCK_PATIENCE:?}")))??;
        let fetched = self.fetched.fetch_add(block.len() as u64, Ordering::Relaxed) + block.len() as u64;
        if fetched > self.limit {
            return Err(unavailable(format!(
                "there is more than the {} bytes that were ordered",
                self.limit
            )));
        }
        Ok(block)
    }

    fn prefetch(&self, cids: &[Cid]) {
        let left = self.limit.saturating_sub(self.fetched.load(Ordering::Relaxed));
        let most = usize::try_from(left / AHEAD + 1).unwrap_or(usize::MAX);
        self.source.prefetch(&cids[..cids.len().min(most)]);
    }
}

/// Whether this is kept for this owner, as the store knows it.
async fn pinned(shared: &Shared, root: Cid, owner: NodeId) -> Result<bool, Refusal> {
    let pins = shared.repo.pins_of(&root).await;
    let pins = pins.map_err(|e| Refusal::new(RefusalKind::Disk, e.to_string()))?;
    Ok(pins.iter().any(|pin| pin.name == pin_name(&owner)))
}

async fn prove(
    shared: &Shared,
    owner: NodeId,
    root: Cid,
    block: Cid,
    nonce: [u8; 16],
) -> Result<FromKeeper, Refusal> {
    let none = |detail: &str| Refusal::new(RefusalKind::Expired, detail);
    if !pinned(shared, root, owner).await? {
        return Err(none("nothing is kept here for you under this root"));
    }
    let data = shared.store.get(&block).await.map_err(|e| Refusal::new(RefusalKind::Disk, e.to_string()))?;
    let data = data.ok_or_else(|| none("this block is not here"))?;
    Ok(FromKeeper::Proof { hash: proof(&nonce, &data) })
}

/// What shows that one has a block.
pub(super) fn proof(nonce: &[u8; 16], block: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(nonce).chain_update(block).finalize().into()
}

async fn release(shared: &Arc<Shared>, owner: NodeId, root: Cid) -> Result<FromKeeper, Refusal> {
    shared.keeping.table.lock().remove(&(root, owner));
    let unpinned = shared.repo.unpin(&root, Some(&pin_name(&owner))).await;
    unpinned.map_err(|e| Refusal::new(RefusalKind::Disk, e.to_string()))?;
    strike_off(shared, vec![(root, owner)]).await?;
    Ok(FromKeeper::Released)
}

/// Forgets what is no longer kept, and no longer announces it.
async fn strike_off(shared: &Arc<Shared>, keys: Vec<(Cid, NodeId)>) -> Result<(), Refusal> {
    let struck = keys.clone();
    on_disk(shared, move |shelf| shelf.remove_kept(&struck)).await?;
    for (root, _) in keys {
        if matches!(shared.repo.is_pinned(&root).await, Ok(false)) {
            let _ = shared.net.unprovide(root).await;
        }
    }
    Ok(())
}

/// Strikes off what has expired, or was unpinned by the operator, until the node stops.
pub(crate) async fn tidy(shared: Arc<Shared>) {
    loop {
        let rows: Vec<(Cid, NodeId)> = {
            let table = shared.keeping.table.lock();
            table.iter().filter(|(_, kept)| !kept.fetching).map(|(key, _)| *key).collect()
        };
        let mut left = Vec::new();
        for (root, owner) in rows {
            let (name, pins) = (pin_name(&owner), shared.repo.pins_of(&root).await);
            if pins.is_ok_and(|pins| pins.iter().all(|pin| pin.name != name)) {
                left.push((root, owner));
            }
        }
        {
            let mut table = shared.keeping.table.lock();
            // One that is being fetched again by now is another's business.
            left.retain(|key| table.get(key).is_some_and(|kept| !kept.fetching));
            left.iter().for_each(|key| {
                table.remove(key);
            });
        }
        if !left.is_empty() {
            tracing::info!(copies = left.len(), "copies for others are no longer kept");
            if let Err(error) = strike_off(&shared, left).await {
                tracing::warn!(%error, "copies that are no longer kept could not be struck off");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(TIDY) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

async fn on_disk<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shelf) -> Result<T, crate::replicas::shelf::ShelfError> + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |e: String| Refusal::new(RefusalKind::Disk, e);
    let shelf = Arc::clone(&shared.replicas.shelf);
    let done = tokio::task::spawn_blocking(move || work(&shelf)).await;
    done.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))
}
