//! What to ask of whom: the client's side as pure state, without I/O or a clock.
//!
//! The engine feeds it what happened and when; it answers with [`Action`]s. Its parts:
//!
//! - A *want* ([`want`]) is one block that at least one session waits for, whatever became of it:
//!   *pending*, or *asked* of one or two peers.
//! - A *session* ([`session`]) is one reader's wants, in order of need, and its *candidates*: the
//!   peers that may have them. Candidates are the hinted peers, those that said HAVE or delivered,
//!   and found providers.
//! - A *peer* ([`peer`]) has a window: bytes it may be asked for ahead. Windows follow the observed
//!   throughput, and peers pull pending wants when half their window is empty, the fastest first.
//!   So wants spread over providers by how fast each really delivers.
//!
//! What goes wrong, and what happens then:
//!
//! | a peer … | then |
//! |---|---|
//! | says DONT_HAVE | the want is pending again, for others |
//! | is slow, and another candidate idle | the want is asked there too ([`rescue`]) |
//! | stalls | no new wants; what it was asked is pending again, for others; afterwards it is asked last, and beside others |
//! | never delivered, and takes a quarter of a second | others are asked as well, each time as many as so far in vain |
//! | has delivered before, and says HAVE | it is asked at once where only strangers have been asked |
//! | stalls longer | it is asked again, then the connection is closed and dialled anew |
//! | sends wrong blocks | it gets no wants for a while, and is disconnected |
//! | disconnects | everything it was asked is pending again |
//!
//! A want with no candidate left is *sought* ([`seek`]): WANT-HAVE to connected peers, then a
//! search for providers; and it fails when nobody has it or nothing has come for long.

mod peer;
mod rescue;
mod seek;
mod session;
#[cfg(test)]
pub(crate) mod tests;
mod want;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use cid::Cid;
use libp2p::PeerId;

use super::{
    Config,
    wire::{Entry, WantKind},
};
use peer::Peer;
pub(crate) use seek::Failure;
use session::Session;
pub(crate) use session::SessionId;
pub(crate) use want::Urgency;
use want::{Ask, Want};

/// What the core wants done.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Send these wantlist entries.
    Send {
        peer: PeerId,
        entries: Vec<Entry>,
    },
    /// Send a message of cancels, then a second one of wants.
    Again {
        peer: PeerId,
        cids: Vec<Cid>,
    },
    /// Close all connections of a peer that is stuck or lies.
    Close {
        peer: PeerId,
        why: &'static str,
    },
    Dial {
        peer: PeerId,
    },
    /// Look for more providers of this block, for this session.
    Find {
        session: SessionId,
        cid: Cid,
    },
    /// Nobody waits for this block any more, because it cannot be had.
    Failed {
        cid: Cid,
        why: Failure,
    },
    /// These of the probed peers have the block.
    Probed {
        probe: u64,
        have: Vec<PeerId>,
    },
}

/// What to do with a received block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Some session waits for it: these do.
    Wanted,
    /// Late, unasked, or wrong.
    Drop,
}

/// A question to some peers whether they have a block.
#[derive(Debug)]
struct Probe {
    cid: Cid,
    unanswered: BTreeSet<PeerId>,
    have: Vec<PeerId>,
}

/// All client state.
#[derive(Debug)]
pub(crate) struct Core {
    config: Arc<Config>,
    peers: HashMap<PeerId, Peer>,
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions with pending wants.
    active: BTreeSet<SessionId>,
    wants: HashMap<Cid, Want>,
    probes: BTreeMap<u64, Probe>,
    /// Entries to send, gathered until the end of the turn.
    outgoing: BTreeMap<PeerId, Vec<Entry>>,
    actions: VecDeque<Action>,
    /// Numbers wants by age, and starts each round of the sessions at another one.
    next: u64,
}

impl Core {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            peers: HashMap::new(),
            sessions: BTreeMap::new(),
            active: BTreeSet::new(),
            wants: HashMap::new(),
            probes: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            actions: VecDeque::new(),
            next: 0,
        }
    }

    // ---- peers ----

    pub(crate) fn connected(&mut self, id: PeerId, now: Instant) {
        self.peer(id, now).connected(now);
        self.ask_newcomer(id);
    }

    /// A source that is no peer can be asked by the sessions that are told of it.
    pub(crate) fn connected_outside(&mut self, id: PeerId, now: Instant) {
        let peer = self.peer(id, now);
        peer.outside = true;
        peer.connected(now);
    }

    /// It cannot be asked any more, by anybody.
    pub(crate) fn leave(&mut self, id: PeerId, now: Instant) {
        self.sessions.values_mut().for_each(|s| s.remove_candidate(&id));
        self.disconnected(id, now);
    }

    /// The connection that carried our wants is gone, and with it the peer's ledger.
    pub(crate) fn disconnected(&mut self, id: PeerId, now: Instant) {
        self.release(id);
        self.hang_up(id, now);
        self.outgoing.remove(&id);
        self.answered(id, None, false);
        self.forget_peer(id, now);
    }

    /// Whether the peer speaks Bitswap turned out.
    pub(crate) fn speaks(&mut self, id: PeerId, speaks: bool, now: Instant) {
        self.peer(id, now).speaks = speaks;
        if !speaks {
            self.release(id);
            self.outgoing.remove(&id);
            self.answered(id, None, false);
        }
    }

    pub(crate) fn dial_failed(&mut self, id: PeerId, now: Instant) {
        let redial_after = self.config.redial_after;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.dial_failed(now, redial_after) {
            // Unreachable: no session shall wait for it.
            self.sessions.values_mut().for_each(|s| s.remove_candidate(&id));
            self.forget_peer(id, now);
        }
    }

    /// Bytes of messages from this peer so far, finished or not.
    pub(crate) fn trickled(&mut self, id: PeerId, total: u64, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.trickled(total, now);
        }
    }

    /// Peers with something outstanding, and how many blocks each was asked for.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = (PeerId, usize)> {
        self.peers.iter().map(|(id, peer)| (*id, peer.in_flight.len())).filter(|(_, n)| *n > 0)
    }

    /// Observed throughput in bytes a second.
    pub(crate) fn rate(&self, id: &PeerId) -> Option<f64> {
        self.peers.get(id).and_then(|peer| peer.rate)
    }

    /// The peers that sessions with wants count on.
    pub(crate) fn counted_on(&self) -> HashSet<PeerId> {
        let busy = self.sessions.values().filter(|session| !session.wants.is_empty());
        busy.flat_map(|session| session.candidates.iter().copied()).collect()
    }

    fn is_candidate(&self, id: &PeerId) -> bool {
        self.sessions.values().any(|s| s.candidates.contains(id))
    }

    fn peer(&mut self, id: PeerId, now: Instant) -> &mut Peer {
        let config = &self.config;
        self.peers.entry(id).or_insert_with(|| Peer::new(config, now))
    }

    /// Drops what is known of a peer that is gone and that nobody counts on.
    fn forget_peer(&mut self, id: PeerId, now: Instant) {
        let done = self.peers.get(&id).is_some_and(|p| p.is_forgettable(now));
        if done && !self.is_candidate(&id) {
            self.peers.remove(&id);
        }
    }

    // ---- sessions and wants ----

    pub(crate) fn open(&mut self, session: SessionId, hints: Vec<PeerId>, now: Instant) {
        for hint in &hints {
            self.peer(*hint, now);
        }
        self.sessions.insert(session, Session::new(hints, now));
    }

    /// Adds candidates to a session: somebody heard that they have its blocks.
    pub(crate) fn hint(&mut self, session: SessionId, peers: Vec<PeerId>, now: Instant) {
        for id in peers {
            self.peer(id, now);
            if let Some(session) = self.sessions.get_mut(&session) {
                session.add_candidate(id);
            }
        }
    }

    pub(crate) fn close(&mut self, id: SessionId, now: Instant) {
        self.end_around(id);
        let Some(session) = self.sessions.get(&id) else { return };
        for cid in session.wants.iter().copied().collect::<Vec<_>>() {
            self.unwant(id, &cid);
        }
        self.active.remove(&id);
        if let Some(session) = self.sessions.remove(&id) {
            session.candidates.into_iter().for_each(|peer| self.forget_peer(peer, now));
        }
    }

    /// A session needs a block. Asked twice, the greater urgency counts.
    pub(crate) fn want(&mut self, id: SessionId, cid: Cid, urgency: Urgency, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.wants.is_empty() {
            session.progress = now;
        }
        let first = session.root.is_none();
        session.root.get_or_insert(cid);
        session.wants.insert(cid);

        let number = self.next;
        self.next += 1;
        let want = self.wants.entry(cid).or_insert_with(|| Want::new((urgency, number), now));
        if !want.sessions.contains(&id) {
            want.sessions.push(id);
        }
        let order = want.order.min((urgency, number));
        let old = std::mem::replace(&mut want.order, order);
        if want.pending {
            for id in &want.sessions {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.pending.remove(&old);
                    session.pending.insert(order, cid);
                    self.active.insert(*id);
                }
            }
        }
        if first {
            self.announce(id, cid);
        }
    }

    /// A session needs a block no more.
    pub(crate) fn unwant(&mut self, id: SessionId, cid: &Cid) {
        self.unlist(id, cid);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.wants.remove(cid);
        }
        let Some(want) = self.wants.get_mut(cid) else { return };
        want.sessions.retain(|s| *s != id);
        if want.sessions.is_empty() {
            self.finish(cid, None);
        }
    }

    /// Takes a want out of one session's pending list.
    fn unlist(&mut self, id: SessionId, cid: &Cid) {
        let Some(order) = self.wants.get(cid).map(|w| w.order) else { return };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.pending.remove(&order);
            if session.pending.is_empty() {
                self.active.remove(&id);
            }
        }
    }

    /// Makes a want pending (again) in all its sessions.
    fn requeue(&mut self, cid: Cid) {
        let Some(want) = self.wants.get_mut(&cid) else { return };
        want.pending = true;
        for id in &want.sessions {
            if let Some(session) = self.sessions.get_mut(id) {
                session.pending.insert(want.order, cid);
                self.active.insert(*id);
            }
        }
    }

    /// Removes a want, delivered by `from` or given up, and cancels it wherever it still stands.
    fn finish(&mut self, cid: &Cid, from: Option<PeerId>) -> Option<Want> {
        for id in self.wants.get(cid)?.sessions.clone() {
            self.unlist(id, cid);
        }
        let want = self.wants.remove(cid)?;
        for id in &want.sessions {
            if let Some(session) = self.sessions.get_mut(id) {
                session.wants.remove(cid);
            }
        }
        // Whoever denied it keeps the want too, to deliver should the block arrive.
        let asked = want.asked.iter().map(|ask| ask.peer);
        let told: BTreeSet<PeerId> =
            asked.chain(want.refused.iter().copied()).chain(want.queried.iter().copied()).collect();
        for id in told {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.settle(cid);
            if Some(id) != from && peer.is_usable() {
                self.outgoing.entry(id).or_default().push(Entry::cancel(*cid));
            }
        }
        Some(want)
    }

    // ---- messages ----

    /// Blocks came, whose hashes were checked. Answers what to do with each. `unasked` counts
    /// blocks, and bytes, that were not worth hashing.
    pub(crate) fn blocks(
        &mut self,
        id: PeerId,
        blocks: &[(Cid, usize)],
        unasked: (u32, usize),
        now: Instant,
    ) -> Vec<Verdict> {
        let (mut wrong, mut wrong_bytes) = unasked;
        let mut verdicts = Vec::with_capacity(blocks.len());
        for (cid, len) in blocks {
            let probed = self.answered(id, Some(cid), true);
            let peer = self.peer(id, now);
            peer.delivered(cid, *len, now);
            if self.wants.contains_key(cid) {
                if let Some(want) = self.finish(cid, Some(id)) {
                    for session in want.sessions {
                        if let Some(session) = self.sessions.get_mut(&session) {
                            session.progress = now;
                            session.search.ended = false;
                            session.add_candidate(id);
                            session.misses.remove(&id);
                        }
                    }
                }
                verdicts.push(Verdict::Wanted);
            } else {
                if !probed && !self.peer(id, now).expected_late(cid) {
                    wrong += 1;
                    wrong_bytes += len;
                }
                verdicts.push(Verdict::Drop);
            }
        }
        if wrong > 0 || wrong_bytes > 0 {
            self.wrong(id, wrong, wrong_bytes, now);
        }
        verdicts
    }

    pub(crate) fn haves(&mut self, id: PeerId, cids: &[Cid], now: Instant) {
        for cid in cids {
            self.answered(id, Some(cid), true);
            let Some(want) = self.wants.get_mut(cid) else { continue };
            want.queried.remove(&id);
            want.refused.remove(&id);
            want.absent_since = None;
            for session in want.sessions.clone() {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.misses.remove(&id);
                    let doubtful = |id: &PeerId| self.peers.get(id).is_some_and(Peer::is_doubtful);
                    session.make_room(doubtful);
                    session.add_candidate(id);
                }
            }
            self.peer(id, now);
            self.prefer(id, *cid, now);
        }
    }

    /// The word of one who has delivered before counts for more than those of strangers, which may be with the want
    /// already: it is asked as well, and at once.
    fn prefer(&mut self, id: PeerId, cid: Cid, now: Instant) {
        let proven = |peer: &PeerId| self.peers.get(peer).is_some_and(Peer::is_proven);
        let Some(want) = self.wants.get(&cid) else { return };
        let room = self.peers.get(&id).is_some_and(|peer| peer.room(true) > 0);
        let with_strangers = !want.pending && !want.relied_on().any(|ask| proven(&ask.peer));
        if !room || !with_strangers || !proven(&id) || want.asked.iter().any(|ask| ask.peer == id) {
            return;
        }
        if let Some(want) = self.wants.get_mut(&cid) {
            want.asked.iter_mut().for_each(|ask| ask.doubtful = true);
        }
        self.ask(id, cid, now);
    }

    pub(crate) fn dont_haves(&mut self, id: PeerId, cids: &[Cid], now: Instant) {
        for cid in cids {
            self.answered(id, Some(cid), false);
            let Some(want) = self.wants.get_mut(cid) else { continue };
            let was_queried = want.queried.remove(&id);
            let was_asked = want.unask(&id);
            // Only who was told of the want may deny it, else memory would grow at will.
            if was_asked || was_queried {
                want.refused.insert(id);
            }
            if !was_asked {
                continue;
            }
            let orphaned = want.asked.is_empty() && !want.pending;
            for session in want.sessions.clone() {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.missed(id);
                }
            }
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.refused(cid, now);
            }
            if orphaned {
                self.requeue(*cid);
            }
        }
    }

    /// Everything the peer was asked is pending again, and its answers are forgotten.
    fn release(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for cid in peer.release() {
            if let Some(want) = self.wants.get_mut(&cid) {
                want.unask(&id);
                if want.asked.is_empty() && !want.pending {
                    self.requeue(cid);
                }
            }
        }
        for want in self.wants.values_mut() {
            want.queried.remove(&id);
            want.refused.remove(&id);
        }
    }

    /// Blocks nobody had asked for: a peer that lies about content can only show it this way,
    /// since what it sends is named by its real hash.
    fn wrong(&mut self, id: PeerId, count: u32, bytes: usize, now: Instant) {
        let penalty = self.config.penalty;
        let peer = self.peer(id, now);
        if !peer.wrong(count, bytes, now, penalty) {
            return;
        }
        tracing::debug!(peer = %id, "sends blocks that nobody asked for");
        self.release(id);
        self.outgoing.remove(&id);
        self.hang_up(id, now);
        self.sessions.values_mut().for_each(|s| s.remove_candidate(&id));
        self.actions.push_back(Action::Close { peer: id, why: "it sent blocks nobody asked for" });
    }

    // ---- turns ----

    /// Ends a turn: hands pending wants to peers with room, and collects everything to be done.
    pub(crate) fn pump(&mut self, now: Instant) -> Vec<Action> {
        if !self.active.is_empty() {
            for id in self.active.clone() {
                self.ask_around(id, now);
            }
            for id in self.pullers() {
                self.fill(id, now);
            }
            self.seek(now);
        }
        let sends = std::mem::take(&mut self.outgoing);
        self.actions.extend(sends.into_iter().map(|(peer, entries)| Action::Send { peer, entries }));
        self.actions.drain(..).collect()
    }

    /// Time passes; call about every [`TICK`](super::engine::TICK) while there are wants.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.check_stalls(now);
        self.rescue(now);
        self.check_failures(now);
    }

    /// Whether time matters at the moment.
    pub(crate) fn is_busy(&self) -> bool {
        !self.wants.is_empty()
    }

    /// Peers that may pull now, the soonest done first.
    fn pullers(&self) -> Vec<PeerId> {
        let mut ids: Vec<PeerId> = Vec::new();
        for session in self.active.iter().filter_map(|id| self.sessions.get(id)) {
            for id in &session.candidates {
                if !ids.contains(id) && self.peers.get(id).is_some_and(|p| p.room(true) > 0) {
                    ids.push(*id);
                }
            }
        }
        let order = |id: &PeerId| {
            let peer = &self.peers[id];
            (peer.is_doubtful(), peer.load(), !peer.has_delivered())
        };
        ids.sort_by(|a, b| {
            let (a, b) = (order(a), order(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
        });
        ids
    }

    /// Gives a peer pending wants of its sessions, in turns, until its window is full.
    fn fill(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(&id) else { return };
        let (room, urgent_room) = (peer.room(false), peer.room(true));
        let sessions: Vec<SessionId> =
            self.active.iter().copied().filter(|s| self.sessions[s].candidates.contains(&id)).collect();
        if sessions.is_empty() {
            return;
        }
        let share = room.max(urgent_room).div_ceil(sessions.len());
        let first = self.next as usize % sessions.len();
        let mut taken = 0;
        // Two rounds: a fair share for each, then what others left.
        for share in [share, usize::MAX] {
            for session in sessions[first..].iter().chain(&sessions[..first]) {
                let mut left = share;
                let mut cids = Vec::new();
                for (order, cid) in &self.sessions[session].pending {
                    let room = if order.0 == Urgency::Now { urgent_room } else { room };
                    if left == 0 || taken >= room {
                        break;
                    }
                    if self.wants[cid].may_ask(&id) {
                        cids.push(*cid);
                        left -= 1;
                        taken += 1;
                    }
                }
                for cid in cids {
                    self.ask(id, cid, now);
                }
            }
        }
    }

    fn ask(&mut self, id: PeerId, cid: Cid, now: Instant) {
        let doubtful = self.peer(id, now).is_doubtful();
        let Some(want) = self.wants.get_mut(&cid) else { return };
        want.asked.push(Ask { peer: id, at: now, doubtful });
        want.absent_since = None;
        // Of a doubtful one nothing is expected: the want stays pending, for others.
        if !doubtful {
            want.pending = false;
            for session in want.sessions.clone() {
                self.unlist(session, &cid);
            }
        }
        self.peer(id, now).ask(cid, now);
        self.outgoing.entry(id).or_default().push(Entry::want(cid, WantKind::Block));
    }
}
