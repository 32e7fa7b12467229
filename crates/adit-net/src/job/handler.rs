//! One connection's part: negotiates job streams and hands them over.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncWriteExt, FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    PeerId, Stream, StreamProtocol,
    core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
            ProtocolsChange,
        },
    },
};
use tokio::sync::{mpsc, oneshot};

use super::{
    JOB_PROTOCOL, JobStream, KEEP_PROTOCOL, OpenError, TooMany,
    budget::{Budget, Place},
    stream::Patience,
    wire,
};
use crate::metrics::{Count, Metrics};

/// Refusals being written at once; beyond it a stream is dropped without a word.
const REFUSALS: usize = 16;
/// A peer that does not even take its refusal is left alone after this.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A request for one outbound stream.
#[derive(Debug)]
pub(crate) struct Open {
    pub(super) protocol: StreamProtocol,
    pub(super) place: Place,
    pub(super) reply: oneshot::Sender<Result<JobStream, OpenError>>,
}

/// Takes streams of either protocol, and says which it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served;

impl UpgradeInfo for Served {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 2];

    fn protocol_info(&self) -> Self::InfoIter {
        [JOB_PROTOCOL, KEEP_PROTOCOL]
    }
}

impl InboundUpgrade<Stream> for Served {
    type Output = (Stream, StreamProtocol);
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        std::future::ready(Ok((stream, protocol)))
    }
}

/// What all handlers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) budget: Arc<Budget>,
    pub(super) incoming: mpsc::Sender<JobStream>,
    pub(super) patience: Patience,
    pub(super) metrics: Arc<Metrics>,
    /// Connections kept open although idle, and how many there may be.
    pub(super) kept: AtomicUsize,
    pub(super) max_kept: usize,
}

#[derive(Debug)]
pub(crate) struct Handler {
    peer: PeerId,
    shared: Arc<Shared>,
    /// Requests from [`super::Opener`], straight to this task. Bound: see there.
    requests: mpsc::Receiver<Open>,
    /// Requests taken but not negotiated; bounded by the places they hold.
    opening: VecDeque<Open>,
    refusals: FuturesUnordered<BoxFuture<'static, ()>>,
    keeps: bool,
}

impl Handler {
    pub(super) fn new(peer: PeerId, shared: Arc<Shared>, requests: mpsc::Receiver<Open>) -> Self {
        let (opening, refusals) = (VecDeque::new(), FuturesUnordered::new());
        Self { peer, shared, requests, opening, refusals, keeps: false }
    }

    fn incoming(&mut self, stream: Stream, protocol: StreamProtocol) {
        let refused = match self.shared.budget.place(self.peer) {
            Err(TooMany::InAll) => (stream, "busy: too many job streams"),
            Err(TooMany::ToThisPeer) => (stream, "busy: too many job streams from you"),
            Ok(place) => match self.shared.incoming.try_reserve() {
                Ok(slot) => {
                    self.shared.metrics.job_streams_accepted.one();
                    return slot.send(self.stream(stream, protocol, place));
                }
                Err(mpsc::error::TrySendError::Full(())) => (stream, "busy: too many jobs wait"),
                Err(mpsc::error::TrySendError::Closed(())) => (stream, "shutting down"),
            },
        };
        self.shared.metrics.job_streams_refused.one();
        let (mut stream, reason) = refused;
        if self.refusals.len() < REFUSALS {
            let refusal = wire::refusal(reason);
            let write = async move {
                if stream.write_all(&refusal).await.is_ok() {
                    let _ = stream.close().await;
                }
            };
            self.refusals.push(tokio::time::timeout(REFUSAL_TIMEOUT, write).map(|_| ()).boxed());
        }
    }

    fn stream(&self, stream: Stream, protocol: StreamProtocol, place: Place) -> JobStream {
        let metrics = Arc::clone(&self.shared.metrics);
        JobStream::new(stream, protocol, self.peer, place, self.shared.patience, metrics)
    }

    fn keep(&mut self, adit: bool) {
        if adit && !self.keeps {
            let max = self.shared.max_kept;
            let count = |kept: usize| (kept < max).then_some(kept + 1);
            self.keeps = self.shared.kept.fetch_update(Relaxed, Relaxed, count).is_ok();
        } else if !adit && self.keeps {
            self.keeps = false;
            self.shared.kept.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.keep(false);
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = std::convert::Infallible;
    type InboundProtocol = Served;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Open;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(Served, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.keeps || !self.opening.is_empty()
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Open>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let (stream, protocol) = protocol;
                self.incoming(stream, protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.shared.metrics.job_streams_opened.one();
                // The caller may have gone; then the stream is dropped, which resets it.
                let _ = info.reply.send(Ok(self.stream(protocol, info.protocol, info.place)));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = match error {
                    StreamUpgradeError::NegotiationFailed => OpenError::NotSpoken(info.protocol.clone()),
                    StreamUpgradeError::Timeout => OpenError::Timeout(10),
                    StreamUpgradeError::Io(error) => OpenError::Lost(error.to_string()),
                    StreamUpgradeError::Apply(never) => libp2p::core::util::unreachable(never),
                };
                let _ = info.reply.send(Err(error));
            }
            ConnectionEvent::RemoteProtocolsChange(change) => match change {
                ProtocolsChange::Added(added) => {
                    if added.into_iter().any(|p| *p == JOB_PROTOCOL) {
                        self.keep(true);
                    }
                }
                ProtocolsChange::Removed(removed) => {
                    if removed.into_iter().any(|p| *p == JOB_PROTOCOL) {
                        self.keep(false);
                    }
                }
            },
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Open, Self::ToBehaviour>> {
        while let Poll::Ready(Some(open)) = self.requests.poll_recv(cx) {
            self.opening.push_back(open);
        }
        while let Poll::Ready(Some(())) = self.refusals.poll_next_unpin(cx) {}
        match self.opening.pop_front() {
            Some(open) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(ReadyUpgrade::new(open.protocol.clone()), open),
            }),
            None => Poll::Pending,
        }
    }
}
