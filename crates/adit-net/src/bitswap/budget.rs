//! Bytes that may be held at once: for each peer, and over all of them.
//!
//! Two directions. *Received*: a message is paid for before its body is read and until its blocks
//! are stored, so that a slow disk stops reading instead of filling memory. *Served*: a block is
//! paid for before it is loaded and until it is written.
//!
//! Peers from whom nothing is wanted share a small budget of their own, so that a crowd of them
//! cannot starve the transfers that we asked for.
//!
//! And work: a want costs a message's decoding, a lookup and an answer, also when the block is not here. A peer that asks
//! and asks without getting anything is listened to more slowly, so that it does not take the processors from others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
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
    wants: Mutex<Allowance>,
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
            wants: Mutex::new(Allowance::new(config.wants_at_once, config.wants_per_second, Instant::now())),
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

    /// The peer asked for (or cancelled) so many blocks.
    pub(crate) fn asked(&self, entries: usize) {
        self.wants.lock().spend(entries, Instant::now());
    }

    /// The peer was sent so many blocks, each of which pays for asking once more, wherever else it looked for it.
    pub(crate) fn served(&self, blocks: usize) {
        self.wants.lock().earn(blocks * ENTRIES_PER_BLOCK);
    }

    /// Waits while the peer has asked for more than it may.
    pub(crate) async fn rest(&self) {
        let wait = self.wants.lock().wait(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    pub(crate) fn count_received(&self, len: usize) {
        self.received.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_sent(&self, len: usize) {
        self.sent.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// Entries that one block takes: WANT-HAVE, WANT-BLOCK and its cancel, and one for a block that others brought.
const ENTRIES_PER_BLOCK: usize = 4;

/// So many at once, and so many a second.
#[derive(Debug)]
struct Allowance {
    each: Duration,
    at_once: Duration,
    /// Up to when the allowance is used. In the future: there is a debt.
    used_until: Instant,
}

impl Allowance {
    fn new(at_once: usize, per_second: usize, now: Instant) -> Self {
        let each = Duration::from_secs(1) / u32::try_from(per_second.max(1)).unwrap_or(u32::MAX);
        Self {
            each,
            at_once: times(each, at_once),
            used_until: now.checked_sub(times(each, at_once)).unwrap_or(now),
        }
    }

    fn spend(&mut self, count: usize, now: Instant) {
        let full = now.checked_sub(self.at_once).unwrap_or(self.used_until);
        self.used_until = self.used_until.max(full) + times(self.each, count);
    }

    fn earn(&mut self, count: usize) {
        self.used_until = self.used_until.checked_sub(times(self.each, count)).unwrap_or(self.used_until);
    }

    fn wait(&self, now: Instant) -> Duration {
        self.used_until.saturating_duration_since(now)
    }
}

fn times(each: Duration, count: usize) -> Duration {
    each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The peer's own share first: who waits for that holds nothing of what others need.
async fn pay(peer: &Arc<Semaphore>, total: &Arc<Semaphore>, len: usize) -> Paid {
    let len = u32::try_from(len).expect("messages and blocks are shorter than 4 GiB");
    let open = "budget semaphores are never closed";
    let peer = Arc::clone(peer).acquire_many_owned(len).await.expect(open);
    let total = Arc::clone(total).acquire_many_owned(len).await.expect(open);
    Paid { peer, total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_without_getting_anything_is_slowed_down_and_who_is_served_is_not() {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut wants = Allowance::new(4096, 1024, start);
        wants.spend(4096, start);
        assert_eq!(wants.wait(start), Duration::ZERO, "so many at once");
        wants.spend(2048, start);
        let debt = wants.wait(start);
        assert!((debt.as_secs_f64() - 2.0).abs() < 1e-3, "{debt:?}");
        assert_eq!(wants.wait(start + Duration::from_secs(2)), Duration::ZERO);
        // However long it was silent, no more is free.
        let later = start + Duration::from_secs(1000);
        wants.spend(4096 + 1024, later);
        assert!((wants.wait(later).as_secs_f64() - 1.0).abs() < 1e-3);
        // One block in four that it asks for is here.
        let mut wants = Allowance::new(4096, 1024, start);
        for _ in 0..1000 {
            wants.spend(1024, start);
            wants.earn(256 * ENTRIES_PER_BLOCK);
        }
        assert_eq!(wants.wait(start), Duration::ZERO);
    }
}
