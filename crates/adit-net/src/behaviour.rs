//! All protocols of one node, composed.

use std::{num::NonZeroUsize, time::Duration};

use libp2p::{
    autonat, connection_limits, dcutr, gossipsub, identify, kad, mdns, ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use crate::{
    NetConfig, Scope, advert, bitswap, config::DhtMode, dht::ProviderRecords, error::StartError, job,
    peers::Addresses,
};

/// A ping a connection in this time: keeps RTT fresh and finds dead peers.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Incoming connections whose handshake is under way.
const INCOMING_AT_ONCE: u32 = 64;
/// Advertisements are rare and flooded at once; the heartbeat only repairs the mesh.
const GOSSIP_HEARTBEAT: Duration = Duration::from_secs(10);
/// A DHT query that has not ended after this long ends with what it has.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
/// Agents and addresses of identified peers are in our own book; identify's cache stays small.
const IDENTIFY_CACHE: usize = 64;

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// First, so that a connection over the limit is denied before others prepare for it.
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) addresses: Addresses,
    pub(crate) kad: kad::Behaviour<ProviderRecords>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) gossip: gossipsub::Behaviour,
    pub(crate) adverts: advert::Behaviour,
    pub(crate) jobs: job::Behaviour,
    pub(crate) blocks: bitswap::Behaviour,
    pub(crate) relay: relay::client::Behaviour,
    pub(crate) relay_server: Toggle<relay::Behaviour>,
    pub(crate) hole_punching: Toggle<dcutr::Behaviour>,
    pub(crate) reachability: Toggle<autonat::v2::client::Behaviour>,
    pub(crate) reachability_server: Toggle<autonat::v2::server::Behaviour>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// What other modules have made ready.
pub(crate) struct Parts {
    pub(crate) addresses: Addresses,
    pub(crate) records: ProviderRecords,
    pub(crate) relay: relay::client::Behaviour,
    pub(crate) jobs: job::Behaviour,
    pub(crate) blocks: bitswap::Behaviour,
    pub(crate) adverts: advert::Behaviour,
}

impl Behaviour {
    pub(crate) fn new(
        config: &NetConfig,
        topic: &gossipsub::IdentTopic,
        parts: Parts,
    ) -> Result<Self, StartError> {
        let Parts { addresses, records, relay, jobs, blocks, adverts } = parts;
        let peer = config.identity.peer_id();
        let internet = config.scope == Scope::Internet;
        let mdns = match config.mdns {
            true => Some(
                mdns::tokio::Behaviour::new(mdns::Config::default(), peer)
                    .map_err(|e| StartError::Setup { part: "multicast DNS", reason: e.to_string() })?,
            ),
            false => None,
        };
        Ok(Self {
            limits: connection_limits::Behaviour::new(
                connection_limits::ConnectionLimits::default()
                    .with_max_established(Some(config.limits.connections))
                    // One too many makes an idle one go (`peers/crowd.rs`); this is for the moments in between.
                    .with_max_established_incoming(Some(
                        config.limits.incoming_connections.saturating_add(INCOMING_AT_ONCE),
                    ))
                    .with_max_established_per_peer(Some(config.limits.connections_per_peer))
                    // Handshakes cost CPU; a flood of half-open ones must not.
                    .with_max_pending_incoming(Some(INCOMING_AT_ONCE))
                    .with_max_pending_outgoing(Some(128)),
            ),
            addresses,
            kad: kad(config, records),
            identify: identify::Behaviour::new(
                identify::Config::new("ipfs/0.1.0".into(), config.identity.keypair().public())
                    .with_agent_version(config.agent.clone())
                    .with_cache_size(IDENTIFY_CACHE)
                    .with_push_listen_addr_updates(true),
            ),
            ping: ping::Behaviour::new(
                ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT),
            ),
            gossip: gossip(topic)?,
            adverts,
            jobs,
            blocks,
            relay,
            relay_server: config.relay_server.then(|| relay_server(peer)).into(),
            hole_punching: internet.then(|| dcutr::Behaviour::new(peer)).into(),
            reachability: internet
                .then(|| {
                    let config =
                        autonat::v2::client::Config::default().with_probe_interval(config.probe_interval);
                    autonat::v2::client::Behaviour::new(rand::make_rng::<rand::rngs::StdRng>(), config)
                })
                .into(),
            reachability_server: internet.then(autonat::v2::server::Behaviour::default).into(),
            mdns: mdns.into(),
        })
    }
}

fn kad(config: &NetConfig, records: ProviderRecords) -> kad::Behaviour<ProviderRecords> {
    let peer = config.identity.peer_id();
    let mut kad_config = kad::Config::new(config.kad_protocol());
    kad_config
        .set_query_timeout(QUERY_TIMEOUT)
        // Several paths that share no node: one lying node near the key can't hide the others.
        .disjoint_query_paths(true)
        .set_parallelism(NonZeroUsize::new(6).expect("not zero"))
        // Our own announcer decides when to announce again, and how much at once.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_periodic_bootstrap_interval(Some(Duration::from_secs(10 * 60)));
    let mut kad = kad::Behaviour::with_config(peer, records, kad_config);
    kad.set_mode(match config.dht {
        // Until an address is confirmed; see `swarm/reach.rs`.
        DhtMode::WhenReachable if config.external.is_empty() => Some(kad::Mode::Client),
        DhtMode::WhenReachable => Some(kad::Mode::Server),
        DhtMode::Server => Some(kad::Mode::Server),
        DhtMode::Client => Some(kad::Mode::Client),
    });
    kad
}

/// Strangers' connections through us are for finding a direct way, not for carrying data: few, short and small. It
/// offers nothing until `swarm/reach.rs` finds that this node can be dialled.
fn relay_server(peer: libp2p::PeerId) -> relay::Behaviour {
    let config = relay::Config {
        max_reservations: 128,
        // libp2p compares these two with what a peer has before it gets one more: 2 reservations, 4 circuits.
        max_reservations_per_peer: 1,
        reservation_duration: Duration::from_secs(3600),
        max_circuits: 64,
        max_circuits_per_peer: 3,
        max_circuit_duration: Duration::from_secs(2 * 60),
        max_circuit_bytes: 1 << 17,
        // With its limits on how often one peer or one address asks.
        ..relay::Config::default()
    };
    let mut server = relay::Behaviour::new(peer, config);
    server.set_status(Some(relay::Status::Disable));
    server
}

fn gossip(topic: &gossipsub::IdentTopic) -> Result<gossipsub::Behaviour, StartError> {
    let failed = |reason: String| StartError::Setup { part: "gossip", reason };
    let config = gossipsub::ConfigBuilder::default()
        .heartbeat_interval(GOSSIP_HEARTBEAT)
        // Advertisements are signed by whom they speak of; who passed them on does not matter.
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .message_id_fn(|message| {
            use sha2::Digest;
            gossipsub::MessageId::new(&sha2::Sha256::digest(&message.data)[..20])
        })
        // Nothing is forwarded before its signature is checked.
        .validate_messages()
        .build()
        .map_err(|e| failed(e.to_string()))?;
    let mut gossip = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config)
        .map_err(|e| failed(e.to_string()))?;
    gossip.subscribe(topic).map_err(|e| failed(e.to_string()))?;
    Ok(gossip)
}
