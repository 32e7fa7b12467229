//! The gateway of a running node: the node's parts behind `adit-gateway`'s traits.

use std::sync::Arc;

use adit_gateway::{Gateway, Limits, Parts, PeerRecord, Routing, Server, Settings};
use adit_names::IpnsName;
use adit_net::Net;
use adit_node::Node;
use adit_store::BlockSource;
use async_trait::async_trait;
use cid::Cid;
use tokio::net::TcpListener;

use crate::exit::{Exit, Failure};

/// Starts the gateway, if the settings want one.
pub(crate) async fn start(node: &Node) -> Result<Option<Server>, Failure> {
    let config = &node.settings().config().gateway;
    if config.listen.is_empty() {
        return Ok(None);
    }
    let listener = TcpListener::bind(&config.listen).await.map_err(|error| {
        Failure::because(Exit::Failed, format!("cannot listen on {}", config.listen), &error)
            .hint("choose another address by the setting gateway.listen; port 0 takes a free one, empty means no gateway")
    })?;
    let local: Arc<dyn BlockSource> = Arc::new(node.repo().blocks());
    let source = if config.fetch { node.source() } else { Arc::clone(&local) };
    let parts = Parts {
        source,
        local,
        names: node.names().system(),
        routing: Arc::new(Swarm(node.net().clone())),
        denials: node.denials().clone(),
        settings: Settings {
            hosts: config.hosts.clone(),
            deserialized: config.deserialized,
            ..Settings::default()
        },
    };
    Server::start(listener, Gateway::new(parts), Limits::default())
        .map(Some)
        .map_err(|error| Failure::because(Exit::Failed, "cannot serve the gateway", &error))
}

/// Delegated routing over the node's own swarm.
struct Swarm(Net);

impl Swarm {
    fn record(&self, peer: adit_net::PeerId, addresses: Vec<String>) -> PeerRecord {
        PeerRecord { id: peer.to_string(), addresses, protocols: vec!["transport-bitswap".to_owned()] }
    }
}

#[async_trait]
impl Routing for Swarm {
    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerRecord>, String> {
        let peers = self.0.find_providers(cid, limit).await.map_err(|error| error.to_string())?;
        let known = |peer| {
            let info = self.0.peer(&peer);
            let addresses = info.map(|info| info.addrs.iter().map(ToString::to_string).collect());
            self.record(peer, addresses.unwrap_or_default())
        };
        Ok(peers.into_iter().map(known).collect())
    }

    async fn peer(&self, peer: &IpnsName) -> Result<Option<PeerRecord>, String> {
        let peer = peer.to_peer_id();
        let addresses = self.0.find_peer(peer).await.map_err(|error| error.to_string())?;
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        Ok((!addresses.is_empty())
            .then(|| PeerRecord { protocols: Vec::new(), ..self.record(peer, addresses) }))
    }
}
