//! Which configured peers to dial again, and when.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};

/// The first retry comes after this long, each next one after twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// A peer that is gone for good costs one dial in this time.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// A dial that neither succeeds nor fails is forgotten after this long.
const DIAL_GIVEN_UP: Duration = Duration::from_secs(60);

/// The back-off clockwork of configured peers: told what happened, it says whom to dial.
#[derive(Debug, Default)]
pub(crate) struct Redial {
    peers: HashMap<PeerId, Wanted>,
}

#[derive(Debug)]
struct Wanted {
    addresses: Vec<Multiaddr>,
    failures: u32,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Connected,
    Dialing { since: Instant },
    Waiting { until: Instant },
}

impl Redial {
    /// Adds a peer to stay connected with; it is due at once.
    pub(crate) fn want(&mut self, peer: PeerId, address: Multiaddr, now: Instant) {
        let entry = self.peers.entry(peer).or_insert_with(|| Wanted {
            addresses: Vec::new(),
            failures: 0,
            state: State::Waiting { until: now },
        });
        if !entry.addresses.contains(&address) {
            entry.addresses.push(address);
        }
    }

    pub(crate) fn on_connected(&mut self, peer: &PeerId) {
        if let Some(wanted) = self.peers.get_mut(peer) {
            wanted.state = State::Connected;
        }
    }

    /// The last connection to this peer closed. The count of failures is kept, so that a peer
    /// which accepts and drops us at once is not dialled in a tight loop.
    pub(crate) fn on_disconnected(&mut self, peer: &PeerId, now: Instant) {
        self.back_off(peer, now);
    }

    pub(crate) fn on_failed(&mut self, peer: &PeerId, now: Instant) {
        if self.peers.get(peer).is_some_and(|w| w.state != State::Connected) {
            self.back_off(peer, now);
        }
    }

    /// The connection has proved useful: the next loss starts from the shortest delay again.
    pub(crate) fn on_useful(&mut self, peer: &PeerId) {
        if let Some(wanted) = self.peers.get_mut(peer) {
            wanted.failures = 0;
        }
    }

    fn back_off(&mut self, peer: &PeerId, now: Instant) {
        let Some(wanted) = self.peers.get_mut(peer) else { return };
        let delay = FIRST.saturating_mul(1 << wanted.failures.min(16)).min(LONGEST);
        wanted.failures = wanted.failures.saturating_add(1);
        wanted.state = State::Waiting { until: now + spread(delay, peer, wanted.failures) };
    }

    /// Peers to dial now, with their configured addresses. They count as being dialled.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut due = Vec::new();
        for (peer, wanted) in &mut self.peers {
            let ready = match wanted.state {
                State::Connected => false,
                State::Dialing { since } => now >= since + DIAL_GIVEN_UP,
                State::Waiting { until } => now >= until,
            };
            if ready {
                wanted.state = State::Dialing { since: now };
                due.push((*peer, wanted.addresses.clone()));
            }
        }
        due
    }

    /// When [`Self::due`] next has something, if nothing happens before.
    pub(crate) fn next(&self) -> Option<Instant> {
        let at = |wanted: &Wanted| match wanted.state {
            State::Connected => None,
            State::Dialing { since } => Some(since + DIAL_GIVEN_UP),
            State::Waiting { until } => Some(until),
        };
        self.peers.values().filter_map(at).min()
    }
}

/// `delay` changed by up to a quarter, by peer and attempt, so that the nodes of a network that
/// restarts don't dial in step.
fn spread(delay: Duration, peer: &PeerId, attempt: u32) -> Duration {
    let byte = peer.to_bytes().last().copied().unwrap_or(0).wrapping_mul(31).wrapping_add(attempt as u8);
    delay * 3 / 4 + delay / 2 * u32::from(byte) / 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Connected(usize),
        Disconnected(usize),
        Failed(usize),
        Useful(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0u64..400_000).prop_map(Step::Wait),
            (0usize..3).prop_map(Step::Connected),
            (0usize..3).prop_map(Step::Disconnected),
            (0usize..3).prop_map(Step::Failed),
            (0usize..3).prop_map(Step::Useful),
        ];
        proptest::collection::vec(step, 1..120)
    }

    proptest! {
        /// Whatever happens: a connected peer is never dialled, no peer is dialled twice without
        /// an answer or a minute between, and every unconnected peer is due within 6.25 minutes.
        #[test]
        fn any_schedule_dials_neither_too_often_nor_never(steps in steps()) {
            let peers: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
            let mut now = Instant::now();
            let mut redial = Redial::default();
            for peer in &peers {
                redial.want(*peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), now);
            }
            let mut connected = [false; 3];
            let mut dialing: [Option<Instant>; 3] = [None; 3];
            for step in steps {
                match step {
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::Connected(i) => { redial.on_connected(&peers[i]); connected[i] = true; dialing[i] = None; }
                    Step::Disconnected(i) if connected[i] => {
                        redial.on_disconnected(&peers[i], now);
                        connected[i] = false;
                    }
                    Step::Failed(i) if !connected[i] => { redial.on_failed(&peers[i], now); dialing[i] = None; }
                    Step::Useful(i) => redial.on_useful(&peers[i]),
                    Step::Disconnected(_) | Step::Failed(_) => {}
                }
                for (peer, addresses) in redial.due(now) {
                    let i = peers.iter().position(|p| *p == peer).unwrap();
                    prop_assert!(!connected[i]);
                    prop_assert!(dialing[i].is_none_or(|since| now >= since + DIAL_GIVEN_UP));
                    prop_assert!(!addresses.is_empty());
                    dialing[i] = Some(now);
                }
                if connected.iter().any(|c| !c) {
                    let next = redial.next().unwrap();
                    prop_assert!(next <= now + LONGEST * 5 / 4);
                } else {
                    prop_assert_eq!(redial.next(), None);
                }
            }
        }
    }

    #[test]
    fn delays_double_up_to_the_longest_and_start_over_when_useful() {
        let (peer, mut now) = (PeerId::random(), Instant::now());
        let mut redial = Redial::default();
        redial.want(peer, "/ip4/127.0.0.1/tcp/1".parse().unwrap(), now);
        let mut delays = Vec::new();
        for _ in 0..12 {
            assert_eq!(redial.due(now).len(), 1);
            redial.on_failed(&peer, now);
            let next = redial.next().unwrap();
            delays.push(next - now);
            now = next;
        }
        assert!(delays[0] >= FIRST * 3 / 4 && delays[0] <= FIRST * 5 / 4);
        assert!(delays[11] >= LONGEST * 3 / 4 && delays[11] <= LONGEST * 5 / 4);
        redial.on_connected(&peer);
        redial.on_useful(&peer);
        redial.on_disconnected(&peer, now);
        assert!(redial.next().unwrap() - now <= FIRST * 5 / 4);
    }
}
