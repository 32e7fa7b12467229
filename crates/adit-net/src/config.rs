//! What an operator (or a test) decides about the network.

use std::{path::PathBuf, time::Duration};

use libp2p::{Multiaddr, StreamProtocol};

use crate::{Identity, NetworkName, SwarmKey, bitswap};

/// Everything the network needs to start.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The node's key.
    pub identity: Identity,
    /// Which network to join.
    pub network: NetworkName,
    /// The pre-shared key of a private swarm: only peers that have it can connect, and there is no QUIC.
    pub swarm_key: Option<SwarmKey>,
    /// Addresses to listen on: TCP, QUIC (`/udp/…/quic-v1`) and WebSocket (`/tcp/…/ws`). Port 0
    /// takes a free one; [`crate::Net::listen_addrs`] tells which.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which the operator knows this node to be reachable (port forwarding).
    pub external: Vec<Multiaddr>,
    /// First contacts, each ending in `/p2p/<peer id>`. Redialled while there are few peers.
    pub bootstrap: Vec<Multiaddr>,
    /// Peers to stay connected with, each ending in `/p2p/<peer id>`: redialled with back-off.
    pub peers: Vec<Multiaddr>,
    /// Who is expected on this network; decides about address filters and reachability checks.
    pub scope: Scope,
    /// Whether this node answers DHT queries of others.
    pub dht: DhtMode,
    /// Whose DHT it is.
    pub dht_of: DhtOf,
    /// On the internet: how often addresses that nobody has confirmed yet are probed (AutoNAT).
    pub probe_interval: Duration,
    /// On the internet: how long a node waits for a confirmation before it asks for a relay.
    pub relay_after: Duration,
    /// Relay for nodes that nobody can dial, within limits, while this node itself can be dialled.
    pub relay_server: bool,
    /// Find peers on the local network by multicast DNS.
    pub mdns: bool,
    /// What identify tells others, such as `adit/0.1.0`.
    pub agent: String,
    /// Where provided roots and the DHT records of others are kept. `None` keeps them in memory only.
    pub state_dir: Option<PathBuf>,
    /// Settings of the block exchange.
    pub bitswap: bitswap::Config,
    /// Upper bounds.
    pub limits: Limits,
}

/// Who is expected on this network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The internet: private addresses of strangers are ignored, reachability is probed
    /// (AutoNAT), relays and hole punching are used.
    Internet,
    /// One machine or one trusted network: every address counts, nothing is probed.
    Local,
}

/// Whether this node answers DHT queries of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhtMode {
    /// Server as soon as AutoNAT or the operator confirms an address others can reach.
    WhenReachable,
    /// Always: for a devnet, or a node that is known to be reachable.
    Server,
    /// Never.
    Client,
}

/// Whose DHT a node takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhtOf {
    /// That of its network: IPFS's own in the public network, else one of Adit nodes alone.
    Network,
    /// IPFS's own, `/ipfs/kad/1.0.0`, whatever the network's name: in a private swarm Kubo nodes use it among public
    /// addresses.
    Ipfs,
    /// `/ipfs/lan/kad/1.0.0`, which Kubo nodes use among private addresses.
    Lan,
}

/// Upper bounds; each names what it protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Established connections in all. Each costs 50 to 150 KB.
    pub connections: u32,
    /// Established incoming connections; fewer than all, so that we can always dial. Where one more comes, the one that
    /// has been idle for the longest time is closed.
    pub incoming_connections: u32,
    /// Connections to one peer (both sides may dial at once, over TCP and QUIC).
    pub connections_per_peer: u32,
    /// Adit peers whose idle connections are kept open.
    pub kept_connections: usize,
    /// Peers remembered in the peer book, connected or not.
    pub known_peers: usize,
    /// Addresses remembered for one peer.
    pub addresses_per_peer: usize,
    /// Advertisements kept.
    pub adverts: usize,
    /// Open job streams in all and per peer.
    pub job_streams: usize,
    /// Open job streams of one peer.
    pub job_streams_per_peer: usize,
    /// Incoming job streams that wait for the node to take them; beyond it they are refused.
    pub incoming_jobs: usize,
    /// Bytes of incomplete incoming job messages, all peers together.
    pub job_bytes: usize,
    /// Bytes of incomplete incoming job messages of one peer.
    pub job_bytes_per_peer: usize,
    /// A job stream without a byte for this long fails, while someone waits for one.
    pub job_idle: Duration,
    /// A send on a job stream that makes no progress for this long fails, and so does an incoming
    /// message that is not whole after this long.
    pub job_stall: Duration,
    /// Provider records of others kept for the DHT. Each costs some 200 bytes of memory and 90 on disk.
    pub provider_records: usize,
    /// IPNS records of others kept for the DHT, of at most 10 KiB each.
    pub value_records: usize,
    /// Roots this node announces.
    pub provided_roots: usize,
    /// How long a connection that nobody uses stays open.
    pub idle_connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 384,
            incoming_connections: 256,
            connections_per_peer: 4,
            kept_connections: 128,
            known_peers: 4096,
            addresses_per_peer: 16,
            adverts: 4096,
            job_streams: 1024,
            job_streams_per_peer: 256,
            incoming_jobs: 128,
            job_bytes: 64 << 20,
            job_bytes_per_peer: 16 << 20,
            job_idle: Duration::from_secs(15 * 60),
            job_stall: Duration::from_secs(60),
            provider_records: 64 * 1024,
            value_records: 4096,
            provided_roots: 100_000,
            idle_connection: Duration::from_secs(60),
        }
    }
}

impl NetConfig {
    /// A node on the public internet that listens nowhere yet.
    pub fn new(identity: Identity, network: NetworkName) -> Self {
        Self {
            identity,
            network,
            swarm_key: None,
            listen: Vec::new(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            peers: Vec::new(),
            scope: Scope::Internet,
            dht: DhtMode::WhenReachable,
            dht_of: DhtOf::Network,
            probe_interval: Duration::from_secs(60),
            relay_after: Duration::from_secs(150),
            relay_server: false,
            mdns: false,
            agent: concat!("adit/", env!("CARGO_PKG_VERSION")).into(),
            state_dir: None,
            bitswap: bitswap::Config::default(),
            limits: Limits::default(),
        }
    }

    /// The name of the DHT's protocol.
    pub fn kad_protocol(&self) -> StreamProtocol {
        match self.dht_of {
            DhtOf::Network => self.network.kad_protocol(),
            DhtOf::Ipfs => NetworkName::ipfs().kad_protocol(),
            DhtOf::Lan => StreamProtocol::new("/ipfs/lan/kad/1.0.0"),
        }
    }

    /// A node of a network on this machine: loopback only, ports chosen by the system.
    pub fn local(identity: Identity, network: NetworkName) -> Self {
        let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
        Self {
            listen: listen.iter().map(|a| a.parse().expect("a valid address")).collect(),
            scope: Scope::Local,
            dht: DhtMode::Server,
            ..Self::new(identity, network)
        }
    }

    /// The first contacts of the public IPFS network, as run by its maintainers.
    pub fn public_bootstrap() -> Vec<Multiaddr> {
        // The first has an Ed25519 key; the others' RSA keys need libp2p's `rsa` feature.
        [
            "/dnsaddr/va1.bootstrap.libp2p.io/p2p/12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8",
            "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
            "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
            "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
            "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
        ]
        .iter()
        .map(|a| a.parse().expect("a valid address"))
        .collect()
    }
}
