//! The counters, and the bandwidth estimate that falls out of them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use libp2p::PeerId;
use parking_lot::Mutex;

/// A burst counts for the bandwidth estimate from this many bytes on; less says little.
const BURST: u64 = 256 * 1024;
/// A gap this long between two reads ends a burst: the peer was not busy sending.
const GAP_MICROS: u64 = 50_000;

/// What has passed between us and one peer since the process began.
#[derive(Debug)]
pub(crate) struct PeerTraffic {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    began: Instant,
    burst: Mutex<Burst>,
}

#[derive(Debug, Default)]
struct Burst {
    start: u64,
    last: u64,
    bytes: u64,
    estimate: Option<u64>,
}

impl Default for PeerTraffic {
    fn default() -> Self {
        Self {
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            began: Instant::now(),
            burst: Mutex::default(),
        }
    }
}

impl PeerTraffic {
    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Relaxed)
    }

    pub(crate) fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    /// Bytes a second received in bursts, smoothed; `None` before the first burst.
    pub(crate) fn bandwidth(&self) -> Option<u64> {
        self.burst.lock().estimate
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
        let now = self.began.elapsed().as_micros() as u64;
        self.burst.lock().add(bytes as u64, now);
    }
}

impl Burst {
    /// `now` in microseconds on any monotone clock.
    fn add(&mut self, bytes: u64, now: u64) {
        if now.saturating_sub(self.last) > GAP_MICROS {
            self.start = now;
            self.bytes = 0;
        }
        self.last = now;
        self.bytes += bytes;
        let elapsed = now - self.start;
        if self.bytes >= BURST && elapsed >= 1_000 {
            let rate = self.bytes.saturating_mul(1_000_000) / elapsed;
            self.estimate = Some(self.estimate.map_or(rate, |old| (old / 4).saturating_mul(3) + rate / 4));
            self.start = now;
            self.bytes = 0;
        }
    }
}

/// The counters of all peers: totals for the metrics, one [`PeerTraffic`] a peer.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    peers: Mutex<HashMap<PeerId, Arc<PeerTraffic>>>,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

/// Entries that nobody holds are dropped when the table has doubled beyond this.
const SWEEP_FROM: usize = 1024;

impl Traffic {
    pub(crate) fn of(&self, peer: PeerId) -> Arc<PeerTraffic> {
        let mut peers = self.peers.lock();
        if peers.len() >= SWEEP_FROM && peers.len().is_power_of_two() && !peers.contains_key(&peer) {
            peers.retain(|_, traffic| Arc::strong_count(traffic) > 1);
        }
        Arc::clone(peers.entry(peer).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_that_of_bursts_and_ignores_pauses() {
        let mut burst = Burst::default();
        // 64 KiB each millisecond: 64 MiB/s.
        for ms in 0..200 {
            burst.add(64 * 1024, 1_000_000 + ms * 1000);
        }
        let busy = burst.estimate.unwrap();
        assert!((50_000_000..90_000_000).contains(&busy), "{busy}");
        // A ping a second for an hour says nothing about bandwidth.
        for second in 2..3600 {
            burst.add(32, second * 1_000_000);
        }
        assert_eq!(burst.estimate, Some(busy));
    }

    #[test]
    fn unheld_counters_are_swept() {
        let traffic = Traffic::default();
        let held = traffic.of(PeerId::random());
        for _ in 0..SWEEP_FROM * 4 {
            traffic.of(PeerId::random());
        }
        assert!(traffic.peers.lock().len() <= SWEEP_FROM * 2);
        held.received(7);
        assert_eq!(held.bytes_in(), 7);
    }
}
