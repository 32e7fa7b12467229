//! A peer that speaks the wire and breaks its rules.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use adit_net::{JOB_PROTOCOL, Limits, Multiaddr, NetConfig, PeerId, StreamError};
use futures::{AsyncWriteExt, StreamExt};
use libp2p::{
    Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedOutbound},
    },
};
use tokio::sync::mpsc;

use crate::nodes::{PATIENCE, node, node_with, until};

/// Opens streams of one protocol on every connection and hands them over raw.
struct Raw {
    protocol: StreamProtocol,
    count: usize,
    streams: mpsc::UnboundedSender<Stream>,
}

struct RawHandler {
    protocol: StreamProtocol,
    left: usize,
    streams: mpsc::UnboundedSender<Stream>,
}

/// Connects to a node and opens `count` streams of `protocol`.
async fn raw_streams(to: Multiaddr, protocol: StreamProtocol, count: usize) -> Vec<Stream> {
    let (sender, mut streams) = mpsc::unbounded_channel();
    let mut swarm = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(libp2p::tcp::Config::default(), libp2p::noise::Config::new, libp2p::yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| Raw { protocol, count, streams: sender })
        .unwrap()
        .build();
    swarm.dial(to).unwrap();
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let mut all = Vec::new();
    while all.len() < count {
        let stream = tokio::time::timeout(PATIENCE, streams.recv()).await;
        all.push(stream.expect("in time").expect("the peer takes the stream"));
    }
    all
}

async fn raw_stream(to: Multiaddr, protocol: StreamProtocol) -> Stream {
    raw_streams(to, protocol, 1).await.pop().unwrap()
}

impl NetworkBehaviour for Raw {
    type ConnectionHandler = RawHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(RawHandler { protocol: self.protocol.clone(), left: self.count, streams: self.streams.clone() })
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(RawHandler { protocol: self.protocol.clone(), left: self.count, streams: self.streams.clone() })
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

impl ConnectionHandler for RawHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        if let ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) = event {
            let _ = self.streams.send(protocol);
        }
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Infallible>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
            protocol: SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ()),
        })
    }
}

/// The header of a message of this many bytes.
fn header(length: usize) -> Vec<u8> {
    let mut space = unsigned_varint::encode::usize_buffer();
    [&[0], unsigned_varint::encode::usize(length, &mut space)].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_break_the_rules_end_the_stream_and_nothing_else() {
    let mut host = node().await;
    let oversized = header(adit_net::MAX_MESSAGE + 1);
    let frames: [&[u8]; 4] = [&oversized, &[9, 0], &[0, 0x80, 0x00], &[0xff; 64]];
    for frame in frames {
        let mut raw = raw_stream(host.address("tcp"), JOB_PROTOCOL).await;
        let mut stream = host.incoming().await;
        raw.write_all(frame).await.unwrap();
        raw.flush().await.unwrap();
        let result = tokio::time::timeout(PATIENCE, stream.recv()).await.unwrap();
        assert!(matches!(result, Err(StreamError::Protocol(_))), "{frame:?}: {result:?}");
        // Half a frame and the end of the stream is no message either.
        let mut raw = raw_stream(host.address("tcp"), JOB_PROTOCOL).await;
        let mut stream = host.incoming().await;
        raw.write_all(&[&header(100)[..], b"only this"].concat()).await.unwrap();
        raw.close().await.unwrap();
        assert_eq!(tokio::time::timeout(PATIENCE, stream.recv()).await.unwrap(), Err(StreamError::Reset));
    }
    assert_eq!(host.net.open_job_streams(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dripping_message_is_given_up() {
    let limits = Limits { job_stall: Duration::from_millis(400), ..Limits::default() };
    let mut host = node_with(|config: &mut NetConfig| config.limits = limits).await;
    let mut raw = raw_stream(host.address("tcp"), JOB_PROTOCOL).await;
    let mut stream = host.incoming().await;
    let drip = tokio::spawn(async move {
        let _ = raw.write_all(&header(1 << 20)).await;
        while raw.write_all(b".").await.is_ok() && raw.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let result = tokio::time::timeout(PATIENCE, stream.recv()).await.unwrap();
    assert!(matches!(result, Err(StreamError::Stalled(_))), "{result:?}");
    drop(stream);
    tokio::time::timeout(PATIENCE, drip).await.expect("the peer is told").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_of_big_messages_hold_up_nobody_else() {
    let limits = Limits { job_bytes_per_peer: 8 << 20, job_bytes: 24 << 20, ..Limits::default() };
    let mut host = node_with(|config: &mut NetConfig| config.limits = limits).await;
    let mut raw = raw_streams(host.address("tcp"), JOB_PROTOCOL, 8).await;
    let mut held = Vec::new();
    for raw in &mut raw {
        raw.write_all(&[&header(4 << 20)[..], &[0; 1000]].concat()).await.unwrap();
        raw.flush().await.unwrap();
        let mut stream = host.incoming().await;
        held.push(tokio::spawn(async move { stream.recv().await }));
    }
    let honest = node().await;
    honest.net.connect(host.address("quic")).await.unwrap();
    let mut ours = honest.net.open(host.peer()).await.unwrap();
    let mut theirs = host.incoming().await;
    let message = vec![7; 4 << 20];
    let (sent, received) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(ours.send(&message), theirs.recv()) })
            .await
            .expect("the honest peer is served");
    sent.unwrap();
    assert_eq!(received.unwrap().unwrap().len(), message.len());
    drop(raw);
    for recv in held {
        assert!(tokio::time::timeout(PATIENCE, recv).await.unwrap().unwrap().is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_advertisements_are_counted_and_forgotten() {
    let host = node().await;
    let other = node().await;
    let good = other.advertisement(crate::nodes::unix_now(), 600);
    let mut forged = good.block().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let oversized = vec![0xff, 0xff, 0xff, 0x7f];
    let rejected = || {
        let counts = host.net.metrics().snapshot();
        counts.into_iter().find(|(name, _)| *name == "adverts_rejected").unwrap().1
    };
    for (n, pushed) in [forged, b"garbage".to_vec()].into_iter().enumerate() {
        let protocol = StreamProtocol::new("/adit/test/adverts/1");
        let mut raw = raw_stream(host.address("tcp"), protocol).await;
        let mut space = unsigned_varint::encode::usize_buffer();
        let length = unsigned_varint::encode::usize(pushed.len(), &mut space);
        raw.write_all(&[length, &pushed].concat()).await.unwrap();
        raw.close().await.unwrap();
        until("the refusal", || rejected() == n as u64 + 1).await;
    }
    let mut raw = raw_stream(host.address("tcp"), StreamProtocol::new("/adit/test/adverts/1")).await;
    raw.write_all(&oversized).await.unwrap();
    raw.close().await.unwrap();
    assert!(host.net.advertisements().is_empty());
    // It still listens to honest ones.
    other.net.advertise(good).await.unwrap();
    other.net.connect(host.address("tcp")).await.unwrap();
    until("the honest one", || host.net.advertisements().len() == 1).await;
}
