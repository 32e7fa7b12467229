//! A private swarm: whoever lacks its key cannot connect, by whatever transport.

use std::sync::Arc;

use adit_net::{Multiaddr, Net, NetConfig, StartError, SwarmKey};
use adit_store::MemoryStore;

use crate::nodes::{Node, config, node_with, until};

fn key(digit: char) -> SwarmKey {
    let digits = digit.to_string().repeat(64);
    SwarmKey::parse(&format!("/key/swarm/psk/1.0.0/\n/base16/\n{digits}\n")).unwrap()
}

fn listen(config: &mut NetConfig) {
    config.listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"].map(|a| a.parse().unwrap()).to_vec();
}

async fn member(digit: Option<char>) -> Node {
    node_with(|config| {
        listen(config);
        config.swarm_key = digit.map(key);
    })
    .await
}

/// A wrong key shows as bytes that make no sense, or as silence until the handshake's patience ends: all at once, then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_has_the_key_connects() {
    tokio::join!(only_members("tcp"), only_members("/ws"));
}

async fn only_members(transport: &str) {
    let (inside, mut other) = (member(Some('1')).await, member(Some('1')).await);
    let (outside, stranger) = (member(None).await, member(Some('2')).await);
    let dials = tokio::join!(
        outside.net.connect(inside.address(transport)),
        stranger.net.connect(inside.address(transport)),
        inside.net.connect(outside.address(transport)),
        inside.net.connect(stranger.address(transport)),
    );
    assert!(dials.0.is_err() && dials.1.is_err(), "in, by {transport}");
    assert!(dials.2.is_err() && dials.3.is_err(), "out, by {transport}");
    assert_eq!(inside.net.connect(other.address(transport)).await.unwrap(), other.peer());
    let (ours, mut theirs) = tokio::join!(inside.net.open(other.peer()), other.incoming());
    let mut ours = ours.unwrap();
    let (sent, received) = tokio::join!(ours.send(&[7; 300_000]), theirs.recv());
    sent.unwrap();
    assert_eq!(received.unwrap().unwrap(), vec![7; 300_000]);
    until("nobody else is connected", || inside.net.peers().iter().filter(|p| p.connected).count() == 1)
        .await;
}

#[tokio::test]
async fn quic_with_a_key_is_refused_in_words() {
    let mut config = config(&adit_model::NodeSecret::generate().unwrap());
    config.swarm_key = Some(key('1'));
    let quic: Multiaddr = "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap();
    assert!(config.listen.contains(&quic));
    let refused = Net::start(config, Arc::new(MemoryStore::new())).await.unwrap_err();
    assert!(matches!(&refused, StartError::QuicWithKey(address) if *address == quic));
    assert!(refused.to_string().contains("listen on TCP or WebSocket instead"));
}
