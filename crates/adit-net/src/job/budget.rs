//! How much all job streams, and those of one peer, may hold.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use libp2p::PeerId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::TooMany;
use crate::config::Limits;

/// Streams and bytes in use, over all connections.
#[derive(Debug)]
pub(crate) struct Budget {
    streams: Mutex<Streams>,
    bytes: Arc<Semaphore>,
    bytes_per_peer: usize,
}

#[derive(Debug)]
struct Streams {
    open: usize,
    max: usize,
    max_per_peer: usize,
    peers: HashMap<PeerId, PeerShare>,
}

#[derive(Debug)]
struct PeerShare {
    open: usize,
    /// Of the open ones, those on which we have said something.
    answered: usize,
    bytes: Arc<Semaphore>,
}

/// One open stream's place; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    budget: Arc<Budget>,
    peer: PeerId,
    peer_bytes: Arc<Semaphore>,
    answered: AtomicBool,
}

/// Room for one incomplete message; dropping it frees the room.
#[derive(Debug)]
pub(super) struct Room {
    _peer: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        // A single message must always fit, or it would wait forever.
        let at_least = super::MAX_MESSAGE + super::wire::MAX_HEADER;
        Arc::new(Self {
            streams: Mutex::new(Streams {
                open: 0,
                max: limits.job_streams,
                max_per_peer: limits.job_streams_per_peer,
                peers: HashMap::new(),
            }),
            bytes: Arc::new(Semaphore::new(limits.job_bytes.max(at_least))),
            bytes_per_peer: limits.job_bytes_per_peer.max(at_least),
        })
    }

    pub(super) fn place(self: &Arc<Self>, peer: PeerId) -> Result<Place, TooMany> {
        let mut streams = self.streams.lock();
        if streams.open >= streams.max {
            return Err(TooMany::InAll);
        }
        let max_per_peer = streams.max_per_peer;
        let share = streams.peers.entry(peer).or_insert_with(|| PeerShare {
            open: 0,
            answered: 0,
            bytes: Arc::new(Semaphore::new(self.bytes_per_peer)),
        });
        if share.open >= max_per_peer {
            return Err(TooMany::ToThisPeer);
        }
        share.open += 1;
        let peer_bytes = Arc::clone(&share.bytes);
        streams.open += 1;
        Ok(Place { budget: Arc::clone(self), peer, peer_bytes, answered: AtomicBool::new(false) })
    }

    /// Open job streams of all peers.
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.lock().open
    }

    /// Whether there is a stream with this peer on which we have said something: a job under way, say.
    pub(crate) fn is_dealing_with(&self, peer: &PeerId) -> bool {
        self.streams.lock().peers.get(peer).is_some_and(|share| share.answered > 0)
    }
}

impl Place {
    /// Notes that we say something on this stream.
    pub(super) fn answer(&self) {
        if !self.answered.swap(true, Relaxed)
            && let Some(share) = self.budget.streams.lock().peers.get_mut(&self.peer)
        {
            share.answered += 1;
        }
    }

    /// Waits for room for a message of `bytes`: first in the peer's share, so that a peer which
    /// fills its own share with unfinished messages never holds what others wait for.
    pub(super) async fn room(&self, bytes: usize) -> Room {
        let bytes = u32::try_from(bytes).expect("a message is at most 4 MiB");
        let closed = "the semaphores are never closed";
        let peer = Arc::clone(&self.peer_bytes).acquire_many_owned(bytes).await.expect(closed);
        let all = Arc::clone(&self.budget.bytes).acquire_many_owned(bytes).await.expect(closed);
        Room { _peer: peer, _all: all }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.budget.streams.lock();
        streams.open -= 1;
        if let Some(share) = streams.peers.get_mut(&self.peer) {
            share.open -= 1;
            share.answered -= usize::from(*self.answered.get_mut());
            if share.open == 0 {
                streams.peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(streams: usize, per_peer: usize) -> Arc<Budget> {
        Budget::new(&Limits { job_streams: streams, job_streams_per_peer: per_peer, ..Limits::default() })
    }

    #[test]
    fn places_are_limited_in_all_and_per_peer_and_come_back() {
        let budget = budget(3, 2);
        let (a, b) = (PeerId::random(), PeerId::random());
        let first = budget.place(a).unwrap();
        assert!(!budget.is_dealing_with(&a));
        first.answer();
        first.answer();
        assert!(budget.is_dealing_with(&a) && !budget.is_dealing_with(&b));
        let _second = budget.place(a).unwrap();
        assert_eq!(budget.place(a).unwrap_err(), TooMany::ToThisPeer);
        let third = budget.place(b).unwrap();
        assert_eq!(budget.place(b).unwrap_err(), TooMany::InAll);
        drop(third);
        assert!(!budget.streams.lock().peers.contains_key(&b), "nothing is kept of a peer without streams");
        assert_eq!(budget.place(a).unwrap_err(), TooMany::ToThisPeer);
        drop(first);
        assert!(!budget.is_dealing_with(&a));
        assert!(budget.place(a).is_ok());
    }

    #[tokio::test]
    async fn a_peer_with_a_full_share_does_not_hold_up_others() {
        let limits = Limits { job_bytes: 32 << 20, job_bytes_per_peer: 8 << 20, ..Limits::default() };
        let budget = Budget::new(&limits);
        let (greedy, other) =
            (budget.place(PeerId::random()).unwrap(), budget.place(PeerId::random()).unwrap());
        let held = [greedy.room(4 << 20).await, greedy.room(4 << 20).await];
        let mut waiting = std::pin::pin!(greedy.room(4 << 20));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        let _others = other.room(4 << 20).await;
        drop(held);
        waiting.await;
    }
}
