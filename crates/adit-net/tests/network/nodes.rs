//! Nodes to test with, and waiting for what they do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use adit_model::{
    Abi, Abilities, Accept, AccountSecret, Advertisement, EvidenceKind, NodeSecret, Profile, Signed, Verified,
};
use adit_net::{Identity, Limits, Multiaddr, Net, NetConfig, NetEvent, NetEvents, PeerId};
use adit_store::MemoryStore;

/// Nothing here takes a tenth of this on an idle machine; tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) net: Net,
    pub(crate) events: NetEvents,
    pub(crate) secret: NodeSecret,
    pub(crate) store: Arc<MemoryStore>,
}

pub(crate) fn config(secret: &NodeSecret) -> NetConfig {
    let identity = Identity::from_seed(&mut secret.to_bytes());
    NetConfig::local(identity, "test".parse().unwrap())
}

pub(crate) async fn node_with(change: impl FnOnce(&mut NetConfig)) -> Node {
    let secret = NodeSecret::generate().unwrap();
    let mut config = config(&secret);
    change(&mut config);
    let store = Arc::new(MemoryStore::new());
    let (net, events) = Net::start(config, store.clone()).await.unwrap();
    Node { net, events, secret, store }
}

pub(crate) async fn node() -> Node {
    node_with(|_| {}).await
}

/// Two connected nodes, over the first address of the second that contains `transport`.
pub(crate) async fn pair(transport: &str, limits: Limits) -> (Node, Node) {
    let listen = |config: &mut NetConfig| {
        config.limits = limits.clone();
        config.listen.push("/ip4/127.0.0.1/tcp/0/ws".parse().unwrap());
    };
    let (a, b) = (node_with(listen).await, node_with(listen).await);
    let found = a.net.connect(b.address(transport)).await.unwrap();
    assert_eq!(found, b.net.peer_id());
    (a, b)
}

impl Node {
    pub(crate) fn address(&self, transport: &str) -> Multiaddr {
        let fits = |a: &Multiaddr| {
            let text = a.to_string();
            match transport {
                "tcp" => text.contains("/tcp/") && !text.contains("/ws"),
                other => text.contains(other),
            }
        };
        self.net.listen_addrs().into_iter().find(fits).expect("listens there")
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.net.peer_id()
    }

    pub(crate) fn advertisement(&self, issued: u64, lifetime: u64) -> Verified<Advertisement> {
        let body = Advertisement {
            node: self.secret.node(),
            alias: None,
            operator: AccountSecret::from_bytes(&[7; 32]).unwrap().account(),
            network: "test".into(),
            addresses: Vec::new(),
            abilities: Abilities {
                accept: Accept::Anyone,
                abis: vec![Abi::Wasip1],
                profiles: vec![Profile::Deterministic],
                evidence: vec![EvidenceKind::None],
                runtime: "wasmtime-48/schedule-1".into(),
                workers: 2,
                memory: 1 << 30,
                output: 1 << 30,
            },
            issued,
            expires: issued + lifetime,
        };
        Signed::sign(body, &self.secret).unwrap()
    }

    pub(crate) async fn incoming(&mut self) -> adit_net::JobStream {
        match tokio::time::timeout(PATIENCE, self.events.next()).await {
            Ok(Some(NetEvent::Job(stream))) => stream,
            other => panic!("no job stream but {other:?}"),
        }
    }
}

pub(crate) fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
