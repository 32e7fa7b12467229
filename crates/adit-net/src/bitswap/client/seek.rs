//! Wants with nobody left to ask: asking around, searching, giving up; and probes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cid::Cid;
use libp2p::PeerId;

use super::{
    super::wire::{Entry, WantKind},
    Action, Core, Probe, SessionId,
    session::{Around, Session},
    want::Want,
};

/// Pending wants of a session that are looked at in one turn for having nobody to ask.
const MAX_SOUGHT: usize = 64;
/// Wants of a session that connected strangers are asked about at the same time: who has one of
/// them becomes a candidate for all.
const MAX_QUERIES: usize = 8;
/// How long connected peers may take to say HAVE before a search for others starts.
const SEARCH_DELAY: Duration = Duration::from_millis(500);

/// How often peers are asked for their share in what only sources outside of the swarm give.
const ASK_AROUND: Duration = Duration::from_secs(1);

/// Why a block cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Everybody who could be asked says no.
    Absent { asked: usize },
    /// There is nobody to ask: no peer connected, none found.
    Alone,
    /// Peers were asked, and nothing came for too long.
    Silent { refused: usize, silent: Vec<PeerId>, waited: Duration },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent { asked } => {
                write!(f, "none of the {asked} peers asked has it, and no other provider was found")
            }
            Self::Alone => f.write_str("no connected peer could be asked for it, and no provider was found"),
            Self::Silent { refused, silent, waited } => {
                write!(f, "nothing came for {} s: ", waited.as_secs())?;
                match &silent[..] {
                    [] => f.write_str("no peer was left to ask")?,
                    [first] => write!(f, "{first} did not deliver")?,
                    [first, ..] => {
                        write!(f, "{first} and {} others did not deliver", silent.len() - 1)?;
                    }
                }
                if *refused > 0 {
                    write!(f, ", {refused} peers do not have it")?;
                }
                Ok(())
            }
        }
    }
}

impl Core {
    /// The first want of a session: hinted peers are asked at once, all others whether they have it.
    pub(super) fn announce(&mut self, session: SessionId, cid: Cid) {
        let usable = self.usable();
        if self.sessions.get(&session).is_some_and(|session| self.is_outside(session)) {
            // Peers are asked around instead.
            return;
        }
        match (&usable[..], self.sessions.get_mut(&session)) {
            // Asking the only peer whether it has the block costs a round trip and gains nothing.
            ([only], Some(session)) if session.candidates.is_empty() => {
                session.add_candidate(*only);
            }
            _ => self.query(cid, usable),
        }
    }

    /// A peer connected: it may be the one that has what nobody else has.
    pub(super) fn ask_newcomer(&mut self, id: PeerId) {
        let mut lost = BTreeSet::new();
        for session in self.active.iter().filter_map(|id| self.sessions.get(id)) {
            if !session.candidates.contains(&id) {
                lost.extend(session.pending.values().take(MAX_SOUGHT).copied());
            }
        }
        for cid in lost {
            if self.wants.get(&cid).is_some_and(|want| want.queried_at.is_some()) {
                self.query(cid, vec![id]);
            }
        }
    }

    /// Looks after pending wants that no candidate can be asked for.
    pub(super) fn seek(&mut self, now: Instant) {
        for id in self.active.clone() {
            let session = &self.sessions[&id];
            for peer in session.candidates.clone() {
                if self.peers.get_mut(&peer).is_some_and(|p| p.dial(now)) {
                    self.actions.push_back(Action::Dial { peer });
                }
            }
            let session = &self.sessions[&id];
            let lost: Vec<Cid> = session
                .pending
                .values()
                .take(MAX_SOUGHT)
                .filter(|cid| !self.has_taker(id, &self.wants[*cid]))
                .copied()
                .collect();
            let open = |cid: &Cid| self.wants[cid].has_open_query(now);
            let room = MAX_QUERIES.saturating_sub(lost.iter().filter(|cid| open(cid)).count());
            let unqueried = lost.iter().filter(|cid| self.wants[*cid].queried_at.is_none());
            for cid in unqueried.take(room).copied().collect::<Vec<_>>() {
                let usable = self.usable();
                self.query(cid, usable);
                if let Some(want) = self.wants.get_mut(&cid) {
                    want.queried_at = Some(now);
                }
            }
            // A connected peer may still say HAVE, which spares the search.
            let unanswered = |cid: &&Cid| {
                let want = &self.wants[*cid];
                !want.queried.is_empty() && want.queried_at.is_none_or(|at| now - at < SEARCH_DELAY)
            };
            if let Some(cid) = lost.iter().find(|cid| !unanswered(cid)).copied() {
                self.search(id, cid, now);
            }
        }
    }

    /// A source outside of the swarm may answer before any peer could say HAVE. So peers are asked, now and then, in a
    /// way that outlives the want.
    pub(super) fn ask_around(&mut self, id: SessionId, now: Instant) {
        let session = &self.sessions[&id];
        if session.around.as_ref().is_some_and(|around| now - around.at < ASK_AROUND)
            || !self.is_outside(session)
        {
            return;
        }
        let Some(cid) = session.pending.values().next_back().copied() else { return };
        self.end_around(id);
        let mut usable = self.usable();
        usable.truncate(self.config.max_broadcast);
        for peer in &usable {
            self.outgoing.entry(*peer).or_default().push(Entry::want(cid, WantKind::Have));
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.around = Some(Around { cid, at: now, unanswered: usable.into_iter().collect() });
        }
    }

    /// Whether a session has candidates, and none is a peer.
    fn is_outside(&self, session: &Session) -> bool {
        let outside = |id: &PeerId| self.peers.get(id).is_some_and(|peer| peer.outside);
        !session.candidates.is_empty() && session.candidates.iter().all(outside)
    }

    /// Withdraws what was asked around and not answered.
    pub(super) fn end_around(&mut self, id: SessionId) {
        let around = self.sessions.get_mut(&id).and_then(|session| session.around.take());
        if let Some(Around { cid, unanswered, .. }) = around {
            unanswered.into_iter().for_each(|peer| self.withdraw(peer, cid));
        }
    }

    /// Cancels a question, unless a session wants the block from the same peer.
    fn withdraw(&mut self, id: PeerId, cid: Cid) {
        let wanted = self
            .wants
            .get(&cid)
            .is_some_and(|want| want.queried.contains(&id) || want.asked.iter().any(|ask| ask.peer == id));
        if let Some(peer) = self.peers.get_mut(&id)
            && !wanted
        {
            peer.settle(&cid);
            self.outgoing.entry(id).or_default().push(Entry::cancel(cid));
        }
    }

    /// Whether some candidate will take this want when it has room.
    fn has_taker(&self, session: SessionId, want: &Want) -> bool {
        self.sessions[&session]
            .candidates
            .iter()
            .any(|id| want.may_ask(id) && self.peers.get(id).is_some_and(|peer| peer.is_pulling()))
    }

    fn usable(&self) -> Vec<PeerId> {
        let mut ids: Vec<PeerId> =
            self.peers.iter().filter(|(_, p)| p.is_usable() && !p.outside).map(|(id, _)| *id).collect();
        // Those that have delivered before come first.
        ids.sort_by_key(|id| (self.peers[id].rate.is_none(), *id));
        ids
    }

    /// Sends WANT-HAVE to those of `peers` that know nothing of the want yet.
    fn query(&mut self, cid: Cid, peers: Vec<PeerId>) {
        let Some(want) = self.wants.get_mut(&cid) else { return };
        let candidates: BTreeSet<PeerId> = want
            .sessions
            .iter()
            .filter_map(|id| self.sessions.get(id))
            .flat_map(|session| session.candidates.iter().copied())
            .collect();
        let left = self.config.max_broadcast.saturating_sub(want.queried.len());
        let strangers = peers
            .into_iter()
            .filter(|id| !candidates.contains(id) && want.may_ask(id))
            .take(left)
            .collect::<Vec<_>>();
        for id in strangers {
            if want.queried.insert(id) {
                self.outgoing.entry(id).or_default().push(Entry::want(cid, WantKind::Have));
            }
        }
    }

    /// Starts a search for providers, unless one runs or ran a moment ago.
    fn search(&mut self, id: SessionId, lost: Cid, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.search.running || session.search.next.is_some_and(|next| now < next) {
            return;
        }
        // Providers announce roots, so that is looked for first, then what is missing.
        let cid = if session.search.ended { lost } else { session.root.unwrap_or(lost) };
        session.search.running = true;
        self.actions.push_back(Action::Find { session: id, cid });
    }

    /// A search ended with these providers.
    pub(crate) fn found(&mut self, id: SessionId, providers: Vec<PeerId>, now: Instant) {
        self.hint(id, providers, now);
        let find_every = self.config.find_every;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.search.running = false;
            session.search.ended = true;
            session.search.next = Some(now + find_every);
        }
    }

    /// Fails wants that nobody has, and those of sessions to which nothing came for too long.
    pub(super) fn check_failures(&mut self, now: Instant) {
        let mut failed = Vec::new();
        for (id, session) in &self.sessions {
            let silent = now - session.progress >= self.config.give_up_after;
            for cid in &session.wants {
                let want = &self.wants[cid];
                if silent && now - want.added >= self.config.give_up_after {
                    failed.push((*cid, self.silence(want)));
                } else if want.pending && self.is_exhausted(*id, want, now) {
                    match want.absent_since {
                        Some(since) if now - since < self.config.absent_after => {}
                        Some(_) => failed.push((*cid, self.absence(want))),
                        None => failed.push((*cid, None)),
                    }
                }
            }
        }
        for (cid, why) in failed {
            match why {
                Some(why) => {
                    if self.finish(&cid, None).is_some() {
                        self.actions.push_back(Action::Failed { cid, why });
                    }
                }
                None => {
                    if let Some(want) = self.wants.get_mut(&cid) {
                        want.absent_since = Some(now);
                    }
                }
            }
        }
    }

    /// Whether everything that could be tried for a pending want was tried.
    fn is_exhausted(&self, id: SessionId, want: &Want, now: Instant) -> bool {
        let session = &self.sessions[&id];
        let awaited = session
            .candidates
            .iter()
            .any(|id| want.may_ask(id) && self.peers.get(id).is_some_and(|p| p.is_awaited()));
        want.asked.is_empty()
            && want.queried_at.is_some()
            && !want.has_open_query(now)
            && !awaited
            && session.search.ended
            && !session.search.running
            && !self.has_taker(id, want)
    }

    fn absence(&self, want: &Want) -> Option<Failure> {
        Some(match want.refused.len() {
            0 => Failure::Alone,
            asked => Failure::Absent { asked },
        })
    }

    fn silence(&self, want: &Want) -> Option<Failure> {
        Some(Failure::Silent {
            refused: want.refused.len(),
            silent: want.asked.iter().map(|ask| ask.peer).collect(),
            waited: self.config.give_up_after,
        })
    }

    // ---- probes ----

    /// Asks peers whether they have a block; [`Action::Probed`] follows when all have answered.
    pub(crate) fn probe(&mut self, probe: u64, cid: Cid, peers: Option<Vec<PeerId>>) {
        let usable = self.usable();
        let asked: BTreeSet<PeerId> = match peers {
            Some(peers) => peers.into_iter().filter(|id| usable.contains(id)).collect(),
            None => usable.into_iter().take(self.config.max_broadcast).collect(),
        };
        for id in &asked {
            self.outgoing.entry(*id).or_default().push(Entry::want(cid, WantKind::Have));
        }
        self.probes.insert(probe, Probe { cid, unanswered: asked, have: Vec::new() });
        self.end_if_answered(probe);
    }

    /// Ends a probe, with what was answered so far.
    pub(crate) fn end_probe(&mut self, probe: u64) {
        let Some(Probe { cid, unanswered, have }) = self.probes.remove(&probe) else { return };
        unanswered.into_iter().for_each(|id| self.withdraw(id, cid));
        self.actions.push_back(Action::Probed { probe, have });
    }

    /// Notes a peer's answer to probes of one block, or of all when it is gone. True if some
    /// probe was waiting for it.
    pub(super) fn answered(&mut self, id: PeerId, cid: Option<&Cid>, has: bool) -> bool {
        let mut done = Vec::new();
        for (number, probe) in &mut self.probes {
            if cid.is_none_or(|cid| *cid == probe.cid) && probe.unanswered.remove(&id) {
                if has {
                    probe.have.push(id);
                }
                done.push(*number);
            }
        }
        done.iter().for_each(|probe| self.end_if_answered(*probe));
        let mut around = false;
        for session in self.sessions.values_mut() {
            let Some(asked) = &mut session.around else { continue };
            if cid.is_none_or(|cid| *cid == asked.cid) && asked.unanswered.remove(&id) {
                around = true;
                if has {
                    session.add_candidate(id);
                }
            }
        }
        // Who does not have it would remember the want, to deliver should the block arrive there.
        if let (true, false, Some(cid)) = (around, has, cid) {
            self.withdraw(id, *cid);
        }
        around || !done.is_empty()
    }

    fn end_if_answered(&mut self, probe: u64) {
        if self.probes.get(&probe).is_some_and(|p| p.unanswered.is_empty()) {
            self.end_probe(probe);
        }
    }
}
