//! A peer that says whatever a test wants: streams of the Bitswap protocol, without Bitswap.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::network::{Transport, listen};
use crate::bitswap::{
    PROTOCOL,
    config::MAX_MESSAGE_IN,
    wire::{self, Entry, Message},
};

/// A peer under the test's control, once somebody connected to it.
pub(super) struct RawPeer {
    pub(super) peer: PeerId,
    pub(super) address: Multiaddr,
    opens: mpsc::UnboundedSender<()>,
    outbound: mpsc::UnboundedReceiver<Stream>,
    inbound: mpsc::UnboundedReceiver<Stream>,
    connections: mpsc::UnboundedReceiver<bool>,
    swarm: JoinHandle<()>,
}

impl RawPeer {
    pub(super) async fn start() -> Self {
        let (opens, opens_in) = mpsc::unbounded_channel();
        let (outbound_out, outbound) = mpsc::unbounded_channel();
        let (inbound_out, inbound) = mpsc::unbounded_channel();
        let (connections_out, connections) = mpsc::unbounded_channel();
        let behaviour = RawBehaviour {
            opens: opens_in,
            wanted: 0,
            connected: None,
            inbound: inbound_out,
            outbound: outbound_out,
            connections: connections_out,
        };
        let (mut swarm, address) = listen(behaviour, Transport::Tcp).await;
        let peer = *swarm.local_peer_id();
        let swarm = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Self { peer, address, opens, outbound, inbound, connections, swarm }
    }

    /// A new stream to the peer that connected.
    pub(super) async fn open(&mut self) -> Stream {
        self.opens.send(()).expect("the swarm runs");
        soon(self.outbound.recv()).await.expect("a stream")
    }

    /// The next stream that the other side opens.
    pub(super) async fn accept(&mut self) -> Stream {
        soon(self.inbound.recv()).await.expect("a stream")
    }

    /// Waits until the other side connects (true) or disconnects (false).
    pub(super) async fn connection(&mut self) -> bool {
        soon(self.connections.recv()).await.expect("an event")
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

/// Half a minute is for ever.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it happens in time")
}

/// The next message on a stream.
pub(super) async fn read(stream: &mut Stream) -> Message {
    let len = soon(wire::read_len(stream)).await.expect("a length").expect("a message");
    assert!(len <= MAX_MESSAGE_IN);
    let mut body = vec![0; len];
    soon(stream.read_exact(&mut body)).await.expect("a body");
    wire::decode(body.into()).expect("a valid message")
}

pub(super) async fn write(stream: &mut Stream, pieces: &[Bytes]) {
    for piece in pieces {
        soon(stream.write_all(piece)).await.expect("it is read");
    }
    soon(stream.flush()).await.expect("it is read");
}

pub(super) async fn want(stream: &mut Stream, entries: &[Entry]) {
    write(stream, &[wire::wantlist(entries)]).await;
}

struct RawBehaviour {
    opens: mpsc::UnboundedReceiver<()>,
    wanted: usize,
    connected: Option<(PeerId, ConnectionId)>,
    inbound: mpsc::UnboundedSender<Stream>,
    outbound: mpsc::UnboundedSender<Stream>,
    connections: mpsc::UnboundedSender<bool>,
}

impl RawBehaviour {
    fn handler(&self) -> RawHandler {
        RawHandler { opens: VecDeque::new(), inbound: self.inbound.clone(), outbound: self.outbound.clone() }
    }
}

impl NetworkBehaviour for RawBehaviour {
    type ConnectionHandler = RawHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(up) => {
                self.connected = Some((up.peer_id, up.connection_id));
                let _ = self.connections.send(true);
            }
            FromSwarm::ConnectionClosed(_) => {
                let _ = self.connections.send(false);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Poll::Ready(Some(())) = self.opens.poll_recv(cx) {
            self.wanted += 1;
        }
        match self.connected {
            Some((peer_id, connection)) if self.wanted > 0 => {
                self.wanted -= 1;
                let handler = libp2p::swarm::NotifyHandler::One(connection);
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event: () })
            }
            _ => Poll::Pending,
        }
    }
}

struct RawHandler {
    opens: VecDeque<()>,
    inbound: mpsc::UnboundedSender<Stream>,
    outbound: mpsc::UnboundedSender<Stream>,
}

impl ConnectionHandler for RawHandler {
    type FromBehaviour = ();
    type ToBehaviour = std::convert::Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, (): ()) {
        self.opens.push_back(());
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let _ = self.inbound.send(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                let _ = self.outbound.send(protocol);
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        match self.opens.pop_front() {
            Some(()) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ()),
            }),
            None => Poll::Pending,
        }
    }
}
