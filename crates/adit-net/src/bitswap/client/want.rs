//! One wanted block.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::SessionId;

/// How soon a block is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// A reader waits for it.
    Now,
    /// A reader will ask for it soon.
    Ahead,
}

/// One WANT-BLOCK that stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) peer: PeerId,
    pub(super) at: Instant,
    /// Nothing is to be expected of it any more, though its answer stays welcome: others are asked as if it were not there.
    pub(super) doubtful: bool,
}

/// Nobody is asked for a block that this many others are being asked for, or as many as there are doubtful ones: where
/// many promise and do not deliver, more are tried each time.
pub(super) const MAX_ASKS: usize = 2;

/// A peer that does not answer WANT-HAVE for this long is not waited for.
const QUERY_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Want {
    /// Urgency, then age.
    pub(super) order: (Urgency, u64),
    pub(super) sessions: Vec<SessionId>,
    /// In its sessions' pending lists: to be asked of somebody (else).
    pub(super) pending: bool,
    pub(super) asked: Vec<Ask>,
    /// Said DONT_HAVE, and will deliver should the block arrive there.
    pub(super) refused: BTreeSet<PeerId>,
    /// Were sent WANT-HAVE and have not answered.
    pub(super) queried: BTreeSet<PeerId>,
    pub(super) added: Instant,
    pub(super) queried_at: Option<Instant>,
    /// Nobody is left to ask since then.
    pub(super) absent_since: Option<Instant>,
}

impl Want {
    pub(super) fn new(order: (Urgency, u64), now: Instant) -> Self {
        Self {
            order,
            sessions: Vec::new(),
            pending: true,
            asked: Vec::new(),
            refused: BTreeSet::new(),
            queried: BTreeSet::new(),
            added: now,
            queried_at: None,
            absent_since: None,
        }
    }

    pub(super) fn may_ask(&self, peer: &PeerId) -> bool {
        self.relied_on().count() < self.doubtful().max(MAX_ASKS)
            && !self.refused.contains(peer)
            && !self.asked.iter().any(|ask| ask.peer == *peer)
    }

    /// Those that were asked and from whom an answer can be expected.
    pub(super) fn relied_on(&self) -> impl Iterator<Item = &Ask> {
        self.asked.iter().filter(|ask| !ask.doubtful)
    }

    /// How many were asked and are not to be relied on.
    pub(super) fn doubtful(&self) -> usize {
        self.asked.len() - self.relied_on().count()
    }

    /// Does not rely on a peer any more for this block.
    pub(super) fn doubt(&mut self, peer: &PeerId) {
        self.asked.iter_mut().filter(|ask| ask.peer == *peer).for_each(|ask| ask.doubtful = true);
    }

    /// Whether somebody may still say HAVE.
    pub(super) fn has_open_query(&self, now: Instant) -> bool {
        !self.queried.is_empty() && self.queried_at.is_none_or(|at| now - at < QUERY_PATIENCE)
    }

    /// Forgets that a peer was asked; false if it was not.
    pub(super) fn unask(&mut self, peer: &PeerId) -> bool {
        let before = self.asked.len();
        self.asked.retain(|ask| ask.peer != *peer);
        self.asked.len() < before
    }
}
