//! Being reached: by relay and hole punching, by AutoNAT's word, and on a LAN without a word.

use std::{collections::HashMap, sync::Arc, time::Duration};

use adit_net::{DhtMode, Multiaddr, NetConfig, PeerId, Reach, Scope, Transport};
use adit_store::{Block, BlockSource, BlockStore};
use cid::Cid;
use futures::StreamExt;
use libp2p::{
    StreamProtocol, SwarmBuilder, autonat, identify,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use multihash::Multihash;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::{
    namespace::in_namespace,
    nodes::{Node, PATIENCE, node_with, until},
};

/// Longer than any test: never, as far as they see.
const NEVER: Duration = Duration::from_secs(3600);

/// What the public network has and Adit nodes are not: a relay that is also an AutoNAT server.
#[derive(NetworkBehaviour)]
struct Services {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    relay: relay::Behaviour,
    autonat: autonat::v2::server::Behaviour,
}

/// What the helper has seen of its clients.
#[derive(Default)]
struct Seen {
    protocols: HashMap<PeerId, Vec<StreamProtocol>>,
    probed: Vec<PeerId>,
    reserved: Vec<PeerId>,
    circuits: Vec<(PeerId, PeerId)>,
}

/// A plain libp2p swarm with [`Services`], no Adit node.
struct Helper {
    address: Multiaddr,
    peer: PeerId,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Helper {
    async fn start(ip: &str) -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key| Services {
                identify: identify::Behaviour::new(identify::Config::new("ipfs/0.1.0".into(), key.public())),
                ping: ping::Behaviour::default(),
                relay: relay::Behaviour::new(key.public().to_peer_id(), relay::Config::default()),
                autonat: autonat::v2::server::Behaviour::default(),
            })
            .unwrap()
            .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        let peer = *swarm.local_peer_id();
        swarm.listen_on(format!("/ip4/{ip}/tcp/0").parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        swarm.add_external_address(address.clone());
        let address = address.with_p2p(peer).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sees = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                if let SwarmEvent::Behaviour(event) = swarm.select_next_some().await {
                    sees.lock().note(event);
                }
            }
        });
        Self { address, peer, seen, task }
    }
}

impl Seen {
    fn note(&mut self, event: ServicesEvent) {
        match event {
            ServicesEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.protocols.insert(peer_id, info.protocols);
            }
            ServicesEvent::Autonat(event) => self.probed.push(event.client),
            ServicesEvent::Relay(relay::Event::ReservationReqAccepted { src_peer_id, .. }) => {
                self.reserved.push(src_peer_id);
            }
            ServicesEvent::Relay(relay::Event::CircuitReqAccepted { src_peer_id, dst_peer_id }) => {
                self.circuits.push((src_peer_id, dst_peer_id));
            }
            _ => {}
        }
    }
}

/// A node that takes itself to be on the internet, listens on one address for TCP, and knows one
/// other. What it does about its reachability is left to the test.
async fn internet(ip: &str, contact: &Multiaddr, change: impl FnOnce(&mut NetConfig)) -> Node {
    node_with(|config| {
        config.scope = Scope::Internet;
        config.dht = DhtMode::WhenReachable;
        config.listen = vec![format!("/ip4/{ip}/tcp/0").parse().unwrap()];
        config.bootstrap = vec![contact.clone()];
        (config.probe_interval, config.relay_after) = (NEVER, NEVER);
        change(config);
    })
    .await
}

fn transports(from: &Node, to: &Node) -> Vec<Transport> {
    from.net.peer(&to.peer()).map(|p| p.transports).unwrap_or_default()
}

fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The address under which a node is reached through its relay, once it has one.
async fn relayed_address(node: &Node, helper: &Helper) -> Multiaddr {
    until("a reservation", || node.net.external_addrs().iter().any(is_relayed)).await;
    assert_eq!(helper.seen.lock().reserved, [node.peer()]);
    let address = node.net.external_addrs().into_iter().find(is_relayed).unwrap();
    assert!(address.iter().any(|part| part == Protocol::P2p(helper.peer)), "{address}");
    address.with_p2p(node.peer()).unwrap()
}

/// Opens a job stream and sends a message each way.
async fn talk(from: &Node, to: &mut Node) {
    let talk = async {
        let (ours, mut theirs) = tokio::join!(from.net.open(to.peer()), to.incoming());
        let mut ours = ours.unwrap();
        assert_eq!((theirs.peer(), ours.peer()), (from.peer(), to.peer()));
        ours.send(&[1; 10_000]).await.unwrap();
        assert_eq!(theirs.recv().await.unwrap().unwrap(), vec![1; 10_000]);
        theirs.send(&[2; 10_000]).await.unwrap();
        assert_eq!(ours.recv().await.unwrap().unwrap(), vec![2; 10_000]);
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("messages pass");
}

/// Gets a block that only the other node has.
async fn fetch(to: &Node, from: &Node, seed: u8) {
    let data: bytes::Bytes = vec![seed; 20_000].into();
    let cid = Cid::new_v1(0x55, Multihash::wrap(0x12, &Sha256::digest(&data)).unwrap());
    from.store.put(vec![Block { cid, data: data.clone() }]).await.unwrap();
    let session = to.net.session(vec![from.peer()]);
    let found = tokio::time::timeout(PATIENCE, session.block(&cid)).await.unwrap().unwrap();
    assert_eq!(found, data);
    assert_eq!(session.received().get(&from.peer()), Some(&20_000));
}

/// The node stands as behind a NAT: it dials out, but what it listens on is not where others see it
/// come from. AutoNAT's probe fails, so it asks for a relay by itself.
#[test]
#[ignore = "soak: in a network namespace, as root"]
fn soak_a_node_that_nobody_can_dial_is_reached_through_a_relay() {
    let name = "reach::soak_a_node_that_nobody_can_dial_is_reached_through_a_relay";
    in_namespace(name, &["45.0.0.1/32"], async {
        let helper = Helper::start("45.0.0.1").await;
        let hidden = |config: &mut NetConfig| {
            config.probe_interval = Duration::from_millis(200);
            config.relay_after = Duration::from_secs(2);
        };
        let mut hidden = internet("127.0.0.1", &helper.address, hidden).await;
        until("a probe", || helper.seen.lock().probed.contains(&hidden.peer())).await;
        let address = relayed_address(&hidden, &helper).await;
        let direct: Vec<_> = hidden.net.external_addrs().into_iter().filter(|a| !is_relayed(a)).collect();
        assert_eq!(direct, [], "the probe failed");

        let mut caller = internet("127.0.0.1", &helper.address, |config| config.bootstrap.clear()).await;
        assert_eq!(caller.net.connect(address).await.unwrap(), hidden.peer());
        assert_eq!(helper.seen.lock().circuits, [(caller.peer(), hidden.peer())]);
        talk(&caller, &mut hidden).await;
        talk(&hidden, &mut caller).await;
        fetch(&caller, &hidden, 1).await;
        fetch(&hidden, &caller, 2).await;
        // Both ends know how they are connected. Hole punching was tried, and could not succeed.
        assert_eq!(transports(&caller, &hidden), [Transport::Relayed]);
        assert_eq!(transports(&hidden, &caller), [Transport::Relayed]);

        let kad = StreamProtocol::new("/adit/test/kad/1.0.0");
        let protocols = helper.seen.lock().protocols[&hidden.peer()].clone();
        assert!(!protocols.contains(&kad), "a relayed address makes nobody a DHT server");
    });
}

/// Both nodes can be dialled but don't know it, and the caller is told of the relay only: that a
/// direct connection appears is DCUtR's work. All have one address, since Linux gives a connection to an
/// address of its own that same address as its source, and others must see a node where it listens.
/// What is opened then does not need the relay.
#[test]
#[ignore = "soak: in a network namespace, as root"]
fn soak_a_relayed_connection_gives_way_to_a_direct_one() {
    let name = "reach::soak_a_relayed_connection_gives_way_to_a_direct_one";
    in_namespace(name, &["45.0.0.1/32"], async {
        let helper = Helper::start("45.0.0.1").await;
        let at_once = |config: &mut NetConfig| config.relay_after = Duration::ZERO;
        let mut called = internet("45.0.0.1", &helper.address, at_once).await;
        let address = relayed_address(&called, &helper).await;
        let mut caller = internet("45.0.0.1", &helper.address, |_| {}).await;
        // It tells others then where they see it, which it needs to know to be dialled back.
        until("the caller's first contact", || {
            caller.net.peer(&helper.peer).is_some_and(|p| !p.agent.is_empty())
        })
        .await;
        assert_eq!(caller.net.connect(address).await.unwrap(), called.peer());
        assert_eq!(helper.seen.lock().circuits, [(caller.peer(), called.peer())]);
        for (from, to) in [(&caller, &called), (&called, &caller)] {
            until("a direct connection", || transports(from, to).contains(&Transport::Tcp)).await;
        }
        let streams = async {
            let (ours, theirs) = tokio::join!(called.net.open(caller.peer()), caller.incoming());
            (ours.unwrap(), theirs)
        };
        let (mut ours, mut theirs) = tokio::time::timeout(PATIENCE, streams).await.unwrap();
        helper.task.abort();
        for (from, to) in [(&caller, &called), (&called, &caller)] {
            until("the relayed one closed", || !transports(from, to).contains(&Transport::Relayed)).await;
        }
        ours.send(b"still here").await.unwrap();
        assert_eq!(theirs.recv().await.unwrap().unwrap(), "still here");
        talk(&caller, &mut called).await;
        fetch(&caller, &called, 3).await;
        fetch(&called, &caller, 4).await;
    });
}

/// AutoNAT dials loopback addresses as any others. The server is an Adit node here; the helper only
/// watches what the client says of itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_another_dials_back_knows_that_it_is_reachable() {
    let kad = StreamProtocol::new("/adit/test/kad/1.0.0");
    let helper = Helper::start("127.0.0.1").await;
    let server = internet("127.0.0.1", &helper.address, |config| config.bootstrap.clear()).await;
    let probing = |config: &mut NetConfig| config.probe_interval = Duration::from_millis(500);
    let client = internet("127.0.0.1", &server.address("tcp"), probing).await;
    let watched = internet("127.0.0.1", &helper.address, |_| {}).await;
    let is_kad = |node: &Node| helper.seen.lock().protocols.get(&node.peer()).map(|p| p.contains(&kad));
    until("the client's address is confirmed", || {
        let confirmed = client.net.external_addrs();
        confirmed.iter().any(|a| a.clone().with_p2p(client.peer()).unwrap() == client.address("tcp"))
    })
    .await;
    assert_eq!(helper.seen.lock().probed, [], "by the other node, then");
    // From then on it answers DHT queries; one that was never probed does not.
    client.net.connect(helper.address.clone()).await.unwrap();
    until("the client is a DHT server", || is_kad(&client) == Some(true)).await;
    until("the other is identified", || is_kad(&watched).is_some()).await;
    assert_eq!(is_kad(&watched), Some(false));
    assert_eq!(watched.net.external_addrs(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_relays_only_when_told_to_and_while_it_can_be_dialled() {
    let helper = Helper::start("127.0.0.1").await;
    let reachable = |config: &mut NetConfig| {
        config.external = vec!["/ip4/45.0.0.1/tcp/4711".parse().unwrap()];
    };
    let willing = |config: &mut NetConfig| config.relay_server = true;
    let both = |config: &mut NetConfig| {
        reachable(config);
        willing(config);
    };
    let hidden = internet("127.0.0.1", &helper.address, willing).await;
    let unwilling = internet("127.0.0.1", &helper.address, reachable).await;
    let relay = internet("127.0.0.1", &helper.address, both).await;
    for (node, relays) in [(&hidden, false), (&unwilling, false), (&relay, true)] {
        let protocols = || helper.seen.lock().protocols.get(&node.peer()).cloned();
        until("it is identified", || protocols().is_some()).await;
        assert_eq!(protocols().unwrap().contains(&relay::HOP_PROTOCOL_NAME), relays);
    }
    assert_eq!(relay.net.reach(), Reach::Direct(relay.net.external_addrs()));
    assert_eq!(hidden.net.reach(), Reach::Unknown);
}

/// Neither node is told of the other.
#[test]
#[ignore = "soak: in a network namespace, as root"]
fn soak_nodes_on_a_lan_find_each_other_without_a_first_contact() {
    let name = "reach::soak_nodes_on_a_lan_find_each_other_without_a_first_contact";
    in_namespace(name, &["10.0.0.1/24"], async {
        let lan = |config: &mut NetConfig| {
            config.listen = vec!["/ip4/10.0.0.1/tcp/0".parse().unwrap()];
            config.mdns = true;
        };
        let (a, mut b) = (node_with(lan).await, node_with(lan).await);
        let silent = node_with(|config| {
            lan(config);
            config.mdns = false;
        })
        .await;
        until("both connected", || a.net.is_connected(&b.peer()) && b.net.is_connected(&a.peer())).await;
        talk(&a, &mut b).await;
        assert_eq!(silent.net.peers().len(), 0, "nobody finds one that does not take part");
    });
}
