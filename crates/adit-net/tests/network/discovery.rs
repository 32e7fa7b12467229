//! Nodes find each other, and what they offer, through one first contact.

use adit_net::{NetConfig, PeerId};
use cid::Cid;
use multihash::Multihash;
use sha2::{Digest, Sha256};

use crate::nodes::{Node, PATIENCE, node, node_with, unix_now, until};

fn root(text: &str) -> Cid {
    Cid::new_v1(0x55, Multihash::wrap(0x12, &Sha256::digest(text)).unwrap())
}

/// One first contact and `count` nodes that know only it.
async fn network(count: usize) -> (Node, Vec<Node>) {
    let first = node().await;
    let address = first.address("tcp");
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(node_with(|config| config.bootstrap.push(address.clone())).await);
    }
    (first, nodes)
}

async fn find(seeker: &Node, root: &Cid, provider: PeerId) {
    let search = async {
        loop {
            let found = seeker.net.find_providers(root, 5).await.unwrap();
            assert!(!found.contains(&seeker.peer()), "a node does not find itself");
            if found.contains(&provider) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("the provider is found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_are_found_through_one_first_contact() {
    let (_first, nodes) = network(6).await;
    // Announced before the node has met anyone, most likely: it must be announced again then.
    nodes[0].net.provide(root("data")).await.unwrap();
    assert_eq!(nodes[0].net.provided(), [root("data")]);
    for seeker in &nodes[1..] {
        find(seeker, &root("data"), nodes[0].peer()).await;
        // Whoever was found is connected, or can be by its id alone.
        seeker.net.connect_peer(nodes[0].peer()).await.unwrap();
    }
    assert!(nodes[1].net.find_providers(&root("nobody has this"), 5).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adverts_reach_everyone_and_updates_replace_them() {
    let (first, nodes) = network(6).await;
    let now = unix_now();
    for node in &nodes[..5] {
        node.net.advertise(node.advertisement(now - 10, 3600)).await.unwrap();
    }
    for node in nodes.iter().chain([&first]) {
        until("five advertisements", || {
            let known = node.net.advertisements();
            let mut all = nodes[..5].iter().map(Node::peer).filter(|p| *p != node.peer());
            all.all(|peer| known.iter().any(|(p, _)| *p == peer))
        })
        .await;
    }
    nodes[0].net.advertise(nodes[0].advertisement(now, 3600)).await.unwrap();
    for node in &nodes[1..] {
        until("the update", || {
            node.net.advertisement(&nodes[0].peer()).is_some_and(|a| a.body().issued == now)
        })
        .await;
    }
    // A node that comes late is told at once.
    let late = node_with(|config| config.bootstrap.push(first.address("quic"))).await;
    until("all advertisements at the late node", || late.net.advertisements().len() == 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_do_not_mix() {
    let other = node_with(|config: &mut NetConfig| config.network = "other".parse().unwrap()).await;
    let here = node_with(|config| config.bootstrap.push(other.address("tcp"))).await;
    until("the connection", || here.net.is_connected(&other.peer())).await;
    here.net.advertise(here.advertisement(unix_now(), 3600)).await.unwrap();
    other.net.provide(root("data")).await.unwrap();
    until("identification", || here.net.peer(&other.peer()).is_some_and(|p| p.adit)).await;
    assert!(here.net.find_providers(&root("data"), 5).await.unwrap().is_empty());
    assert!(other.net.advertisements().is_empty());
}

/// Jobs look for providers for a few seconds at most. A node that is in everybody's routing table
/// but gone costs a QUIC dial five.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_node_does_not_hold_up_lookups() {
    let first = node().await;
    let address = first.address("quic");
    let quic_only = |config: &mut NetConfig| {
        config.bootstrap.push(address.clone());
        config.listen.retain(|a| a.to_string().contains("quic"));
    };
    let (provider, seeker) = (node_with(quic_only).await, node_with(quic_only).await);
    let gone = node_with(quic_only).await;
    provider.net.provide(root("data")).await.unwrap();
    for node in [&seeker, &provider] {
        until("everyone knows the one that leaves", || node.net.is_connected(&gone.peer())).await;
    }
    find(&seeker, &root("data"), provider.peer()).await;
    gone.net.shutdown().await;
    let start = std::time::Instant::now();
    assert_eq!(seeker.net.find_providers(&root("data"), 20).await.unwrap(), [provider.peer()]);
    assert!(start.elapsed() < std::time::Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_roots_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = node().await;
    let address = first.address("tcp");
    let configure = |config: &mut NetConfig| {
        config.bootstrap.push(address.clone());
        config.state_dir = Some(dir.path().into());
    };
    let before = node_with(configure).await;
    before.net.provide(root("kept")).await.unwrap();
    before.net.provide(root("given up")).await.unwrap();
    before.net.unprovide(root("given up")).await.unwrap();
    before.net.shutdown().await;
    let after = node_with(configure).await;
    assert_eq!(after.net.provided(), [root("kept")]);
    let seeker = node_with(|config| config.bootstrap.push(address.clone())).await;
    find(&seeker, &root("kept"), after.peer()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_come_from_a_provider_nobody_mentioned() {
    use adit_store::{Block, BlockSource, BlockStore};
    let (_first, nodes) = network(3).await;
    let data: bytes::Bytes = vec![42; 100_000].into();
    let cid = Cid::new_v1(0x55, Multihash::wrap(0x12, &Sha256::digest(&data)).unwrap());
    nodes[0].store.put(vec![Block { cid, data: data.clone() }]).await.unwrap();
    nodes[0].net.provide(cid).await.unwrap();
    find(&nodes[1], &cid, nodes[0].peer()).await;
    let seeker = node_with(|config| config.bootstrap.push(nodes[2].address("quic"))).await;
    let session = seeker.net.session(Vec::new());
    let found = tokio::time::timeout(PATIENCE, session.block(&cid)).await.unwrap().unwrap();
    assert_eq!(found, data);
    assert_eq!(session.received().get(&nodes[0].peer()), Some(&100_000));
    assert_eq!(seeker.store.get(&cid).await.unwrap(), Some(data));
    let have = seeker.net.have(&cid, None, PATIENCE).await;
    assert_eq!(have, [nodes[0].peer()]);
}
