//! The start: transports, listeners, the task and its supervisor.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_store::BlockStore;
use futures::{FutureExt, StreamExt};
use libp2p::{
    Multiaddr, Swarm, core::transport::ListenerId, gossipsub::IdentTopic, multiaddr::Protocol,
    swarm::SwarmEvent,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Command, SWEEP, State, Task, dht::Rendezvous, dial::peer_of, finder::Finder, reach::Relays};
use crate::{
    NetConfig, Scope,
    advert::{self, AdvertBook},
    behaviour::{Behaviour, BehaviourEvent, Parts},
    bitswap, datagrams,
    dht::{Announcer, ProvidedLog, ProviderRecords},
    error::StartError,
    events::NetEvents,
    job::{self, Budget, Opener},
    metrics::Metrics,
    peers::{Addresses, Crowd, PeerBook, Redial},
    traffic::Traffic,
    transport,
};

/// Commands that wait for the task. It takes each within microseconds; more than this only queue
/// while it is busy with a burst of events, and then their senders wait.
const COMMANDS: usize = 256;
/// Binding to a local port takes no time; what takes longer hangs.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a handle is made of.
pub(crate) struct Started {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) state: Arc<State>,
    pub(crate) opener: Opener,
    pub(crate) exchange: bitswap::Handle,
    pub(crate) stop: CancellationToken,
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) events: NetEvents,
}

/// Starts listening, then the task. Returns once every listener has its address.
pub(crate) async fn start(config: NetConfig, store: Arc<dyn BlockStore>) -> Result<Started, StartError> {
    let log = ProvidedLog::open(config.state_dir.as_deref(), config.limits.provided_roots)
        .map_err(StartError::State)?;
    let records = ProviderRecords::open(
        config.identity.peer_id(),
        config.limits.provider_records,
        config.limits.value_records,
        config.state_dir.as_deref(),
    )
    .map_err(StartError::State)?;
    let traffic = Arc::new(Traffic::default());
    let metrics = Arc::new(Metrics::default());
    let budget = Budget::new(&config.limits);
    if config.swarm_key.is_some() {
        let quic = |a: &&Multiaddr| a.iter().any(|p| matches!(p, Protocol::QuicV1 | Protocol::Quic));
        if let Some(address) = config.listen.iter().find(quic) {
            return Err(StartError::QuicWithKey(address.clone()));
        }
    }
    let (transport, relay) = transport::build(&config.identity, config.swarm_key.as_ref(), &traffic)?;
    let (jobs, opener, incoming) =
        job::Behaviour::new(&config.limits, Arc::clone(&budget), Arc::clone(&metrics));
    let adverts =
        Arc::new(AdvertBook::new(config.identity.peer_id(), config.network.clone(), config.limits.adverts));
    let protocol = config.network.advert_protocol();
    let pushes = advert::Behaviour::new(protocol, Arc::clone(&adverts), Arc::clone(&metrics));
    let topic = IdentTopic::new(config.network.advert_topic());
    let (commands, queue) = mpsc::channel(COMMANDS);
    let finder = Arc::new(Finder(commands.downgrade()));
    let (blocks, exchange) = bitswap::start(store, finder, config.bitswap.clone());
    let book = PeerBook::new(config.limits.known_peers, config.limits.addresses_per_peer);
    let book = Arc::new(RwLock::new(book));
    let addresses = Addresses::new(Arc::clone(&book));
    let parts = Parts { addresses, records, relay, jobs, blocks, adverts: pushes };
    let behaviour = Behaviour::new(&config, &topic, parts)?;

    let connections = TaskTracker::new();
    let tracker = connections.clone();
    let swarm_config =
        libp2p::swarm::Config::with_executor(move |task: Pin<Box<dyn Future<Output = ()> + Send>>| {
            drop(tracker.spawn(task))
        })
        .with_idle_connection_timeout(config.limits.idle_connection);
    let mut swarm = Swarm::new(transport, behaviour, config.identity.peer_id(), swarm_config);

    let now = Instant::now();
    let (mut redial, mut bootstrap) = (Redial::default(), Redial::default());
    for (addresses, clock) in [(&config.peers, &mut redial), (&config.bootstrap, &mut bootstrap)] {
        for address in addresses {
            let peer = peer_of(address).ok_or_else(|| StartError::NoPeerId(address.clone()))?;
            if peer != config.identity.peer_id() {
                book.write().learn(peer, [address.clone()], now);
                clock.want(peer, address.clone(), now);
            }
        }
    }
    for address in &config.external {
        swarm.add_external_address(address.clone());
    }
    let (listening, early) = listen(&mut swarm, &config.listen).await?;

    let mut announcer = Announcer::default();
    announcer.add(config.network.rendezvous_key(), now);
    for root in log.roots() {
        announcer.add(*root.hash(), now);
    }

    let state = Arc::new(State {
        book,
        listening: RwLock::new(listening.clone()),
        external: RwLock::new(config.external.clone()),
        provided: Mutex::new(log),
        adverts,
        traffic,
        metrics,
        budget,
    });
    let stop = CancellationToken::new();
    let relayed = config.scope == Scope::Internet && config.external.is_empty();
    let relays = Relays::new(relayed.then_some(config.relay_after), now);
    let crowd = Crowd::new(config.limits.incoming_connections as usize);
    let mut task = Task {
        config,
        swarm,
        commands: queue,
        stop: stop.clone(),
        connections,
        state: Arc::clone(&state),
        dials: HashMap::new(),
        attempts: HashMap::new(),
        queries: HashMap::new(),
        announced: HashMap::new(),
        topic,
        announcer,
        rendezvous: Rendezvous::new(now),
        relays,
        redial,
        bootstrap,
        failed_pings: HashMap::new(),
        crowd,
        exchange: exchange.clone(),
        next_sweep: now + SWEEP,
    };
    for address in listening {
        task.reached_at(address);
    }
    // Addresses that were not learned but given count from the beginning.
    task.on_external();
    for event in early {
        task.on_event(event);
    }
    let (failed, failure) = watch::channel(None);
    let (ended, stopped) = watch::channel(false);
    tokio::spawn(supervise(task.run(), failed, ended));
    let events = NetEvents::new(incoming, failure);
    Ok(Started { commands, state, opener, exchange, stop, stopped, events })
}

/// Runs the task to its end and reports a panic, so that no daemon lives on without a network.
async fn supervise(
    task: impl Future<Output = ()>,
    failed: watch::Sender<Option<String>>,
    ended: watch::Sender<bool>,
) {
    if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
        let reason = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".into());
        tracing::error!(reason, "the network task failed");
        let _ = failed.send(Some(reason));
    }
    let _ = ended.send(true);
}

/// libp2p binds TCP ports so that several processes may share one; connections would then go to
/// either of two daemons by chance. A plain bind before it fails when the port is taken.
fn not_taken(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip: std::net::IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => std::net::TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// Listens on every address and waits until each has begun, so that whoever started the network
/// knows its real ports, and hears at once when a port is taken. What else happens meanwhile (a peer
/// that was only waiting for us) is returned for the task.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<(Vec<Multiaddr>, Vec<SwarmEvent<BehaviourEvent>>), StartError> {
    let mut waiting: HashMap<ListenerId, Multiaddr> = HashMap::new();
    let (mut listening, mut early) = (Vec::new(), Vec::new());
    for address in addresses {
        let refused = |reason: String| StartError::Listen { address: address.clone(), reason };
        not_taken(address).map_err(|e| refused(e.to_string()))?;
        let id = swarm.listen_on(address.clone()).map_err(|e| refused(e.to_string()))?;
        waiting.insert(id, address.clone());
    }
    let begin = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    waiting.remove(&listener_id);
                    datagrams::make_room(&address);
                    listening.push(address);
                }
                SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                    if let Some(address) = waiting.remove(&listener_id) {
                        let reason = reason.err().map_or_else(|| "closed".into(), |e| e.to_string());
                        return Err(StartError::Listen { address, reason });
                    }
                }
                other => early.push(other),
            }
        }
        Ok(())
    };
    match tokio::time::timeout(LISTEN_TIMEOUT, begin).await {
        Ok(begun) => begun?,
        Err(_) => {
            let address = waiting.into_values().next().expect("something is waited for");
            return Err(StartError::ListenTimeout { address, seconds: LISTEN_TIMEOUT.as_secs() });
        }
    }
    Ok((listening, early))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NetEvent;

    #[tokio::test]
    async fn a_panic_is_an_event_and_ends_the_network() {
        let (failed, failure) = watch::channel(None);
        let (ended, mut stopped) = watch::channel(false);
        let (_incoming, jobs) = mpsc::channel(1);
        let mut events = NetEvents::new(jobs, failure);
        tokio::spawn(supervise(async { panic!("for {}", "a test") }, failed, ended));
        match events.next().await {
            Some(NetEvent::Failed { reason }) => assert_eq!(reason, "for a test"),
            other => panic!("{other:?}"),
        }
        assert!(events.next().await.is_none(), "told once");
        stopped.wait_for(|ended| *ended).await.expect("shutdown need not wait");
    }
}
