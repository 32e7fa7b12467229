//! Being reachable: DHT server or client, and relays for a node that nobody can dial.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, core::transport::ListenerId, identify, kad, multiaddr::Protocol, relay};

use super::Task;
use crate::{
    Scope,
    address::{is_global, is_relayed},
    config::DhtMode,
};

/// A relay that refused is followed by the next one after this long.
const NEXT_TRY: Duration = Duration::from_secs(60);
/// Relays held at once. Relayed connections carry little (a few minutes, some 100 KB): they are
/// for hole punching, and two of them are for one that goes away.
const RELAYS: usize = 2;
const CANDIDATES: usize = 32;

/// Relays that we know and use. Plain state.
#[derive(Debug)]
pub(super) struct Relays {
    candidates: HashMap<PeerId, Multiaddr>,
    used: HashMap<ListenerId, PeerId>,
    reachable: bool,
    next: Option<Instant>,
}

impl Relays {
    /// `after` is how long AutoNAT gets to confirm an address first; `None` for no relays at all.
    pub(super) fn new(after: Option<Duration>, now: Instant) -> Self {
        let (candidates, used) = (HashMap::new(), HashMap::new());
        Self { candidates, used, reachable: false, next: after.map(|after| now + after) }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let wants = !self.reachable && self.used.len() < RELAYS && !self.candidates.is_empty();
        if wants { self.next } else { None }
    }

    fn candidate(&mut self, peer: PeerId, address: Multiaddr) {
        if self.candidates.len() < CANDIDATES && !self.used.values().any(|p| *p == peer) {
            self.candidates.insert(peer, address);
        }
    }

    /// The next relay to ask, if one is due. It is no candidate any more.
    fn take(&mut self, now: Instant) -> Option<(PeerId, Multiaddr)> {
        if self.next().is_none_or(|at| now < at) {
            return None;
        }
        self.next = Some(now + NEXT_TRY);
        let peer = *self.candidates.keys().next()?;
        self.candidates.remove_entry(&peer)
    }

    fn asked(&mut self, listener: ListenerId, peer: PeerId) {
        self.used.insert(listener, peer);
    }

    pub(super) fn closed(&mut self, listener: ListenerId) {
        self.used.remove(&listener);
    }

    /// Told whether others can dial us directly; returns relays that are of no more use.
    fn set_reachable(&mut self, reachable: bool) -> Vec<ListenerId> {
        self.reachable = reachable;
        if reachable { self.used.drain().map(|(listener, _)| listener).collect() } else { Vec::new() }
    }
}

impl Task {
    /// A peer has told what it speaks: it may be a relay.
    pub(super) fn consider_relay(&mut self, peer: PeerId, info: &identify::Info) {
        if self.config.scope == Scope::Internet && info.protocols.contains(&relay::HOP_PROTOCOL_NAME) {
            let address = info.listen_addrs.iter().find(|a| is_global(a) && !is_relayed(a));
            if let Some(address) = address {
                self.relays.candidate(peer, address.clone());
            }
        }
    }

    pub(super) fn relay_due(&mut self, now: Instant) {
        let Some((peer, address)) = self.relays.take(now) else { return };
        let Ok(address) = address.with_p2p(peer) else { return };
        match self.swarm.listen_on(address.with(Protocol::P2pCircuit)) {
            Ok(listener) => self.relays.asked(listener, peer),
            Err(error) => tracing::debug!(%peer, %error, "cannot listen through a relay"),
        }
    }

    /// On a local network every address that we listen on is one where others reach us. Provider records and the
    /// answers of other nodes' DHT carry no others.
    pub(super) fn reached_at(&mut self, address: Multiaddr) {
        if self.config.scope == Scope::Local && !is_relayed(&address) {
            self.swarm.add_external_address(address);
        }
    }

    pub(super) fn not_reached_at(&mut self, address: &Multiaddr) {
        if self.config.scope == Scope::Local {
            self.swarm.remove_external_address(address);
        }
    }

    /// Our confirmed addresses have changed. A relayed one makes nobody a DHT server: the library
    /// would count it, and every query would go through a relay then.
    pub(super) fn on_external(&mut self) {
        let external: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        let direct = external.iter().any(|a| !is_relayed(a));
        *self.state.external.write() = external;
        if self.config.dht == DhtMode::WhenReachable {
            let mode = if direct { kad::Mode::Server } else { kad::Mode::Client };
            self.swarm.behaviour_mut().kad.set_mode(Some(mode));
        }
        if let Some(server) = self.swarm.behaviour_mut().relay_server.as_mut() {
            // Of itself the library would take a relayed address for a reason to relay.
            server.set_status(Some(if direct { relay::Status::Enable } else { relay::Status::Disable }));
        }
        for listener in self.relays.set_reachable(direct) {
            self.swarm.remove_listener(listener);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(150);

    #[test]
    fn relays_are_for_nodes_that_nobody_reaches() {
        let start = Instant::now();
        let address: Multiaddr = "/ip4/1.1.1.1/tcp/1".parse().unwrap();
        let mut relays = Relays::new(Some(PATIENCE), start);
        let peers: Vec<PeerId> = (0..4).map(|_| PeerId::random()).collect();
        assert_eq!(relays.next(), None, "no candidates yet");
        for peer in &peers {
            relays.candidate(*peer, address.clone());
        }
        assert!(relays.take(start).is_none(), "reachability is probed first");
        let mut now = start + PATIENCE;
        let mut asked = Vec::new();
        while let Some((peer, _)) = relays.take(now) {
            let listener = ListenerId::next();
            relays.asked(listener, peer);
            asked.push((listener, peer));
            assert!(relays.take(now).is_none(), "one at a time");
            now += NEXT_TRY;
        }
        assert_eq!(asked.len(), RELAYS);
        relays.closed(asked[0].0);
        let (again, _) = relays.take(now).expect("one that closed is replaced");
        assert!(asked.iter().all(|(_, peer)| *peer != again));
        assert_eq!(relays.set_reachable(true), [asked[1].0]);
        assert!(relays.take(now + PATIENCE).is_none());
        assert!(Relays::new(None, start).next().is_none());
    }
}
