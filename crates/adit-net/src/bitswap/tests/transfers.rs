//! Honest nodes.

use std::{sync::Arc, time::Duration};

use adit_store::{Block, BlockSource, DiskOptions, DiskStore, SourceError};
use bytes::Bytes;

use super::network::{Node, Transport, blocks, cids, fetch, until};
use crate::bitswap::Config;

const MIB: usize = 1 << 20;

async fn pair(transport: Transport) -> (Node, Node) {
    let (server, client) = (Node::start(transport).await, Node::start(transport).await);
    client.connect_to(&server).await;
    (server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_all_sizes_travel_over_tcp_and_quic() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (server, client) = pair(transport).await;
        let mut all = blocks(300, 1, 1);
        for (count, len) in [(200, 1000), (50, 10_000), (20, 256 << 10), (10, MIB), (2, 2 * MIB)] {
            all.extend(blocks(count, len, len as u64));
        }
        server.add(&all).await;
        let session = client.bitswap.session(vec![server.peer]);
        fetch(&session, &all).await.unwrap();
        assert!(client.has_all(&all).await, "everything is in the store, intact");
        let bytes: usize = all.iter().map(|b| b.data.len()).sum();
        assert_eq!(session.received()[&server.peer], bytes as u64, "each block came once");
        let traffic = client.bitswap.traffic(&server.peer).unwrap();
        assert!(traffic.received > bytes as u64, "{traffic:?}");
    }
}

/// Kubo never serves it: a block of size 0 counts as absent there.
#[tokio::test(flavor = "multi_thread")]
async fn the_empty_block_needs_no_peer() {
    let alone = Node::start(Transport::Tcp).await;
    let empty = [Block::new(0x55, Bytes::new())];
    let session = alone.bitswap.session(vec![]);
    session.prefetch(&cids(&empty));
    assert_eq!(session.block(&empty[0].cid).await.unwrap(), "");
    assert!(alone.has_all(&empty).await, "it is in the store, as everything handed out is");
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_peers_that_have_it_are_found_without_a_hint() {
    let (server, client) = pair(Transport::Tcp).await;
    let bystander = Node::start(Transport::Tcp).await;
    client.connect_to(&bystander).await;
    let all = blocks(20, 100_000, 3);
    server.add(&all).await;
    let session = client.bitswap.session(vec![]);
    fetch(&session, &all).await.unwrap();
    assert_eq!(session.received().len(), 1);
    assert!(bystander.bitswap.traffic(&client.peer).unwrap().sent < 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_fetch_from_each_other_at_the_same_time() {
    let (a, b) = pair(Transport::Tcp).await;
    let (from_a, from_b) = (blocks(30, MIB, 1), blocks(30, MIB, 2));
    a.add(&from_a).await;
    b.add(&from_b).await;
    let (to_b, to_a) = (b.bitswap.session(vec![a.peer]), a.bitswap.session(vec![b.peer]));
    tokio::try_join!(fetch(&to_b, &from_a), fetch(&to_a, &from_b)).unwrap();
    assert!(a.has_all(&from_b).await && b.has_all(&from_a).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_from_disk_to_disk() {
    let dir = tempfile::tempdir().unwrap();
    let open =
        |name: &str| Arc::new(DiskStore::open(&dir.path().join(name), DiskOptions::default()).unwrap());
    let server = Node::with(open("server"), Config::default(), Transport::Tcp).await;
    let client = Node::with(open("client"), Config::default(), Transport::Tcp).await;
    let all = blocks(200, 1_000_000, 9);
    server.add(&all).await;
    server.store.sync().await.unwrap();
    client.connect_to(&server).await;
    let session = client.bitswap.session(vec![server.peer]);
    fetch(&session, &all).await.unwrap();
    client.store.sync().await.unwrap();
    assert!(client.has_all(&all).await);
    assert_eq!(session.received()[&server.peer], 200_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_providers_share_the_work_and_one_may_die() {
    let client = Node::start(Transport::Tcp).await;
    let all = blocks(300, 256 << 10, 5);
    let mut servers = Vec::new();
    for _ in 0..3 {
        let server = Node::start(Transport::Tcp).await;
        server.add(&all).await;
        client.connect_to(&server).await;
        servers.push(server);
    }
    let session = client.bitswap.session(servers.iter().map(|s| s.peer).collect());
    let watch = async {
        // Midway, as soon as it has delivered something.
        while !session.received().contains_key(&servers[1].peer) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        servers[1].kill();
    };
    let (fetched, ()) = tokio::join!(fetch(&session, &all), watch);
    fetched.unwrap();
    assert!(client.has_all(&all).await);
    assert_eq!(session.received().values().sum::<u64>(), (300 * (256 << 10)) as u64);
    assert!(session.received().len() >= 2, "{:?}", session.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_dialled_again_and_everything_wanted_again() {
    let (server, client) = pair(Transport::Tcp).await;
    let all = blocks(200, 256 << 10, 11);
    server.add(&all).await;
    let session = client.bitswap.session(vec![server.peer]);
    let cut = async {
        for megabytes in [5, 20] {
            while session.received().values().sum::<u64>() < megabytes << 20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            server.disconnect(client.peer).await;
        }
    };
    let (fetched, ()) = tokio::join!(fetch(&session, &all), cut);
    fetched.unwrap();
    assert!(client.has_all(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_half_gives_its_half() {
    let client = Node::start(Transport::Quic).await;
    let (half, whole) = (Node::start(Transport::Quic).await, Node::start(Transport::Quic).await);
    let all = blocks(200, 100_000, 6);
    half.add(&all[..100]).await;
    whole.add(&all).await;
    client.connect_to(&half).await;
    client.connect_to(&whole).await;
    let session = client.bitswap.session(vec![half.peer, whole.peer]);
    fetch(&session, &all).await.unwrap();
    assert!(client.has_all(&all).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_arrives_later_reaches_who_waits_for_it() {
    let (server, client) = pair(Transport::Tcp).await;
    let all = blocks(2, 5000, 8);
    let session = client.bitswap.session(vec![server.peer]);
    let later = async {
        // The server has denied it by the time it has sent something.
        until(|| server.bitswap.traffic(&client.peer).is_some_and(|t| t.sent > 0)).await;
        server.add(&all).await;
        server.bitswap.arrived(&cids(&all));
    };
    let (got, ()) = tokio::join!(session.block(&all[0].cid), later);
    assert_eq!(got.unwrap(), all[0].data);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_not_found_and_what_nobody_can_be_asked_for_unavailable() {
    let (_server, client) = pair(Transport::Tcp).await;
    let absent = &blocks(1, 100, 1)[0].cid;
    let session = client.bitswap.session(vec![]);
    let error = session.block(absent).await.unwrap_err();
    assert!(matches!(error, SourceError::NotFound(cid) if cid == *absent), "{error}");

    let alone = Node::start(Transport::Tcp).await;
    let error = alone.bitswap.session(vec![]).block(absent).await.unwrap_err();
    assert!(matches!(&error, SourceError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("no connected peer"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_says_which_peers_have_a_root() {
    let (with, client) = pair(Transport::Tcp).await;
    let without = Node::start(Transport::Tcp).await;
    client.connect_to(&without).await;
    let (small, large) = (blocks(1, 10, 1), blocks(1, 100_000, 2));
    with.add(&small).await;
    with.add(&large).await;
    for block in small.iter().chain(&large) {
        let patience = Duration::from_secs(20);
        assert_eq!(client.bitswap.have(&block.cid, None, patience).await, [with.peer]);
        let asked = Some(vec![without.peer]);
        assert!(client.bitswap.have(&block.cid, asked, patience).await.is_empty());
        assert!(!client.store.has(&block.cid).await.unwrap(), "asking does not fetch");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_want_the_same_fetch_it_once() {
    let (server, client) = pair(Transport::Tcp).await;
    let all = blocks(50, 100_000, 5);
    server.add(&all).await;
    let sessions: Vec<_> = (0..4).map(|_| client.bitswap.session(vec![server.peer])).collect();
    let fetches = sessions.iter().map(|session| fetch(session, &all));
    futures::future::try_join_all(fetches).await.unwrap();
    let received = client.bitswap.traffic(&server.peer).unwrap().received;
    assert!(received < 5_500_000, "{received} bytes for 5 MB wanted by four");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_get_an_error_when_the_node_ends() {
    let (_server, client) = pair(Transport::Tcp).await;
    let session = client.bitswap.session(vec![]);
    let cid = blocks(1, 100, 1)[0].cid;
    let end = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.kill();
    };
    let (got, ()) = tokio::join!(session.block(&cid), end);
    assert!(got.unwrap_err().to_string().contains("shutting down"));
}
