//! Whose incoming connection is closed when there are too many.
//!
//! Refusing newcomers would let a few hundred silent connections keep everybody else out. So the newcomer is let in, and
//! the connection of a peer that we had no dealings with for the longest time goes. Dealings are what we do, since what
//! others do is theirs to invent: bytes that we sent, blocks that we wanted and got, jobs that we answered to.

use std::{collections::HashMap, time::Instant};

use libp2p::{PeerId, swarm::ConnectionId};

/// So many more bytes exchanged with a peer count as dealing with it. Identify and an hour of pings stay below.
const DEALINGS: u64 = 16 << 10;

/// What there was between us and a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dealings {
    /// Bytes that we sent, and bytes of blocks that we wanted and got.
    pub(crate) bytes: u64,
    /// Whether a job of theirs is being dealt with now.
    pub(crate) job: bool,
}

#[derive(Debug)]
struct Guest {
    peer: PeerId,
    /// When it came, or when dealings with it were noticed last.
    active: Instant,
    /// See [`Dealings::bytes`], by then.
    bytes: u64,
}

/// Incoming connections, up to a number.
#[derive(Debug)]
pub(crate) struct Crowd {
    limit: usize,
    guests: HashMap<ConnectionId, Guest>,
}

impl Crowd {
    pub(crate) fn new(limit: usize) -> Self {
        Crowd { limit, guests: HashMap::new() }
    }

    /// Notes a newcomer. Gives the connection to close for it, if there are too many.
    ///
    /// `dealings` tells of each peer what there was so far.
    pub(crate) fn arrived(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        now: Instant,
        dealings: impl Fn(&PeerId) -> Dealings,
    ) -> Option<ConnectionId> {
        self.guests.insert(id, Guest { peer, active: now, bytes: dealings(&peer).bytes });
        if self.guests.len() <= self.limit {
            return None;
        }
        for guest in self.guests.values_mut() {
            let Dealings { bytes, job } = dealings(&guest.peer);
            if job || bytes >= guest.bytes.saturating_add(DEALINGS) {
                *guest = Guest { peer: guest.peer, active: now, bytes };
            }
        }
        let idlest =
            self.guests.iter().filter(|(other, _)| **other != id).min_by_key(|(_, guest)| guest.active);
        let (idlest, _) = idlest?;
        let idlest = *idlest;
        self.guests.remove(&idlest);
        Some(idlest)
    }

    /// Forgets a connection that has ended.
    pub(crate) fn left(&mut self, id: ConnectionId) {
        self.guests.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    #[test]
    fn whoever_is_dealt_with_stays_and_the_longest_silent_goes() {
        let mut crowd = Crowd::new(4);
        let start = Instant::now();
        let busy = PeerId::random();
        let later = |n: usize| start + Duration::from_secs(n as u64);
        // The busy one came first.
        assert_eq!(crowd.arrived(id(0), busy, start, |_| Dealings::default()), None);
        let mut closed = Vec::new();
        for n in 1..100 {
            let dealings = |peer: &PeerId| match *peer == busy {
                true if n % 2 == 0 => Dealings { bytes: n as u64 * DEALINGS, job: false },
                true => Dealings { bytes: 0, job: true },
                false => Dealings { bytes: DEALINGS - 1, job: false },
            };
            closed.extend(crowd.arrived(id(n), PeerId::random(), later(n), dealings));
        }
        // One goes for each that comes, in the order of their coming, and never the busy one.
        assert_eq!(closed, (1..=96).map(id).collect::<Vec<_>>());
        assert!(crowd.guests.contains_key(&id(0)) && crowd.guests.len() == 4);
        // When it falls silent, its turn comes.
        let silent = |_: &PeerId| Dealings { bytes: DEALINGS - 1, job: false };
        let closed: Vec<_> =
            (100..104).filter_map(|n| crowd.arrived(id(n), PeerId::random(), later(n), silent)).collect();
        assert!(closed.contains(&id(0)), "{closed:?}");
    }

    #[test]
    fn who_has_left_takes_no_place() {
        let mut crowd = Crowd::new(2);
        let now = Instant::now();
        for n in 0..50 {
            assert_eq!(crowd.arrived(id(n), PeerId::random(), now, |_| Dealings::default()), None);
            crowd.left(id(n));
        }
        // A newcomer is never closed for itself.
        let mut alone = Crowd::new(0);
        assert_eq!(alone.arrived(id(1), PeerId::random(), now, |_| Dealings::default()), None);
    }
}
