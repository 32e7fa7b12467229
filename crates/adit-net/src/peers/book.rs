//! The peer book: addresses, what a peer is, how far away it is, and its open connections.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};

use super::SmoothedRtt;
use crate::traffic::PeerTraffic;

/// Agents and protocol lists come from strangers; longer text is cut.
const MAX_AGENT: usize = 128;

/// One peer as the operator, the placement and the API see it.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Who.
    pub peer: PeerId,
    /// Known addresses, those that worked first.
    pub addrs: Vec<Multiaddr>,
    /// What it calls itself; untrusted text, control characters removed. Empty until identified.
    pub agent: String,
    /// Whether it speaks Adit's job protocol.
    pub adit: bool,
    /// Whether a connection is open.
    pub connected: bool,
    /// How, for each open connection.
    pub transports: Vec<Transport>,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Bytes a second this peer has delivered when it was asked for much.
    pub bandwidth: Option<u64>,
    /// Bytes received from it by this process.
    pub bytes_in: u64,
    /// Bytes sent to it by this process.
    pub bytes_out: u64,
    /// How long the oldest open connection has been open.
    pub connected_for: Option<Duration>,
}

/// What a connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP with Noise and yamux.
    Tcp,
    /// QUIC.
    Quic,
    /// WebSocket with Noise and yamux.
    WebSocket,
    /// Through another peer.
    Relayed,
}

impl Transport {
    pub(crate) fn of(address: &Multiaddr) -> Self {
        let mut transport = Self::Tcp;
        for part in address.iter() {
            match part {
                Protocol::P2pCircuit => return Self::Relayed,
                Protocol::QuicV1 | Protocol::Quic => transport = Self::Quic,
                Protocol::Ws(_) | Protocol::Wss(_) => transport = Self::WebSocket,
                _ => {}
            }
        }
        transport
    }
}

/// One open connection.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) id: ConnectionId,
    pub(crate) transport: Transport,
    pub(crate) since: Instant,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct PeerBook {
    peers: HashMap<PeerId, Entry>,
    max_peers: usize,
    max_addresses: usize,
}

#[derive(Debug)]
struct Entry {
    /// Best first: an address that worked moves to the front, a failed one to the back.
    addresses: Vec<Multiaddr>,
    agent: String,
    adit: bool,
    routes: Vec<Route>,
    rtt: SmoothedRtt,
    traffic: Option<Arc<PeerTraffic>>,
    seen: Instant,
}

impl PeerBook {
    pub(crate) fn new(max_peers: usize, max_addresses: usize) -> Self {
        Self { peers: HashMap::new(), max_peers: max_peers.max(1), max_addresses: max_addresses.max(1) }
    }

    /// The entry of a peer. With every entry connected the book grows by that one: the connection
    /// limits are the bound then.
    fn entry(&mut self, peer: PeerId, now: Instant) -> &mut Entry {
        if !self.peers.contains_key(&peer) {
            self.shrink_to(self.max_peers - 1);
        }
        self.peers.entry(peer).or_insert_with(|| Entry {
            addresses: Vec::new(),
            agent: String::new(),
            adit: false,
            routes: Vec::new(),
            rtt: SmoothedRtt::default(),
            traffic: None,
            seen: now,
        })
    }

    /// Forgets the longest unseen unconnected peers, plain IPFS peers before Adit ones.
    fn shrink_to(&mut self, len: usize) {
        while self.peers.len() > len {
            let idle = self.peers.iter().filter(|(_, e)| e.routes.is_empty());
            match idle.min_by_key(|(_, e)| (e.adit, e.seen)).map(|(p, _)| *p) {
                Some(oldest) => drop(self.peers.remove(&oldest)),
                None => return,
            }
        }
    }

    pub(crate) fn connected(
        &mut self,
        peer: PeerId,
        route: Route,
        dialled: Option<Multiaddr>,
        traffic: Arc<PeerTraffic>,
    ) {
        let max = self.max_addresses;
        let now = route.since;
        let entry = self.entry(peer, now);
        entry.seen = now;
        entry.routes.push(route);
        entry.traffic = Some(traffic);
        if let Some(address) = dialled {
            entry.addresses.retain(|a| *a != address);
            entry.addresses.insert(0, address);
            entry.addresses.truncate(max);
        }
    }

    pub(crate) fn disconnected(&mut self, peer: &PeerId, connection: ConnectionId, now: Instant) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.routes.retain(|r| r.id != connection);
            entry.seen = now;
        }
        self.shrink_to(self.max_peers);
    }

    /// Adds addresses behind those already known, oldest of the unproven ones dropped.
    pub(crate) fn learn(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
        now: Instant,
    ) {
        let max = self.max_addresses;
        let entry = self.entry(peer, now);
        for address in addresses {
            if entry.addresses.len() < max && !entry.addresses.contains(&address) {
                entry.addresses.push(address);
            }
        }
    }

    pub(crate) fn address_failed(&mut self, peer: &PeerId, address: &Multiaddr) {
        let Some(entry) = self.peers.get_mut(peer) else { return };
        if let Some(at) = entry.addresses.iter().position(|a| a == address) {
            let address = entry.addresses.remove(at);
            // With room left it may work later; with the book full it makes place.
            if entry.addresses.len() + 1 < self.max_addresses {
                entry.addresses.push(address);
            }
        }
    }

    pub(crate) fn identified(&mut self, peer: PeerId, agent: &str, adit: bool, now: Instant) {
        let entry = self.entry(peer, now);
        entry.agent = agent.chars().filter(|c| !c.is_control()).take(MAX_AGENT).collect();
        entry.adit = adit;
    }

    pub(crate) fn ping(&mut self, peer: &PeerId, rtt: Duration) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.rtt.sample(rtt);
        }
    }

    pub(crate) fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.peers.get(peer)?.rtt.get()
    }

    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.peers.get(peer).map(|e| e.addresses.clone()).unwrap_or_default()
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|e| !e.routes.is_empty())
    }

    pub(crate) fn adit_peers(&self) -> usize {
        self.peers.values().filter(|e| e.adit && !e.routes.is_empty()).count()
    }

    pub(crate) fn info(&self, peer: &PeerId, now: Instant) -> Option<PeerInfo> {
        self.peers.get(peer).map(|entry| entry.info(*peer, now))
    }

    /// Every known peer, connected ones first, then by distance.
    pub(crate) fn list(&self, now: Instant) -> Vec<PeerInfo> {
        let mut all: Vec<PeerInfo> = self.peers.iter().map(|(peer, e)| e.info(*peer, now)).collect();
        all.sort_by_key(|p| (!p.connected, p.rtt.unwrap_or(Duration::MAX), p.peer));
        all
    }
}

impl Entry {
    fn info(&self, peer: PeerId, now: Instant) -> PeerInfo {
        let traffic = self.traffic.as_deref();
        PeerInfo {
            peer,
            addrs: self.addresses.clone(),
            agent: self.agent.clone(),
            adit: self.adit,
            connected: !self.routes.is_empty(),
            transports: self.routes.iter().map(|r| r.transport).collect(),
            rtt: self.rtt.get(),
            bandwidth: traffic.and_then(PeerTraffic::bandwidth),
            bytes_in: traffic.map_or(0, PeerTraffic::bytes_in),
            bytes_out: traffic.map_or(0, PeerTraffic::bytes_out),
            connected_for: self.routes.iter().map(|r| now.saturating_duration_since(r.since)).max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(id: usize, since: Instant) -> Route {
        Route { id: ConnectionId::new_unchecked(id), transport: Transport::Tcp, since }
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Learn(usize, Vec<u16>),
        Connect(usize, u16),
        Close(usize),
        Fail(usize, u16),
        Identify(usize, bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let peer = 0usize..24;
        let step = prop_oneof![
            (peer.clone(), proptest::collection::vec(1u16..40, 0..8)).prop_map(|(p, a)| Step::Learn(p, a)),
            (peer.clone(), 1u16..40).prop_map(|(p, a)| Step::Connect(p, a)),
            peer.clone().prop_map(Step::Close),
            (peer.clone(), 1u16..40).prop_map(|(p, a)| Step::Fail(p, a)),
            (peer, any::<bool>()).prop_map(|(p, a)| Step::Identify(p, a)),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        /// Bounds hold under any schedule, connected peers are never forgotten, no address is
        /// listed twice, and the address dialled last is listed first.
        #[test]
        fn any_schedule_keeps_the_bounds(steps in steps()) {
            let peers: Vec<PeerId> = (0..24).map(|_| PeerId::random()).collect();
            let mut open: HashMap<PeerId, Vec<usize>> = HashMap::new();
            let mut book = PeerBook::new(6, 4);
            let start = Instant::now();
            for (tick, step) in steps.into_iter().enumerate() {
                let now = start + Duration::from_secs(tick as u64);
                match step {
                    Step::Learn(p, ports) => book.learn(peers[p], ports.into_iter().map(address), now),
                    Step::Connect(p, port) => {
                        book.connected(peers[p], route(tick, now), Some(address(port)), Arc::default());
                        open.entry(peers[p]).or_default().push(tick);
                        let known = book.addresses(&peers[p]);
                        prop_assert_eq!(known.first(), Some(&address(port)));
                    }
                    Step::Close(p) => if let Some(id) = open.get_mut(&peers[p]).and_then(Vec::pop) {
                        book.disconnected(&peers[p], ConnectionId::new_unchecked(id), now);
                    },
                    Step::Fail(p, port) => book.address_failed(&peers[p], &address(port)),
                    Step::Identify(p, adit) => book.identified(peers[p], "x\u{1b}[31my", adit, now),
                }
                open.retain(|_, ids| !ids.is_empty());
                let all = book.list(now);
                prop_assert!(all.len() <= 6.max(open.len() + 1), "{} entries", all.len());
                for (peer, ids) in &open {
                    let info = book.info(peer, now).expect("connected peers are kept");
                    prop_assert_eq!(info.transports.len(), ids.len());
                }
                for info in all {
                    prop_assert!(info.addrs.len() <= 4);
                    let mut unique = info.addrs.clone();
                    unique.sort();
                    unique.dedup();
                    prop_assert_eq!(unique.len(), info.addrs.len());
                    prop_assert!(!info.agent.contains(char::is_control));
                    prop_assert_eq!(info.connected, open.contains_key(&info.peer));
                }
            }
        }
    }

    #[test]
    fn transports_are_told_from_addresses() {
        let of = |text: &str| Transport::of(&text.parse().unwrap());
        assert_eq!(of("/ip4/1.2.3.4/tcp/1"), Transport::Tcp);
        assert_eq!(of("/ip4/1.2.3.4/udp/1/quic-v1"), Transport::Quic);
        assert_eq!(of("/ip4/1.2.3.4/tcp/1/ws"), Transport::WebSocket);
        let relay = PeerId::random();
        assert_eq!(of(&format!("/ip4/1.2.3.4/udp/1/quic-v1/p2p/{relay}/p2p-circuit")), Transport::Relayed);
    }
}
