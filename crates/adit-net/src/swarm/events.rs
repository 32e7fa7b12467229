//! What the swarm reports.

use std::time::Instant;

use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    identify, mdns, ping,
    swarm::{ConnectionId, SwarmEvent},
};

use super::Task;
use crate::{
    Scope,
    address::is_global,
    behaviour::BehaviourEvent,
    datagrams,
    job::JOB_PROTOCOL,
    metrics::Count,
    peers::{Dealings, Route, Transport},
};

/// A connection is given up after this many pings in a row without an answer.
const PINGS_LOST: u8 = 2;

impl Task {
    pub(super) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                let now = Instant::now();
                tracing::debug!(%peer_id, ?cause, "connection closed");
                self.state.metrics.connections_closed.one();
                self.state.book.write().disconnected(&peer_id, connection_id, now);
                self.failed_pings.remove(&connection_id);
                self.crowd.left(connection_id);
                if num_established == 0 {
                    self.redial.on_disconnected(&peer_id, now);
                    self.bootstrap.on_disconnected(&peer_id, now);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.state.metrics.dials_failed.one();
                self.on_dial_error(peer_id, connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                tracing::debug!(%error, "incoming connection failed");
                self.state.metrics.connections_refused.one();
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening");
                datagrams::make_room(&address);
                let mut listening = self.state.listening.write();
                if !listening.contains(&address) {
                    listening.push(address.clone());
                }
                drop(listening);
                self.reached_at(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.not_reached_at(&address);
                self.state.listening.write().retain(|a| *a != address);
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.relays.closed(listener_id);
                if let Err(error) = reason {
                    tracing::warn!(%error, ?addresses, "a listener closed");
                }
                self.state.listening.write().retain(|a| !addresses.contains(a));
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener"),
            SwarmEvent::ExternalAddrConfirmed { .. } | SwarmEvent::ExternalAddrExpired { .. } => {
                self.on_external();
            }
            SwarmEvent::NewExternalAddrOfPeer { peer_id, address } => drop(self.learn(peer_id, [address])),
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.on_identified(peer_id, info);
            }
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Adverts(news) => self.on_pushed(news),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.state.book.write().learn(peer, [address], Instant::now());
                    // Who has the connection's other end in mind does not matter on a LAN.
                    let _ = self.dial_known(peer);
                }
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        self.state.metrics.connections_opened.one();
        // The remote address of one who came through a relay is their bare name.
        let transport = if endpoint.is_relayed() {
            Transport::Relayed
        } else {
            Transport::of(endpoint.get_remote_address())
        };
        let dialled = match endpoint {
            ConnectedPoint::Dialer { address, .. } => Some(address.clone()),
            ConnectedPoint::Listener { .. } => None,
        };
        let since = Instant::now();
        let route = Route { id, transport, since };
        let traffic = self.state.traffic.of(peer);
        let came = dialled.is_none();
        self.state.book.write().connected(peer, route, dialled, traffic);
        if came {
            let dealings = |peer: &PeerId| {
                let blocks = self.exchange.traffic(peer).map_or(0, |traffic| traffic.received);
                let bytes = self.state.traffic.of(*peer).bytes_out().saturating_add(blocks);
                Dealings { bytes, job: self.state.budget.is_dealing_with(peer) }
            };
            if let Some(idlest) = self.crowd.arrived(id, peer, since, dealings) {
                tracing::debug!(%peer, "full: the idlest connection makes room");
                self.state.metrics.connections_made_room.one();
                self.swarm.close_connection(idlest);
            }
        }
        self.on_dialled(peer, id);
    }

    fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        let adit = info.protocols.contains(&JOB_PROTOCOL);
        self.state.book.write().identified(peer, &info.agent_version, adit, Instant::now());
        self.consider_relay(peer, &info);
        let routes = info.protocols.contains(&self.config.kad_protocol());
        let addresses = self.learn(peer, info.listen_addrs);
        if routes {
            for address in addresses {
                self.swarm.behaviour_mut().kad.add_address(&peer, address);
            }
        }
        self.redial.on_useful(&peer);
        self.bootstrap.on_useful(&peer);
    }

    /// Keeps the addresses of a peer that may be of use here, and returns them. On the internet,
    /// strangers' private addresses would only make us dial into our own LAN.
    pub(super) fn learn(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
    ) -> Vec<Multiaddr> {
        let local = self.config.scope == Scope::Local;
        let useful: Vec<Multiaddr> = addresses
            .into_iter()
            .take(self.config.limits.addresses_per_peer)
            .filter(|a| local || is_global(a))
            .collect();
        self.state.book.write().learn(peer, useful.iter().cloned(), Instant::now());
        useful
    }

    fn on_ping(&mut self, ping::Event { peer, connection, result }: ping::Event) {
        match result {
            Ok(rtt) => {
                self.failed_pings.remove(&connection);
                self.state.book.write().ping(&peer, rtt);
            }
            Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                self.state.metrics.pings_failed.one();
                let failed = self.failed_pings.entry(connection).or_default();
                *failed += 1;
                if *failed >= PINGS_LOST {
                    tracing::debug!(%peer, %error, "no answer to pings, closing the connection");
                    self.swarm.close_connection(connection);
                }
            }
        }
    }
}
