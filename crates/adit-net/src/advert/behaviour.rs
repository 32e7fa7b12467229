//! Hands advertisements to peers of our network as they connect, and our own when it changes.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
        handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound, ProtocolsChange},
    },
};

use super::{
    Advert, AdvertBook,
    push::{self, MAX_PUSHED},
    unix_now,
};
use crate::metrics::Metrics;

/// A push takes a round trip; a peer that drips is not worth a stream.
const PUSH_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct Behaviour {
    protocol: StreamProtocol,
    book: Arc<AdvertBook>,
    metrics: Arc<Metrics>,
    connections: HashMap<PeerId, usize>,
    out: VecDeque<ToSwarm<Vec<Advert>, PushOwn>>,
}

/// Tell this peer about us again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PushOwn;

impl Behaviour {
    pub(crate) fn new(protocol: StreamProtocol, book: Arc<AdvertBook>, metrics: Arc<Metrics>) -> Self {
        Self { protocol, book, metrics, connections: HashMap::new(), out: VecDeque::new() }
    }

    /// Tells every connected peer of this network what we say of ourselves now.
    pub(crate) fn push_own(&mut self) {
        let notify = |peer: &PeerId| ToSwarm::NotifyHandler {
            peer_id: *peer,
            handler: NotifyHandler::Any,
            event: PushOwn,
        };
        self.out.extend(self.connections.keys().map(notify));
    }

    fn handler(&self, peer: PeerId) -> Handler {
        Handler {
            peer,
            protocol: self.protocol.clone(),
            book: Arc::clone(&self.book),
            metrics: Arc::clone(&self.metrics),
            speaks: false,
            todo: None,
            opening: None,
            sending: None,
            receiving: None,
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    /// News from a peer.
    type ToSwarm = Vec<Advert>;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id, other_established, ..
            }) => {
                self.connections.insert(peer_id, other_established + 1);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, remaining_established: 0, .. }) => {
                self.connections.remove(&peer_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, news: THandlerOutEvent<Self>) {
        self.out.push_back(ToSwarm::GenerateEvent(news));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.out.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// What to tell next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tell {
    Everything,
    Own,
}

pub(crate) struct Handler {
    peer: PeerId,
    protocol: StreamProtocol,
    book: Arc<AdvertBook>,
    metrics: Arc<Metrics>,
    /// Whether the peer lists the protocol. Until it does, nothing is sent.
    speaks: bool,
    todo: Option<Tell>,
    opening: Option<Tell>,
    sending: Option<BoxFuture<'static, ()>>,
    /// At most one stream: a peer that opens another one while we read drops the former.
    receiving: Option<BoxFuture<'static, Vec<Advert>>>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = PushOwn;
    type ToBehaviour = Vec<Advert>;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn on_behaviour_event(&mut self, PushOwn: PushOwn) {
        self.todo = self.todo.or(Some(Tell::Own));
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let read =
                    push::receive(protocol, self.peer, Arc::clone(&self.book), Arc::clone(&self.metrics));
                let read = tokio::time::timeout(PUSH_TIMEOUT, read).map(Result::unwrap_or_default);
                self.receiving = Some(read.boxed());
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                let adverts = match self.opening.take() {
                    Some(Tell::Everything) => self.book.to_tell(MAX_PUSHED, unix_now()),
                    Some(Tell::Own) | None => self.book.own().into_iter().collect(),
                };
                let send = tokio::time::timeout(PUSH_TIMEOUT, push::send(protocol, adverts));
                self.sending = Some(send.map(drop).boxed());
            }
            ConnectionEvent::DialUpgradeError(error) => {
                tracing::debug!(peer = %self.peer, error = %error.error, "cannot push advertisements");
                self.opening = None;
            }
            ConnectionEvent::RemoteProtocolsChange(ProtocolsChange::Added(added)) => {
                let speaks = added.into_iter().any(|p| *p == self.protocol);
                if speaks && !self.speaks {
                    self.speaks = true;
                    self.todo = Some(Tell::Everything);
                }
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Some(sending) = &mut self.sending
            && sending.poll_unpin(cx).is_ready()
        {
            self.sending = None;
        }
        if let Some(receiving) = &mut self.receiving
            && let Poll::Ready(news) = receiving.poll_unpin(cx)
        {
            self.receiving = None;
            if !news.is_empty() {
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(news));
            }
        }
        if self.speaks && self.opening.is_none() && self.sending.is_none() && self.todo.is_some() {
            self.opening = self.todo.take();
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ()),
            });
        }
        Poll::Pending
    }
}
