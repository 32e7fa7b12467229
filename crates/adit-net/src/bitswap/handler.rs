//! One connection: many inbound streams, one outbound stream that is opened when there is
//! something to say and closed before the peer would reset it.
//!
//! Everything heavy happens in the futures polled here, that is in the connection's own task:
//! reading, decoding, hashing. Wants go to the connection's server task, the rest to the engine,
//! both over bounded channels. When either lags, streams are not read, and the peer's window
//! closes: that is the back-pressure.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{AsyncWriteExt, FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, StreamUpgradeError,
        SubstreamProtocol,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
            ProtocolsChange,
        },
    },
};
use tokio::{sync::mpsc, time::Sleep};

use super::{
    Config, PROTOCOL,
    budget::Paid,
    link::Link,
    pace,
    receive::{self, Inbound},
    wire,
};

/// Messages whose writing failed in a row before the connection is given up.
const MAX_WRITE_FAILURES: u32 = 3;
/// Streams refused in a row, for being too many, before the connection is given up.
const MAX_REFUSED_STREAMS: u32 = 1024;

/// Why a connection should be closed. The only thing that ever passes through the swarm's task.
#[derive(Debug)]
pub enum Fault {
    /// Writing failed again and again.
    Unwritable(io::Error),
    /// The peer keeps opening streams beyond the limit.
    StreamFlood,
}

/// An answer ready to be written, and the budget it occupies.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) pieces: Vec<Bytes>,
    /// Paid back when the answer is written, or the connection gone.
    pub(crate) _paid: Option<Paid>,
}

enum Outbound {
    None,
    Opening,
    Idle(Stream, Pin<Box<Sleep>>),
    Busy(BoxFuture<'static, (io::Result<Stream>, Outgoing)>),
    Closing(BoxFuture<'static, ()>),
}

/// The connection handler of [`Behaviour`](super::Behaviour).
pub struct Handler {
    config: Arc<Config>,
    link: Arc<Link>,
    inbound: Arc<Inbound>,
    streams: FuturesUnordered<BoxFuture<'static, ()>>,
    refused: u32,
    answers: mpsc::Receiver<Outgoing>,
    outbound: Outbound,
    /// A message whose writing failed. All messages are idempotent: it is sent again.
    again: Option<Outgoing>,
    failures: u32,
    /// The peer does not speak Bitswap.
    mute: bool,
    fault: Option<Fault>,
}

impl Handler {
    pub(crate) fn new(
        config: Arc<Config>,
        link: Arc<Link>,
        inbound: Arc<Inbound>,
        answers: mpsc::Receiver<Outgoing>,
    ) -> Self {
        Self {
            config,
            link,
            inbound,
            streams: FuturesUnordered::new(),
            refused: 0,
            answers,
            outbound: Outbound::None,
            again: None,
            failures: 0,
            mute: false,
            fault: None,
        }
    }

    fn failed(&mut self, message: Option<Outgoing>, error: io::Error) {
        tracing::debug!(peer = %self.link.peer, %error, "outbound stream failed");
        self.outbound = Outbound::None;
        self.failures += 1;
        self.again = message;
        if self.failures >= MAX_WRITE_FAILURES {
            self.again = None;
            self.fault = Some(Fault::Unwritable(error));
        }
    }

    /// What to write next: wantlists are small and urgent, so they go before answers.
    fn next_outgoing(&mut self, cx: &mut Context<'_>) -> Option<Outgoing> {
        if let Some(message) = self.again.take() {
            return Some(message);
        }
        self.link.register(cx.waker());
        if let Some(entries) = self.link.take() {
            return Some(Outgoing { pieces: vec![wire::wantlist(&entries)], _paid: None });
        }
        match self.answers.poll_recv(cx) {
            Poll::Ready(Some(answer)) => Some(answer),
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    fn write(&self, mut stream: Stream, message: Outgoing) -> Outbound {
        let (link, config) = (Arc::clone(&self.link), Arc::clone(&self.config));
        let write = async move {
            let written = pace::write(&mut stream, &message.pieces, &config, &link.account).await;
            (written.map(|()| stream), message)
        };
        Outbound::Busy(write.boxed())
    }

    fn idle(&self, stream: Stream) -> Outbound {
        Outbound::Idle(stream, Box::pin(tokio::time::sleep(self.config.idle_close)))
    }

    fn poll_outbound(&mut self, cx: &mut Context<'_>) -> Option<<Self as Handled>::Event> {
        loop {
            match std::mem::replace(&mut self.outbound, Outbound::None) {
                Outbound::None if self.mute => {
                    // Whatever is queued for a peer without Bitswap is dropped.
                    while self.next_outgoing(cx).is_some() {}
                    return None;
                }
                Outbound::None => {
                    let message = self.next_outgoing(cx)?;
                    self.again = Some(message);
                    self.outbound = Outbound::Opening;
                    return Some(ConnectionHandlerEvent::OutboundSubstreamRequest {
                        protocol: SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ()),
                    });
                }
                Outbound::Opening => {
                    self.outbound = Outbound::Opening;
                    return None;
                }
                Outbound::Idle(mut stream, mut timer) => match self.next_outgoing(cx) {
                    Some(message) => self.outbound = self.write(stream, message),
                    None if timer.poll_unpin(cx).is_ready() => {
                        let close = async move {
                            let _ = stream.close().await;
                        };
                        self.outbound = Outbound::Closing(close.boxed());
                    }
                    None => {
                        self.outbound = Outbound::Idle(stream, timer);
                        return None;
                    }
                },
                Outbound::Busy(mut write) => match write.poll_unpin(cx) {
                    Poll::Ready((Ok(stream), _paid_back)) => {
                        self.failures = 0;
                        self.outbound = self.idle(stream);
                    }
                    Poll::Ready((Err(error), message)) => {
                        self.failed(Some(message), error);
                        if self.fault.is_some() {
                            return None;
                        }
                    }
                    Poll::Pending => {
                        self.outbound = Outbound::Busy(write);
                        return None;
                    }
                },
                Outbound::Closing(mut close) => {
                    if close.poll_unpin(cx).is_pending() {
                        self.outbound = Outbound::Closing(close);
                        return None;
                    }
                }
            }
        }
    }

    /// What `identify` says of the peer.
    fn on_protocols(&mut self, change: ProtocolsChange<'_>) {
        let (ours, mute) = match change {
            ProtocolsChange::Added(mut protocols) => (protocols.any(|p| *p == PROTOCOL), false),
            ProtocolsChange::Removed(mut protocols) => (protocols.any(|p| *p == PROTOCOL), true),
        };
        if ours {
            self.set_mute(mute);
        }
    }

    fn set_mute(&mut self, mute: bool) {
        if self.mute != mute {
            self.mute = mute;
            self.inbound.announce(!mute);
        }
    }
}

/// Names the handler's event type once.
trait Handled {
    type Event;
}

impl Handled for Handler {
    type Event = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Fault>;
}

impl ConnectionHandler for Handler {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = Fault;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.link.is_kept() || self.link.has_mail() || self.again.is_some()
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: mut stream, ..
            }) => {
                // An open but silent stream is no reason to keep a connection.
                stream.ignore_for_keep_alive();
                self.set_mute(false);
                if self.streams.len() < self.config.max_inbound_streams {
                    self.refused = 0;
                    self.streams.push(receive::run(stream, Arc::clone(&self.inbound)).boxed());
                } else {
                    self.refused += 1;
                    tracing::debug!(peer = %self.link.peer, "too many inbound streams");
                    if self.refused > MAX_REFUSED_STREAMS {
                        self.fault = Some(Fault::StreamFlood);
                    }
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream, ..
            }) => {
                self.set_mute(false);
                self.outbound = self.idle(stream);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => match error {
                StreamUpgradeError::NegotiationFailed => {
                    self.outbound = Outbound::None;
                    self.again = None;
                    self.set_mute(true);
                }
                StreamUpgradeError::Io(error) => {
                    let message = self.again.take();
                    self.failed(message, error);
                }
                StreamUpgradeError::Timeout => {
                    let message = self.again.take();
                    self.failed(message, io::ErrorKind::TimedOut.into());
                }
                StreamUpgradeError::Apply(never) => match never {},
            },
            ConnectionEvent::RemoteProtocolsChange(change) => self.on_protocols(change),
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(fault));
        }
        while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(cx) {}
        if let Some(event) = self.poll_outbound(cx) {
            return Poll::Ready(event);
        }
        match self.fault.take() {
            Some(fault) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(fault)),
            None => Poll::Pending,
        }
    }
}
