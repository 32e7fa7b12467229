//! Wants that are in slow or silent hands.

use std::time::{Duration, Instant};

use cid::Cid;
use libp2p::PeerId;

use super::{
    Action, Core, SessionId,
    peer::{Peer, Remedy},
    want::Want,
};

/// A want is left with the peer it was asked of for at least this long.
const LEAST_AGE: Duration = Duration::from_millis(250);
/// An idle peer takes a want over if it would deliver this much sooner (times, plus seconds).
const SOONER: f64 = 2.0;
const SOONER_BY: f64 = 0.1;

impl Core {
    /// Looks after peers that have been silent.
    pub(super) fn check_stalls(&mut self, now: Instant) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.dial_hangs(now) {
                self.dial_failed(id, now);
                continue;
            }
            match peer.check(now) {
                Remedy::None => {}
                Remedy::Stalled => {
                    tracing::debug!(peer = %id, "delivers nothing, its wants go to others too");
                    self.offer_elsewhere(id);
                }
                Remedy::Again => {
                    tracing::debug!(peer = %id, "still delivers nothing, asking it again");
                    let cids = peer.in_flight.iter().copied().collect();
                    self.actions.push_back(Action::Again { peer: id, cids });
                }
                Remedy::Close => {
                    self.release(id);
                    self.outgoing.remove(&id);
                    self.hang_up(id, now);
                    let why = "it answers nothing any more";
                    self.actions.push_back(Action::Close { peer: id, why });
                }
            }
        }
    }

    /// A connection about to be closed is not used any more.
    pub(super) fn hang_up(&mut self, id: PeerId, now: Instant) {
        let redial_from = now + self.config.redial_after;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.disconnected(redial_from);
        }
    }

    /// Makes what a silent peer was asked pending again, while its answers stay welcome.
    fn offer_elsewhere(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        for cid in peer.in_flight.iter().copied().collect::<Vec<_>>() {
            let Some(want) = self.wants.get_mut(&cid) else { continue };
            want.doubt(&id);
            if !want.pending && want.relied_on().next().is_none() {
                self.requeue(cid);
            }
        }
    }

    /// Lets idle candidates take over what slower ones have not delivered: the end of a transfer
    /// would otherwise last as long as the slowest peer takes for its share.
    pub(super) fn rescue(&mut self, now: Instant) {
        let sessions: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.pending.is_empty() && !s.wants.is_empty() && s.candidates.len() > 1)
            .map(|(id, _)| *id)
            .collect();
        for session in sessions {
            self.doubt_strangers(session, now);
            let mut candidates = self.sessions[&session].candidates.clone();
            candidates.sort_by_key(|id| !self.peers.get(id).is_some_and(Peer::is_proven));
            for id in candidates {
                let Some(peer) = self.peers.get(&id) else { continue };
                let room = peer.room(false).div_ceil(2);
                if room == 0 {
                    continue;
                }
                let mut slow: Vec<(Option<Instant>, Cid)> = self.sessions[&session]
                    .wants
                    .iter()
                    .filter(|cid| self.would_be_sooner(&self.wants[*cid], id, now))
                    .map(|cid| (self.wants[cid].asked.last().map(|ask| ask.at), *cid))
                    .collect();
                // What was asked last comes last.
                slow.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
                for (_, cid) in slow.into_iter().take(room) {
                    self.ask(id, cid, now);
                }
            }
        }
    }

    /// A peer that has never delivered is not waited for alone: anybody can say HAVE.
    fn doubt_strangers(&mut self, session: SessionId, now: Instant) {
        for cid in &self.sessions[&session].wants {
            let Some(want) = self.wants.get_mut(cid) else { continue };
            for ask in &mut want.asked {
                let stranger = self.peers.get(&ask.peer).is_none_or(|peer| !peer.has_delivered());
                ask.doubtful |= stranger && now - ask.at >= LEAST_AGE;
            }
        }
    }

    fn would_be_sooner(&self, want: &Want, taker: PeerId, now: Instant) -> bool {
        if !want.may_ask(&taker) {
            return false;
        }
        let mut relied_on = want.relied_on();
        let (ask, others) = match (relied_on.next(), relied_on.count()) {
            // As many again as have been tried in vain.
            (None, _) => return true,
            (Some(_), others) if want.doubtful() > 0 => return others + 1 < want.doubtful(),
            (Some(ask), others) => (*ask, others),
        };
        let age = now - ask.at;
        if age < LEAST_AGE || others > 0 {
            return false;
        }
        let (Some(slow), Some(taker)) = (self.peers.get(&ask.peer), self.peers.get(&taker)) else {
            return false;
        };
        let left = if slow.is_pulling() {
            // A peer whose rate is unknown is as slow as it has been so far.
            slow.rate.map_or(age.as_secs_f64(), |_| slow.load())
        } else {
            f64::INFINITY
        };
        left > taker.load() * SOONER + SOONER_BY
    }
}
