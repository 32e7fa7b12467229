//! The handles that the rest of the node holds: [`Handle`] to the exchange, [`Session`] for one
//! reader.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adit_store::{Block, BlockSource, BlockStore, SourceError, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use libp2p::PeerId;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{Config, Outside, OutsideFinder, budget::PeerAccount, client::SessionId, receive::SHA2_256};

/// Accounts of the connected peers.
pub(crate) type Accounts = Arc<Mutex<HashMap<PeerId, Arc<PeerAccount>>>>;

/// What handles ask of the engine. The queue is unbounded because some are sent from `drop`; each
/// belongs to a live session, whose wants are limited.
pub(crate) enum Command {
    Open {
        session: SessionId,
        hints: Vec<PeerId>,
        shared: Arc<Shared>,
    },
    Hint {
        session: SessionId,
        peers: Vec<PeerId>,
    },
    Close {
        session: SessionId,
    },
    /// A reader waits for a block.
    Want {
        session: SessionId,
        cid: Cid,
        waiter: u64,
        reply: oneshot::Sender<Reply>,
        /// Else it may be sent back to the store.
        insist: bool,
    },
    /// It does no more.
    Unwait {
        session: SessionId,
        cid: Cid,
        waiter: u64,
    },
    /// A reader will ask for these.
    Ahead {
        session: SessionId,
        cids: Vec<Cid>,
    },
    Probe {
        probe: u64,
        cid: Cid,
        peers: Option<Vec<PeerId>>,
        reply: oneshot::Sender<Vec<PeerId>>,
    },
    EndProbe {
        probe: u64,
    },
    /// Sources that are no peers, for all sessions.
    Outside {
        sources: Vec<Arc<dyn Outside>>,
        finder: Option<Arc<dyn OutsideFinder>>,
    },
}

pub(crate) type Reply = Result<Delivery, SourceError>;

/// How a reader gets its block.
#[derive(Debug)]
pub(crate) enum Delivery {
    Block(Bytes),
    /// It came into the store since the reader looked there.
    LookAgain,
}

/// Bytes exchanged with a connected peer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerTraffic {
    /// Bytes of Bitswap messages since it connected.
    pub received: u64,
    pub sent: u64,
    /// Observed throughput of blocks from it, bytes a second.
    pub rate: Option<f64>,
}

/// The exchange. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Arc<HandleInner>,
}

pub(crate) struct HandleInner {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Arc<dyn BlockStore>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) arrivals: broadcast::Sender<Arc<[Cid]>>,
    pub(crate) accounts: Accounts,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) next: std::sync::atomic::AtomicU64,
}

impl HandleInner {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Fails silently when the exchange has ended: replies then fail, too.
    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

impl Handle {
    /// A reader's view of the network: the store first, then peers. `hints` are peers believed to
    /// have its blocks; they are dialled if need be.
    pub fn session(&self, hints: Vec<PeerId>) -> Session {
        let id = self.inner.number();
        let shared = Arc::new(Shared::default());
        self.inner.send(Command::Open { session: id, hints, shared: Arc::clone(&shared) });
        Session { id, handle: self.clone(), shared }
    }

    /// Which of these peers (all connected ones, if `None`) have the block. Only connected peers
    /// are asked; those that have not answered after `patience` count as not having it.
    pub async fn have(&self, cid: &Cid, peers: Option<Vec<PeerId>>, patience: Duration) -> Vec<PeerId> {
        let probe = self.inner.number();
        let (reply, mut answer) = oneshot::channel();
        self.inner.send(Command::Probe { probe, cid: *cid, peers, reply });
        // Also ends it if this future is dropped.
        let end = OnDrop::new(|| self.inner.send(Command::EndProbe { probe }));
        match tokio::time::timeout(patience, &mut answer).await {
            Ok(have) => have.unwrap_or_default(),
            Err(_) => {
                drop(end);
                answer.await.unwrap_or_default()
            }
        }
    }

    /// Adds sources that are no peers, which all sessions then ask too; and somebody who finds more of them for one
    /// session.
    pub fn ask_outside(&self, sources: Vec<Arc<dyn Outside>>, finder: Option<Arc<dyn OutsideFinder>>) {
        self.inner.send(Command::Outside { sources, finder });
    }

    /// Says that blocks came into the store by another way (an import), for peers that wait for
    /// them. Fetched blocks are announced without it.
    pub fn arrived(&self, cids: &[Cid]) {
        // Nobody listening means that no peer waits.
        let _ = self.inner.arrivals.send(cids.into());
    }

    /// What was exchanged with a peer; `None` if it is not connected.
    pub fn traffic(&self, peer: &PeerId) -> Option<PeerTraffic> {
        let account = self.inner.accounts.lock().get(peer).cloned()?;
        let rate = account.rate.load(Ordering::Relaxed);
        Some(PeerTraffic {
            received: account.received.load(Ordering::Relaxed),
            sent: account.sent.load(Ordering::Relaxed),
            rate: (rate > 0).then_some(rate as f64),
        })
    }
}

/// One reader's way to any block. Fetched blocks are in the store when they are handed out.
///
/// Dropping it withdraws everything it still wants.
pub struct Session {
    id: SessionId,
    handle: Handle,
    shared: Arc<Shared>,
}

/// What a session and the engine share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Bytes of wanted blocks received, by who sent them.
    pub(crate) received: Mutex<HashMap<PeerId, u64>>,
    /// Prefetched blocks that nobody has asked for yet, oldest first.
    pub(crate) unclaimed: Mutex<Unclaimed>,
    /// Blocks waited for or being prefetched, and those on their way to the engine.
    pub(crate) wants: AtomicUsize,
    pub(crate) announced: AtomicUsize,
}

/// A short memory of prefetched blocks. It spares reading them back; the store has them anyway.
#[derive(Debug, Default)]
pub(crate) struct Unclaimed {
    blocks: HashMap<Cid, Bytes>,
    order: VecDeque<Cid>,
    bytes: usize,
}

impl Unclaimed {
    pub(crate) fn put(&mut self, cid: Cid, data: Bytes, limit: usize) {
        if data.len() > limit || self.blocks.contains_key(&cid) {
            return;
        }
        self.bytes += data.len();
        self.blocks.insert(cid, data);
        self.order.push_back(cid);
        while self.bytes > limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.take(&oldest);
        }
    }

    pub(crate) fn contains(&self, cid: &Cid) -> bool {
        self.blocks.contains_key(cid)
    }

    pub(crate) fn take(&mut self, cid: &Cid) -> Option<Bytes> {
        let data = self.blocks.remove(cid)?;
        self.bytes -= data.len();
        // Readers claim about in order, so the front catches up.
        while self.order.front().is_some_and(|cid| !self.blocks.contains_key(cid)) {
            self.order.pop_front();
        }
        Some(data)
    }
}

impl Session {
    /// Adds peers believed to have this session's blocks.
    pub fn hint(&self, peers: Vec<PeerId>) {
        self.handle.inner.send(Command::Hint { session: self.id, peers });
    }

    /// Bytes of blocks this session received so far, by the peer that sent them; a source that is no peer has a name of
    /// that form too. What the store had already does not count.
    pub fn received(&self) -> HashMap<PeerId, u64> {
        self.shared.received.lock().clone()
    }

    async fn fetch(&self, cid: &Cid, insist: bool) -> Reply {
        if cid.hash().code() != SHA2_256 {
            let why = "only SHA2-256 blocks can be fetched and verified";
            return Err(StoreError::UnsupportedCid { cid: *cid, why }.into());
        }
        let inner = &self.handle.inner;
        let (reply, answer) = oneshot::channel();
        let waiter = inner.number();
        inner.send(Command::Want { session: self.id, cid: *cid, waiter, reply, insist });
        let unwait = OnDrop::new(|| {
            inner.send(Command::Unwait { session: self.id, cid: *cid, waiter });
        });
        let answer = answer.await;
        unwait.defuse();
        match answer {
            Ok(answer) => answer,
            Err(_) => {
                let reason = "the node is shutting down".to_owned();
                Err(SourceError::Unavailable { cid: *cid, reason })
            }
        }
    }
}

#[async_trait]
impl BlockSource for Session {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        if let Some(data) = self.shared.unclaimed.lock().take(cid) {
            return Ok(data);
        }
        if let Some(data) = self.handle.inner.store.get(cid).await? {
            return Ok(data);
        }
        if is_empty(cid) {
            let block = Block { cid: *cid, data: Bytes::new() };
            self.handle.inner.store.put(vec![block]).await?;
            return Ok(Bytes::new());
        }
        if let Delivery::Block(data) = self.fetch(cid, false).await? {
            return Ok(data);
        }
        if let Some(data) = self.handle.inner.store.get(cid).await? {
            return Ok(data);
        }
        match self.fetch(cid, true).await? {
            Delivery::Block(data) => Ok(data),
            Delivery::LookAgain => unreachable!("it insisted"),
        }
    }

    fn prefetch(&self, cids: &[Cid]) {
        let inner = &self.handle.inner;
        let used = self.shared.wants.load(Ordering::Relaxed) + self.shared.announced.load(Ordering::Relaxed);
        let room = inner.config.max_wants_per_session.saturating_sub(used);
        let cids: Vec<Cid> = cids.iter().filter(|cid| !is_empty(cid)).take(room).copied().collect();
        if cids.is_empty() {
            return;
        }
        let (handle, session) = (self.handle.clone(), self.id);
        let waiting = Waiting::new(&self.shared, cids.len());
        inner.runtime.spawn(async move {
            let mut missing = Vec::with_capacity(cids.len());
            for cid in cids {
                if !handle.inner.store.has(&cid).await.unwrap_or(true) {
                    missing.push(cid);
                }
            }
            drop(waiting);
            handle.inner.send(Command::Ahead { session, cids: missing });
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.handle.inner.send(Command::Close { session: self.id });
    }
}

/// Whether this is the block of no bytes. Nobody is asked for it: what it holds is known, and Kubo never serves one
/// (a block of size 0 counts as absent there).
fn is_empty(cid: &Cid) -> bool {
    static DIGEST: LazyLock<[u8; 32]> = LazyLock::new(|| Sha256::digest([]).into());
    cid.hash().code() == SHA2_256 && cid.hash().digest() == *DIGEST
}

/// Counts wants of a session that the engine does not know yet.
struct Waiting(Arc<Shared>, usize);

impl Waiting {
    fn new(shared: &Arc<Shared>, count: usize) -> Self {
        shared.announced.fetch_add(count, Ordering::Relaxed);
        Self(Arc::clone(shared), count)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.announced.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// Runs a closure when dropped, unless defused.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    fn new(f: F) -> Self {
        Self(Some(f))
    }

    fn defuse(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}
