//! Bytes that may be held at once: for each peer, and over all of them.
//!
//! Two directions. *Received*: a message is paid for before its body is read and until its blocks
//! are stored, so that a slow disk stops reading instead of filling memory. *Served*: a block is
//! paid for before it is loaded and until it is written.
//!
//! Peers from whom nothing is wanted share a small budget of their own, so that a crowd of them
//! cannot starve the transfers that we asked for.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Config;

/// Budgets over all peers.
#[derive(Debug)]
pub(crate) struct Budgets {
    receive: Arc<Semaphore>,
    receive_unasked: Arc<Semaphore>,
    serve: Arc<Semaphore>,
}

impl Budgets {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            receive: Arc::new(Semaphore::new(config.receive_total)),
            receive_unasked: Arc::new(Semaphore::new(config.receive_unasked_total)),
            serve: Arc::new(Semaphore::new(config.serve_total)),
        })
    }
}

/// Budgets and counters of one peer, shared by all its connections.
#[derive(Debug)]
pub(crate) struct PeerAccount {
    budgets: Arc<Budgets>,
    receive: Arc<Semaphore>,
    receive_unasked: Arc<Semaphore>,
    serve: Arc<Semaphore>,
    /// Bytes of Bitswap messages since the peer connected.
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// Observed throughput of blocks, bytes a second; 0 while unknown.
    pub(crate) rate: AtomicU64,
}

/// Bytes that are paid for; dropping it pays them back.
#[derive(Debug)]
pub(crate) struct Paid {
    peer: OwnedSemaphorePermit,
    total: OwnedSemaphorePermit,
}

impl Paid {
    /// Pays back all but `len` bytes.
    pub(crate) fn keep(&mut self, len: usize) {
        for permit in [&mut self.peer, &mut self.total] {
            drop(permit.split(permit.num_permits().saturating_sub(len)));
        }
    }
}

impl PeerAccount {
    pub(crate) fn new(budgets: Arc<Budgets>, config: &Config) -> Arc<Self> {
        Arc::new(Self {
            budgets,
            receive: Arc::new(Semaphore::new(config.receive_per_peer)),
            receive_unasked: Arc::new(Semaphore::new(config.receive_unasked_per_peer)),
            serve: Arc::new(Semaphore::new(config.serve_per_peer)),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            rate: AtomicU64::new(0),
        })
    }

    /// Waits until a message of `len` bytes may be read.
    pub(crate) async fn receive(&self, len: usize, asked: bool) -> Paid {
        match asked {
            true => pay(&self.receive, &self.budgets.receive, len).await,
            false => pay(&self.receive_unasked, &self.budgets.receive_unasked, len).await,
        }
    }

    /// Waits until `len` bytes may be loaded for this peer.
    pub(crate) async fn serve(&self, len: usize) -> Paid {
        pay(&self.serve, &self.budgets.serve, len).await
    }

    pub(crate) fn count_received(&self, len: usize) {
        self.received.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_sent(&self, len: usize) {
        self.sent.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// The peer's own share first: who waits for that holds nothing of what others need.
async fn pay(peer: &Arc<Semaphore>, total: &Arc<Semaphore>, len: usize) -> Paid {
    let len = u32::try_from(len).expect("messages and blocks are shorter than 4 GiB");
    let open = "budget semaphores are never closed";
    let peer = Arc::clone(peer).acquire_many_owned(len).await.expect(open);
    let total = Arc::clone(total).acquire_many_owned(len).await.expect(open);
    Paid { peer, total }
}
