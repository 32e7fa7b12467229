//! What the engine and the handler of one connection share: the outbox of wantlists, and a few
//! flags. Everything in an outbox is bounded by what the client core asks of a peer.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::task::AtomicWaker;
use libp2p::{PeerId, swarm::ConnectionId};
use parking_lot::Mutex;

use super::{budget::PeerAccount, config::MAX_ENTRIES_OUT, wire::Entry};

/// A peer that takes none of our wantlists while this many entries gather is beyond hope.
const MAX_OUTBOX: usize = 16 * 1024;
/// How long after the last want its block may still come.
const LATE: Duration = Duration::from_secs(30);

/// One connection, as seen from both sides.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    pub(crate) id: ConnectionId,
    /// Through a relay.
    pub(crate) relayed: bool,
    pub(crate) account: Arc<PeerAccount>,
    outbox: Mutex<Outbox>,
    waker: AtomicWaker,
    /// Blocks asked for on this connection and not yet answered.
    outstanding: AtomicUsize,
    /// Until when blocks may come, in milliseconds since `made`, though none is outstanding: what
    /// was cancelled may still be on its way.
    asked_until: AtomicU64,
    made: Instant,
    /// A session counts on this peer: do not let the connection idle out.
    keep: AtomicBool,
    /// Bytes of messages read so far, also of unfinished ones: how the engine tells a slow peer
    /// from a silent one.
    pub(crate) trickle: AtomicU64,
}

impl Link {
    pub(crate) fn new(peer: PeerId, id: ConnectionId, relayed: bool, account: Arc<PeerAccount>) -> Arc<Self> {
        Arc::new(Self {
            peer,
            id,
            relayed,
            account,
            outbox: Mutex::default(),
            waker: AtomicWaker::new(),
            outstanding: AtomicUsize::new(0),
            asked_until: AtomicU64::new(0),
            made: Instant::now(),
            keep: AtomicBool::new(false),
            trickle: AtomicU64::new(0),
        })
    }

    /// Queues wantlist entries; false if the peer has not taken any for far too long.
    pub(crate) fn push(&self, entries: Vec<Entry>) -> bool {
        // A WANT-HAVE may be answered by a small block.
        if entries.iter().any(|entry| !entry.cancel) {
            self.expect_blocks();
        }
        let mut outbox = self.outbox.lock();
        outbox.push(entries);
        let sane = outbox.len <= MAX_OUTBOX;
        drop(outbox);
        self.waker.wake();
        sane
    }

    /// Queues entries that must travel in a message after everything queued so far.
    pub(crate) fn push_apart(&self, entries: Vec<Entry>) -> bool {
        self.outbox.lock().seal();
        self.push(entries)
    }

    /// The next message's entries, for the handler.
    pub(crate) fn take(&self) -> Option<Vec<Entry>> {
        self.outbox.lock().take()
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.outbox.lock().len > 0
    }

    /// Has the handler polled when mail arrives.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    pub(crate) fn set_outstanding(&self, count: usize) {
        let before = self.outstanding.swap(count, Ordering::Relaxed);
        if before > 0 {
            self.expect_blocks();
        }
    }

    fn expect_blocks(&self) {
        let until = (self.made.elapsed() + LATE).as_millis() as u64;
        self.asked_until.store(until, Ordering::Relaxed);
    }

    /// Whether large messages are expected: something is outstanding, or was a moment ago.
    pub(crate) fn is_asked(&self) -> bool {
        let until = Duration::from_millis(self.asked_until.load(Ordering::Relaxed));
        self.outstanding.load(Ordering::Relaxed) > 0 || self.made.elapsed() < until
    }

    pub(crate) fn set_keep(&self, keep: bool) {
        self.keep.store(keep, Ordering::Relaxed);
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.keep.load(Ordering::Relaxed) || self.outstanding.load(Ordering::Relaxed) > 0
    }
}

/// Wantlist messages that wait for the stream. What is pushed while the stream is busy joins the
/// last message, so that a slow connection gets few large messages.
#[derive(Debug, Default)]
struct Outbox {
    messages: VecDeque<Vec<Entry>>,
    len: usize,
    /// The last message is complete.
    sealed: bool,
}

impl Outbox {
    fn push(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            // boxo reads cancel and want of one CID in one message as a cancel.
            let joins = !self.sealed
                && self.messages.back().is_some_and(|last| {
                    last.len() < MAX_ENTRIES_OUT
                        && !last.iter().any(|e| e.cid == entry.cid && e.cancel != entry.cancel)
                });
            match self.messages.back_mut() {
                Some(last) if joins => last.push(entry),
                _ => {
                    self.messages.push_back(vec![entry]);
                    self.sealed = false;
                }
            }
            self.len += 1;
        }
    }

    fn seal(&mut self) {
        self.sealed = true;
    }

    fn take(&mut self) -> Option<Vec<Entry>> {
        let message = self.messages.pop_front()?;
        self.len -= message.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitswap::{client::tests::cid, wire::WantKind};

    #[test]
    fn entries_gather_into_few_messages_and_keep_their_order() {
        let mut outbox = Outbox::default();
        outbox.push((0..700).map(|i| Entry::want(cid(i), WantKind::Block)).collect());
        outbox.push(vec![Entry::want(cid(700), WantKind::Block)]);
        assert_eq!(outbox.take().map(|m| m.len()), Some(MAX_ENTRIES_OUT));
        assert_eq!(outbox.take().map(|m| m.len()), Some(701 - MAX_ENTRIES_OUT));
        assert_eq!((outbox.take(), outbox.len), (None, 0));
    }

    #[test]
    fn a_cancel_and_a_want_of_one_block_never_share_a_message() {
        let mut outbox = Outbox::default();
        outbox.push(vec![Entry::want(cid(1), WantKind::Block)]);
        outbox.push(vec![Entry::cancel(cid(1))]);
        outbox.push(vec![Entry::want(cid(2), WantKind::Block)]);
        outbox.push(vec![Entry::want(cid(1), WantKind::Block)]);
        let messages: Vec<_> = std::iter::from_fn(|| outbox.take()).collect();
        assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
        outbox.push(vec![Entry::cancel(cid(3))]);
        outbox.seal();
        outbox.push(vec![Entry::want(cid(4), WantKind::Block)]);
        assert_eq!(outbox.take().map(|m| m.len()), Some(1), "sealed");
    }
}
