//! One reader's wants and the peers that may have them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Instant,
};

use cid::Cid;
use libp2p::PeerId;

use super::Urgency;

pub(crate) type SessionId = u64;

/// Candidates of one session; more would not make it faster.
const MAX_CANDIDATES: usize = 64;
/// DONT_HAVEs in a row after which a peer is no candidate any more.
const MAX_MISSES: u32 = 64;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) candidates: Vec<PeerId>,
    pub(super) wants: HashSet<Cid>,
    /// Wants to be asked of somebody, by need.
    pub(super) pending: BTreeMap<(Urgency, u64), Cid>,
    /// The first block wanted: what providers announce, if anything.
    pub(super) root: Option<Cid>,
    /// DONT_HAVEs since the last block, by peer.
    pub(super) misses: HashMap<PeerId, u32>,
    /// When a block came last, or the first want after none.
    pub(super) progress: Instant,
    pub(super) search: Search,
    /// The last time that peers were asked for their share in what only sources outside of the swarm give so far.
    pub(super) around: Option<Around>,
}

/// A question to connected peers that outlives the want that it is about.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) cid: Cid,
    pub(super) at: Instant,
    pub(super) unanswered: BTreeSet<PeerId>,
}

/// Looking for more providers.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) running: bool,
    /// At least one search ended since the last block came.
    pub(super) ended: bool,
    pub(super) next: Option<Instant>,
}

impl Session {
    pub(super) fn new(hints: Vec<PeerId>, now: Instant) -> Self {
        let mut session = Self {
            candidates: Vec::new(),
            wants: HashSet::new(),
            pending: BTreeMap::new(),
            root: None,
            misses: HashMap::new(),
            progress: now,
            search: Search { running: false, ended: false, next: None },
            around: None,
        };
        hints.into_iter().for_each(|hint| session.add_candidate(hint));
        session
    }

    pub(super) fn add_candidate(&mut self, peer: PeerId) {
        if self.candidates.len() < MAX_CANDIDATES && !self.candidates.contains(&peer) {
            self.candidates.push(peer);
        }
    }

    /// Drops a candidate that is `doubtful` where there is no room for another.
    pub(super) fn make_room(&mut self, doubtful: impl Fn(&PeerId) -> bool) {
        if self.candidates.len() >= MAX_CANDIDATES
            && let Some(at) = self.candidates.iter().position(doubtful)
        {
            self.candidates.swap_remove(at);
        }
    }

    pub(super) fn remove_candidate(&mut self, peer: &PeerId) {
        self.candidates.retain(|p| p != peer);
    }

    pub(super) fn missed(&mut self, peer: PeerId) {
        let misses = self.misses.entry(peer).or_default();
        *misses += 1;
        if *misses >= MAX_MISSES {
            self.misses.remove(&peer);
            self.remove_candidate(&peer);
        }
    }
}
