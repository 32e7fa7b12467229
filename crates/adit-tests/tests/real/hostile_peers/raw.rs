//! Connections that speak libp2p as far as its streams, and then whatever a test wants.

use anyhow::{Context as _, Result};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    noise,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, SwarmEvent, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
    tcp, yamux,
};
use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};

pub(super) const BITSWAP: StreamProtocol = StreamProtocol::new("/ipfs/bitswap/1.2.0");

/// One connection of a peer with an identity of its own. It lasts until this is dropped or the other side closes it.
pub(super) struct Connection {
    /// Streams that we opened, as many as were asked for.
    pub(super) opened: mpsc::UnboundedReceiver<Stream>,
    /// Bitswap streams that the other side opened.
    pub(super) incoming: mpsc::UnboundedReceiver<Stream>,
    swarm: JoinHandle<()>,
}

impl Connection {
    /// Connects, and opens so many streams of a protocol.
    pub(super) async fn open(to: &Multiaddr, protocol: StreamProtocol, streams: usize) -> Result<Self> {
        let (opened_out, opened) = mpsc::unbounded_channel();
        let (incoming_out, incoming) = mpsc::unbounded_channel();
        let raw = Raw { protocol, streams, opened: opened_out, incoming: incoming_out };
        let mut swarm = libp2p::SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
            .with_behaviour(|_| raw)
            .expect("a behaviour")
            .build();
        swarm.dial(to.clone())?;
        let connect = async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => return Ok(()),
                    SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), connect).await.context("no connection in time")??;
        let swarm = tokio::spawn(async move {
            while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {}
        });
        Ok(Connection { opened, incoming, swarm })
    }

    /// The next stream that was opened; an error once the connection is closed.
    pub(super) async fn stream(&mut self) -> Result<Stream> {
        let stream = tokio::time::timeout(Duration::from_secs(20), self.opened.recv()).await;
        stream.context("no stream in time")?.context("the connection is closed")
    }

    pub(super) fn is_closed(&self) -> bool {
        self.swarm.is_finished()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

#[derive(Clone)]
struct Raw {
    protocol: StreamProtocol,
    streams: usize,
    opened: mpsc::UnboundedSender<Stream>,
    incoming: mpsc::UnboundedSender<Stream>,
}

impl NetworkBehaviour for Raw {
    type ConnectionHandler = Raw;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.clone())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.clone())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

impl ConnectionHandler for Raw {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(BITSWAP), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        let _ = match event {
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.opened.send(protocol)
            }
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.incoming.send(protocol)
            }
            _ => Ok(()),
        };
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Infallible>> {
        if self.streams == 0 {
            return Poll::Pending;
        }
        self.streams -= 1;
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ());
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }
}
