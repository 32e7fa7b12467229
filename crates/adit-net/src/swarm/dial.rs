//! Connecting: on request, to configured peers, to first contacts.

use std::time::Instant;

use libp2p::{
    Multiaddr, PeerId,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{Reply, Task};
use crate::error::ConnectError;

/// Peers that someone waits to be connected with; a bound on what a burst of jobs can start.
const MAX_WAITING: usize = 256;
/// With fewer connections than this, first contacts are dialled again.
const FEW: u32 = 3;

/// Requests that end when a peer is connected, or can't be.
pub(super) struct Waiting {
    replies: Vec<Reply<Result<(), ConnectError>>>,
    /// Whether the DHT was asked where the peer is.
    looked_up: bool,
}

/// A request to dial one address.
pub(super) struct Attempt {
    address: Multiaddr,
    reply: Reply<Result<PeerId, ConnectError>>,
}

/// The peer id at an address's end.
pub(crate) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

impl Task {
    pub(super) fn few_peers(&self) -> bool {
        self.swarm.network_info().connection_counters().num_established() < FEW
    }

    pub(super) fn connect(&mut self, address: Multiaddr, reply: Reply<Result<PeerId, ConnectError>>) {
        let peer = peer_of(&address);
        if peer == Some(*self.swarm.local_peer_id()) {
            let _ = reply.send(Err(ConnectError::Myself));
            return;
        }
        if self.attempts.len() >= MAX_WAITING {
            let _ = reply.send(Err(ConnectError::Busy));
            return;
        }
        let opts = match peer {
            Some(peer) if self.swarm.is_connected(&peer) => {
                let _ = reply.send(Ok(peer));
                return;
            }
            Some(peer) => DialOpts::peer_id(peer)
                .addresses(vec![address.clone()])
                .condition(PeerCondition::Always)
                .build(),
            None => DialOpts::unknown_peer_id().address(address.clone()).build(),
        };
        let id = opts.connection_id();
        match self.swarm.dial(opts) {
            Ok(()) => drop(self.attempts.insert(id, Attempt { address, reply })),
            Err(error) => drop(reply.send(Err(explain(&error, None)))),
        }
    }

    pub(super) fn dial(&mut self, peer: PeerId, reply: Reply<Result<(), ConnectError>>) {
        if peer == *self.swarm.local_peer_id() {
            let _ = reply.send(Err(ConnectError::Myself));
            return;
        }
        if self.swarm.is_connected(&peer) {
            let _ = reply.send(Ok(()));
            return;
        }
        if let Some(waiting) = self.dials.get_mut(&peer) {
            waiting.replies.retain(|r| !r.is_closed());
            waiting.replies.push(reply);
            return;
        }
        if self.dials.len() >= MAX_WAITING {
            let _ = reply.send(Err(ConnectError::Busy));
            return;
        }
        self.dials.insert(peer, Waiting { replies: vec![reply], looked_up: false });
        if let Err(error) = self.dial_known(peer) {
            self.dial_failed(peer, &error);
        }
    }

    /// Dials a peer at every address known (the behaviours add those of the book, of the routing
    /// table and of running queries), unless a dial is under way or a connection exists.
    pub(super) fn dial_known(&mut self, peer: PeerId) -> Result<(), DialError> {
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing).build();
        match self.swarm.dial(opts) {
            Err(DialError::DialPeerConditionFalse(_)) => Ok(()),
            other => other,
        }
    }

    /// What waits for this peer asks the DHT once, then fails.
    fn dial_failed(&mut self, peer: PeerId, error: &DialError) {
        let Some(waiting) = self.dials.get_mut(&peer) else { return };
        waiting.replies.retain(|r| !r.is_closed());
        if !waiting.looked_up && !waiting.replies.is_empty() {
            waiting.looked_up = true;
            if self.look_for(peer) {
                return;
            }
        }
        self.give_up(peer, &explain(error, Some(peer)));
    }

    fn give_up(&mut self, peer: PeerId, error: &ConnectError) {
        for reply in self.dials.remove(&peer).into_iter().flat_map(|w| w.replies) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// The DHT has answered where a waited-for peer is; its addresses are in the book now.
    pub(super) fn looked_up(&mut self, peer: PeerId) {
        if self.dials.contains_key(&peer)
            && let Err(error) = self.dial_known(peer)
        {
            self.dial_failed(peer, &error);
        }
    }

    pub(super) fn on_dialled(&mut self, peer: PeerId, connection: ConnectionId) {
        for reply in self.dials.remove(&peer).into_iter().flat_map(|w| w.replies) {
            let _ = reply.send(Ok(()));
        }
        if let Some(attempt) = self.attempts.remove(&connection) {
            let _ = attempt.reply.send(Ok(peer));
        }
        self.redial.on_connected(&peer);
        self.bootstrap.on_connected(&peer);
    }

    pub(super) fn on_dial_error(&mut self, peer: Option<PeerId>, id: ConnectionId, error: &DialError) {
        let now = Instant::now();
        if let Some(Attempt { address, reply }) = self.attempts.remove(&id) {
            let error = match error {
                DialError::WrongPeerId { obtained, .. } => {
                    ConnectError::WrongPeer { address, actual: *obtained }
                }
                error => explain(error, peer),
            };
            let _ = reply.send(Err(error));
        }
        let Some(peer) = peer else { return };
        if let DialError::Transport(failures) = error {
            let mut book = self.state.book.write();
            for (address, _) in failures {
                book.address_failed(&peer, address);
            }
        }
        // Another attempt, or the peer itself, may have connected meanwhile.
        if !self.swarm.is_connected(&peer) {
            self.dial_failed(peer, error);
            self.redial.on_failed(&peer, now);
            self.bootstrap.on_failed(&peer, now);
        }
    }

    pub(super) fn redial_due(&mut self, now: Instant) {
        let mut due = self.redial.due(now);
        if self.few_peers() {
            due.extend(self.bootstrap.due(now));
        }
        for (peer, addresses) in due {
            let opts = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .extend_addresses_through_behaviour()
                .build();
            match self.swarm.dial(opts) {
                Ok(()) => {}
                Err(DialError::DialPeerConditionFalse(_)) if self.swarm.is_connected(&peer) => {
                    self.redial.on_connected(&peer);
                    self.bootstrap.on_connected(&peer);
                }
                Err(error) => {
                    tracing::debug!(%peer, %error, "cannot redial");
                    self.redial.on_failed(&peer, now);
                    self.bootstrap.on_failed(&peer, now);
                }
            }
        }
    }
}

/// Why a dial failed, in words.
fn explain(error: &DialError, peer: Option<PeerId>) -> ConnectError {
    match error {
        DialError::NoAddresses => match peer {
            Some(peer) => ConnectError::NoAddress(peer),
            None => ConnectError::Dial("no address".into()),
        },
        DialError::LocalPeerId { .. } => ConnectError::Myself,
        DialError::WrongPeerId { obtained, address } => {
            ConnectError::WrongPeer { address: address.clone(), actual: *obtained }
        }
        DialError::Transport(failures) => {
            let each = failures.iter().map(|(address, error)| {
                let mut text = format!("{address}: {error}");
                let mut source = std::error::Error::source(error);
                while let Some(inner) = source {
                    text.push_str(&format!(": {inner}"));
                    source = inner.source();
                }
                text
            });
            ConnectError::Dial(each.collect::<Vec<_>>().join("; "))
        }
        other => ConnectError::Dial(other.to_string()),
    }
}
