//! Which connections there are to open job streams on.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, behaviour::ConnectionClosed,
    },
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    JobStream, OpenError,
    budget::Budget,
    handler::{Handler, Open, Shared},
    stream::Patience,
};
use crate::{address::is_relayed, config::Limits, metrics::Metrics};

/// Stream requests that wait for one connection's task to take them. It takes them whenever it
/// runs, so this only bounds a burst; who finds it full waits.
const REQUESTS: usize = 64;
/// The swarm gives a stream ten seconds to be negotiated; this is for a stuck connection task.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// The job protocol's behaviour: it emits no events, streams go straight to whoever asked.
#[derive(Debug)]
pub(crate) struct Behaviour {
    shared: Arc<Shared>,
    routes: Arc<Routes>,
}

/// Opens job streams on existing connections, without a word to the swarm task.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    shared: Arc<Shared>,
    routes: Arc<Routes>,
}

#[derive(Debug, Default)]
struct Routes(Mutex<HashMap<PeerId, Vec<JobRoute>>>);

#[derive(Debug)]
struct JobRoute {
    connection: ConnectionId,
    relayed: bool,
    requests: mpsc::Sender<Open>,
}

impl Behaviour {
    /// The behaviour, the handle that opens streams, and the queue of incoming ones.
    pub(crate) fn new(
        limits: &Limits,
        budget: Arc<Budget>,
        metrics: Arc<Metrics>,
    ) -> (Self, Opener, mpsc::Receiver<JobStream>) {
        let (incoming, jobs) = mpsc::channel(limits.incoming_jobs.max(1));
        let shared = Arc::new(Shared {
            budget,
            incoming,
            patience: Patience { idle: limits.job_idle, stall: limits.job_stall },
            metrics,
            kept: AtomicUsize::new(0),
            max_kept: limits.kept_connections,
        });
        let routes = Arc::new(Routes::default());
        let opener = Opener { shared: Arc::clone(&shared), routes: Arc::clone(&routes) };
        (Self { shared, routes }, opener, jobs)
    }

    fn handler(&self, connection: ConnectionId, peer: PeerId, relayed: bool) -> Handler {
        let (requests, queue) = mpsc::channel(REQUESTS);
        let mut routes = self.routes.0.lock();
        let routes = routes.entry(peer).or_default();
        let route = JobRoute { connection, relayed, requests };
        // Direct connections come first. Among those the newest: where a peer was restarted, the older
        // one is dead, which over QUIC takes a while to show.
        let at = if relayed { routes.iter().take_while(|r| !r.relayed).count() } else { 0 };
        routes.insert(at, route);
        Handler::new(peer, Arc::clone(&self.shared), queue)
    }

    fn closed(&self, peer: PeerId, connection: ConnectionId) {
        let mut routes = self.routes.0.lock();
        if let Some(of_peer) = routes.get_mut(&peer) {
            of_peer.retain(|r| r.connection != connection);
            if of_peer.is_empty() {
                routes.remove(&peer);
            }
        }
    }
}

impl Opener {
    /// Opens a stream to a connected peer; `None` when there is no connection.
    pub(crate) async fn open(
        &self,
        peer: PeerId,
        protocol: &StreamProtocol,
    ) -> Option<Result<JobStream, OpenError>> {
        let requests = self.routes.0.lock().get(&peer).map(|routes| routes[0].requests.clone())?;
        let place = match self.shared.budget.place(peer) {
            Ok(place) => place,
            Err(too_many) => return Some(Err(OpenError::TooMany(too_many))),
        };
        let (reply, answer) = oneshot::channel();
        let lost = || OpenError::Lost("it closed".into());
        let ask = async {
            requests.send(Open { protocol: protocol.clone(), place, reply }).await.map_err(|_| lost())?;
            answer.await.map_err(|_| lost())?
        };
        let timeout = || OpenError::Timeout(OPEN_TIMEOUT.as_secs());
        Some(tokio::time::timeout(OPEN_TIMEOUT, ask).await.unwrap_or_else(|_| Err(timeout())))
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // The relay is part of our own address then, not of the remote one.
        Ok(self.handler(connection, peer, is_relayed(local)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, peer, is_relayed(remote)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.closed(peer_id, connection_id);
            }
            // A connection that another behaviour denied after our handler was made.
            FromSwarm::DialFailure(failure) => {
                if let Some(peer) = failure.peer_id {
                    self.closed(peer, failure.connection_id);
                }
            }
            FromSwarm::ListenFailure(failure) => {
                if let Some(peer) = failure.peer_id {
                    self.closed(peer, failure.connection_id);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
