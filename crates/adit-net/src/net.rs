//! The handle that the rest of the node holds.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_model::{Advertisement, NodeId, Verified};
use adit_names::{IpnsName, IpnsRecord};
use adit_store::BlockStore;
use cid::Cid;
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    NetConfig, Scope,
    address::is_relayed,
    advert::{Advert, AdvertError, unix_now},
    bitswap::{self, Session},
    error::{ConnectError, LookupError, NetClosed, ProvideError, StartError},
    events::NetEvents,
    job::{JOB_PROTOCOL, JobStream, KEEP_PROTOCOL, OpenError, Opener},
    metrics::Metrics,
    peers::PeerInfo,
    swarm::{self, Command, Depth, State},
};

/// Dialling every address and one DHT lookup fit into this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(40);

/// The running network: cheap to clone, usable from any task. Shut down with
/// [`Net::shutdown`]; when every handle is dropped, the network ends as well.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

struct Inner {
    peer: PeerId,
    commands: mpsc::Sender<Command>,
    state: Arc<State>,
    opener: Opener,
    stop: CancellationToken,
    stopped: watch::Receiver<bool>,
    exchange: bitswap::Handle,
    scope: Scope,
}

/// Who can begin a connection with this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Whoever is on the same machine or LAN: the network is a local one, where nothing is probed.
    Local,
    /// Anybody, at these addresses, which others have confirmed or the operator has named.
    Direct(Vec<Multiaddr>),
    /// Anybody, through relays alone.
    Relayed(Vec<Multiaddr>),
    /// Nobody, as far as is known.
    Unknown,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Net").field(&self.inner.peer).finish()
    }
}

impl Net {
    /// Starts the network: listens, then dials first contacts in the background. Returns once
    /// every listen address is bound.
    pub async fn start(
        config: NetConfig,
        store: Arc<dyn BlockStore>,
    ) -> Result<(Self, NetEvents), StartError> {
        let (peer, scope) = (config.identity.peer_id(), config.scope);
        let started = swarm::start(config, store).await?;
        let inner = Inner {
            peer,
            commands: started.commands,
            state: started.state,
            opener: started.opener,
            stop: started.stop,
            stopped: started.stopped,
            exchange: started.exchange,
            scope,
        };
        Ok((Self { inner: Arc::new(inner) }, started.events))
    }

    /// This node's peer id.
    pub fn peer_id(&self) -> PeerId {
        self.inner.peer
    }

    /// The addresses this node listens on, with real ports, each ending in `/p2p/<peer id>`.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        let listening = self.inner.state.listening.read();
        listening.iter().map(|a| a.clone().with_p2p(self.inner.peer).unwrap_or_else(|a| a)).collect()
    }

    /// Addresses under which others have confirmed, or the operator says, that they reach us.
    pub fn external_addrs(&self) -> Vec<Multiaddr> {
        self.inner.state.external.read().clone()
    }

    /// Who can begin a connection with this node.
    pub fn reach(&self) -> Reach {
        if self.inner.scope == Scope::Local {
            return Reach::Local;
        }
        let (relayed, direct): (Vec<_>, Vec<_>) = self.external_addrs().into_iter().partition(is_relayed);
        match (direct.is_empty(), relayed.is_empty()) {
            (false, _) => Reach::Direct(direct),
            (true, false) => Reach::Relayed(relayed),
            (true, true) => Reach::Unknown,
        }
    }

    /// Connects with the peer at an address, and says who it is.
    pub async fn connect(&self, address: Multiaddr) -> Result<PeerId, ConnectError> {
        self.dialling(|reply| Command::Connect { address, reply }).await
    }

    /// Connects with a peer at any address known, or found in the DHT.
    pub async fn connect_peer(&self, peer: PeerId) -> Result<(), ConnectError> {
        if self.is_connected(&peer) {
            return Ok(());
        }
        self.dialling(|reply| Command::Dial { peer, reply }).await
    }

    /// Stays connected with the peer at an address (ending in `/p2p/<peer id>`), with back-off.
    pub async fn keep_connected(&self, peer: PeerId, address: Multiaddr) -> Result<(), NetClosed> {
        self.tell(Command::Keep { peer, address }).await
    }

    /// Closes all connections with a peer.
    pub async fn disconnect(&self, peer: PeerId) -> Result<(), NetClosed> {
        self.tell(Command::Disconnect { peer }).await
    }

    /// Whether a connection with this peer is open.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.inner.state.book.read().is_connected(peer)
    }

    /// Every known peer: connected ones first, nearest first.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.inner.state.book.read().list(Instant::now())
    }

    /// What is known about one peer.
    pub fn peer(&self, peer: &PeerId) -> Option<PeerInfo> {
        self.inner.state.book.read().info(peer, Instant::now())
    }

    /// The smoothed round-trip time to a peer, once it has answered a ping.
    pub fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.inner.state.book.read().rtt(peer)
    }

    /// Announces a root in the DHT, now and every 22 hours, over restarts too.
    pub async fn provide(&self, root: Cid) -> Result<(), ProvideError> {
        if self.inner.state.provided.lock().add(root)? {
            self.tell(Command::Announce { root }).await?;
        }
        Ok(())
    }

    /// The same, again even if it was announced lately, and waits until that is done: whether any other node was
    /// there to hear it.
    pub async fn provide_now(&self, root: Cid) -> Result<bool, ProvideError> {
        self.inner.state.provided.lock().add(root)?;
        let (reply, answer) = oneshot::channel();
        self.tell(Command::AnnounceNow { root, reply }).await?;
        Ok(answer.await.unwrap_or(false))
    }

    /// No longer announces a root. Others forget it within a day or two.
    pub async fn unprovide(&self, root: Cid) -> Result<(), ProvideError> {
        if self.inner.state.provided.lock().remove(&root)? {
            self.tell(Command::Unannounce { root }).await?;
        }
        Ok(())
    }

    /// Roots that this node announces.
    pub fn provided(&self) -> Vec<Cid> {
        self.inner.state.provided.lock().roots().copied().collect()
    }

    /// Up to `limit` peers that announced a root, without this node. Connects with the first few
    /// on the way, since only the lookup knows where they are. Ends half a second after the first
    /// find, or within 30 s; drop it to stop earlier.
    pub async fn find_providers(&self, root: &Cid, limit: usize) -> Result<Vec<PeerId>, LookupError> {
        self.look_for_providers(root, limit, Depth::Enough).await
    }

    /// The same, asking every node near the root, which may take the whole 30 s.
    pub async fn find_all_providers(&self, root: &Cid, limit: usize) -> Result<Vec<PeerId>, LookupError> {
        self.look_for_providers(root, limit, Depth::All).await
    }

    async fn look_for_providers(
        &self,
        root: &Cid,
        limit: usize,
        depth: Depth,
    ) -> Result<Vec<PeerId>, LookupError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::FindProviders { root: *root, limit, depth, reply }).await?;
        answer.await.map_err(|_| NetClosed)?
    }

    /// The best valid record of an IPNS name that the DHT has; `None` where it has none. Ends a second after the first
    /// valid answer, or within 30 s.
    pub async fn find_record(&self, name: &IpnsName) -> Result<Option<IpnsRecord>, LookupError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::FindRecord { name: *name, reply }).await?;
        answer.await.map_err(|_| NetClosed)?
    }

    /// Stores a record with the nodes nearest to its name, and here; how many others took it. They forget it within two
    /// days, or at its end of life.
    pub async fn publish_record(&self, name: &IpnsName, record: &IpnsRecord) -> Result<usize, LookupError> {
        let (reply, answer) = oneshot::channel();
        let value = record.bytes().to_vec();
        self.tell(Command::PublishRecord { name: *name, value, reply }).await?;
        answer.await.map_err(|_| NetClosed)?
    }

    /// Asks the DHT where a peer is.
    pub async fn find_peer(&self, peer: PeerId) -> Result<Vec<Multiaddr>, LookupError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::FindPeer { peer, reply }).await?;
        answer.await.map_err(|_| NetClosed)?
    }

    /// Tells the network what this node offers, until a later one. The node must be this one.
    pub async fn advertise(&self, advert: Verified<Advertisement>) -> Result<(), AdvertError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Advertise { advert: Box::new(advert), reply }).await?;
        answer.await.map_err(|_| NetClosed)?
    }

    /// The latest valid advertisement of every other node heard of, signatures checked.
    pub fn advertisements(&self) -> Vec<(PeerId, Advert)> {
        self.inner.state.adverts.list(unix_now())
    }

    /// Which nodes stand beside which peers that are none themselves (Kubos), by those peers' own signatures.
    pub fn beside(&self) -> HashMap<PeerId, Vec<NodeId>> {
        self.inner.state.adverts.beside(unix_now())
    }

    /// The latest valid advertisement of one node.
    pub fn advertisement(&self, peer: &PeerId) -> Option<Advert> {
        self.inner.state.adverts.get(peer, unix_now())
    }

    /// Opens a job stream to an Adit node, connecting first where necessary. On an open
    /// connection this takes one round trip and does not involve the network task.
    pub async fn open(&self, peer: PeerId) -> Result<JobStream, OpenError> {
        self.open_for(peer, &JOB_PROTOCOL).await
    }

    /// The same, to ask for a copy to be kept.
    pub async fn open_keep(&self, peer: PeerId) -> Result<JobStream, OpenError> {
        self.open_for(peer, &KEEP_PROTOCOL).await
    }

    async fn open_for(&self, peer: PeerId, protocol: &StreamProtocol) -> Result<JobStream, OpenError> {
        if let Some(opened) = self.inner.opener.open(peer, protocol).await {
            match opened {
                // The connection went away underneath; there may be, or come, another.
                Err(OpenError::Lost(_)) => {}
                other => return other,
            }
        }
        self.connect_peer(peer).await?;
        let lost = || Err(OpenError::Lost("it closed".into()));
        self.inner.opener.open(peer, protocol).await.unwrap_or_else(lost)
    }

    /// Job streams open now, both directions.
    pub fn open_job_streams(&self) -> usize {
        self.inner.state.budget.open_streams()
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.state.metrics
    }

    /// Bytes received from and sent to all peers.
    pub fn total_traffic(&self) -> (u64, u64) {
        let traffic = &self.inner.state.traffic;
        let read = |n: &std::sync::atomic::AtomicU64| n.load(std::sync::atomic::Ordering::Relaxed);
        (read(&traffic.bytes_in), read(&traffic.bytes_out))
    }

    /// A reader's view of all blocks: the store first, then connected peers, `hints` (peers
    /// believed to have them) and providers. What is fetched is put into the store.
    pub fn session(&self, hints: Vec<PeerId>) -> Session {
        self.inner.exchange.session(hints)
    }

    /// Adds sources of blocks that are no peers; every session asks them beside its peers. `finder` finds more of them
    /// for what a session lacks.
    pub fn ask_outside(
        &self,
        sources: Vec<Arc<dyn bitswap::Outside>>,
        finder: Option<Arc<dyn bitswap::OutsideFinder>>,
    ) {
        self.inner.exchange.ask_outside(sources, finder);
    }

    /// Which of these connected peers (all of them, if `None`) have a block; who has not answered
    /// in time counts as not having it.
    pub async fn have(&self, cid: &Cid, peers: Option<Vec<PeerId>>, patience: Duration) -> Vec<PeerId> {
        self.inner.exchange.have(cid, peers, patience).await
    }

    /// Says that blocks have come into the store by another way than a session (an import), for
    /// peers that wait for them.
    pub fn arrived(&self, cids: &[Cid]) {
        self.inner.exchange.arrived(cids);
    }

    /// Bitswap bytes exchanged with a connected peer, and the rate at which it delivers blocks.
    pub fn block_traffic(&self, peer: &PeerId) -> Option<bitswap::PeerTraffic> {
        self.inner.exchange.traffic(peer)
    }

    /// Ends the network in order and waits until none of its tasks is left.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        let mut stopped = self.inner.stopped.clone();
        // An error means that the supervisor is gone, and the task with it.
        let _ = stopped.wait_for(|ended| *ended).await;
    }

    async fn tell(&self, command: Command) -> Result<(), NetClosed> {
        self.inner.commands.send(command).await.map_err(|_| NetClosed)
    }

    async fn dialling<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, ConnectError>>) -> Command,
    ) -> Result<T, ConnectError> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        match tokio::time::timeout(CONNECT_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NetClosed.into()),
            Err(_) => Err(ConnectError::Timeout(CONNECT_TIMEOUT.as_secs())),
        }
    }
}
