//! The task that owns the swarm.
//!
//! It alone drives connections' life, the DHT and gossip; job streams and block data pass it by.
//! Commands come over one bounded channel; what others may read without asking (peer book, listen
//! addresses, counters) lies in [`State`]. There are no ticks: the task sleeps until the earliest
//! of its clocks.

mod adverts;
mod command;
mod dht;
mod dial;
mod events;
mod finder;
mod reach;
mod start;
mod values;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    gossipsub::IdentTopic,
    kad::QueryId,
    swarm::{ConnectionId, SwarmEvent},
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use command::Command;
pub(crate) use dht::Depth;
pub(crate) use start::start;

use crate::{
    NetConfig,
    advert::AdvertBook,
    behaviour::Behaviour,
    dht::{Announcer, ProvidedLog},
    job::Budget,
    metrics::Metrics,
    peers::{Crowd, PeerBook, Redial},
    traffic::Traffic,
};

/// Expired provider records are dropped this often.
const SWEEP: Duration = Duration::from_secs(3600);
/// Connections get this long to say goodbye at shutdown.
const GOODBYE: Duration = Duration::from_secs(2);

/// What handles read without asking the task.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) book: Arc<RwLock<PeerBook>>,
    pub(crate) listening: RwLock<Vec<Multiaddr>>,
    pub(crate) external: RwLock<Vec<Multiaddr>>,
    pub(crate) provided: Mutex<ProvidedLog>,
    pub(crate) adverts: Arc<AdvertBook>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: Arc<Budget>,
}

/// The task's own state.
pub(crate) struct Task {
    config: NetConfig,
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
    /// Connection tasks, so that shutdown can wait for them.
    connections: TaskTracker,
    state: Arc<State>,
    /// Dials that someone waits for, by peer and by single attempt.
    dials: HashMap<PeerId, dial::Waiting>,
    attempts: HashMap<ConnectionId, dial::Attempt>,
    queries: HashMap<QueryId, dht::Query>,
    /// Who waits for a root to be announced.
    announced: HashMap<crate::dht::Key, Vec<Reply<bool>>>,
    topic: IdentTopic,
    announcer: Announcer,
    rendezvous: dht::Rendezvous,
    relays: reach::Relays,
    redial: Redial,
    bootstrap: Redial,
    failed_pings: HashMap<ConnectionId, u8>,
    crowd: Crowd,
    exchange: crate::bitswap::Handle,
    next_sweep: Instant,
}

impl Task {
    /// Runs until told to stop, or until every handle is gone.
    async fn run(mut self) {
        loop {
            self.work();
            let wake = tokio::time::Instant::from_std(self.next_wake());
            tokio::select! {
                () = self.stop.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.close().await;
    }

    /// Does whatever is due.
    fn work(&mut self) {
        let now = Instant::now();
        self.redial_due(now);
        self.announce_due(now);
        self.rendezvous_due(now);
        self.relay_due(now);
        self.settle_due(now);
        if now >= self.next_sweep {
            self.swarm.behaviour_mut().kad.store_mut().sweep(now);
            self.state.adverts.sweep(crate::advert::unix_now(), now);
            self.next_sweep = now + SWEEP;
        }
    }

    fn next_wake(&self) -> Instant {
        let few = self.few_peers();
        [
            self.redial.next(),
            if few { self.bootstrap.next() } else { None },
            self.announcer.next(),
            self.rendezvous.next(),
            self.relays.next(),
            self.next_settled(),
        ]
        .into_iter()
        .flatten()
        .fold(self.next_sweep, Instant::min)
    }

    /// Ordered shutdown: nothing new, then goodbye to every peer, then wait for their tasks.
    async fn close(mut self) {
        self.commands.close();
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let goodbye = async {
            while self.swarm.network_info().connection_counters().num_connections() > 0 {
                if let SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } =
                    self.swarm.select_next_some().await
                {
                    self.state.book.write().disconnected(&peer_id, connection_id, Instant::now());
                }
            }
        };
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            tracing::debug!("some peers did not say goodbye");
        }
        let Self { swarm, connections, .. } = self;
        drop(swarm);
        connections.close();
        connections.wait().await;
    }
}

/// An answer to whoever asked; they may have gone.
type Reply<T> = oneshot::Sender<T>;
