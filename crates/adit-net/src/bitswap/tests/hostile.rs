//! Hostile peers: what they send costs them, and nobody else.

use std::{sync::Arc, time::Duration};

use adit_store::{Block, BlockSource, MemoryStore};
use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt};

use super::{
    network::{Node, Transport, blocks, fetch, until},
    raw::{RawPeer, read, soon, want, write},
};
use crate::bitswap::{
    Config,
    config::{MAX_MESSAGE_IN, MAX_MESSAGE_OUT, MAX_MESSAGE_UNASKED},
    wire::{Answer, Entry, WantKind},
};

fn answer(blocks: &[Block]) -> Vec<Bytes> {
    let blocks = blocks.iter().map(|b| (b.cid, b.data.clone())).collect();
    Answer { blocks, ..Answer::default() }.pieces()
}

/// A node that has the blocks, a client of it, and a hostile peer that the client knows.
async fn scene(all: &[Block], config: Config) -> (Node, Node, RawPeer) {
    let honest = Node::start(Transport::Tcp).await;
    honest.add(all).await;
    let client = Node::with(Arc::new(MemoryStore::new()), config, Transport::Tcp).await;
    let mut hostile = RawPeer::start().await;
    client.connect(hostile.peer, &hostile.address).await;
    assert!(hostile.connection().await);
    (honest, client, hostile)
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_blocks_are_dropped_and_their_sender_disconnected() {
    let all = blocks(20, 10_000, 1);
    let (honest, client, mut hostile) = scene(&all, Config::default()).await;
    let session = client.bitswap.session(vec![hostile.peer]);
    let lie = async {
        let mut wants = hostile.accept().await;
        let mut stream = hostile.open().await;
        let asked = read(&mut wants).await.wants;
        assert!(!asked.is_empty());
        for lie in blocks(3, 10_000, 666) {
            write(&mut stream, &answer(&[lie])).await;
        }
        assert!(!hostile.connection().await, "disconnected");
        client.connect_to(&honest).await;
    };
    let (got, ()) = tokio::join!(fetch(&session, &all), lie);
    got.unwrap();
    assert!(client.has_all(&all).await);
    assert!(!session.received().contains_key(&hostile.peer), "a lie is not a delivery");
    for lie in blocks(3, 10_000, 666) {
        assert!(!client.store.has(&lie.cid).await.unwrap(), "a lie is not stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unasked_blocks_are_not_stored_and_end_in_disconnection() {
    let (_honest, client, mut hostile) = scene(&[], Config::default()).await;
    let mut stream = hostile.open().await;
    let gift = blocks(3, 10_000, 2);
    for block in &gift {
        write(&mut stream, &answer(std::slice::from_ref(block))).await;
    }
    assert!(!hostile.connection().await, "disconnected");
    for block in &gift {
        assert!(!client.store.has(&block.cid).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_unasked_message_is_passed_over_without_being_kept() {
    let (_honest, client, mut hostile) = scene(&[], Config::default()).await;
    let mut stream = hostile.open().await;
    let gift = blocks(1, 2 * MAX_MESSAGE_UNASKED, 2);
    write(&mut stream, &answer(&gift)).await;
    // The stream survives it: Kubo would never ask again after a reset.
    let absent = blocks(1, 10, 5)[0].cid;
    want(&mut stream, &[Entry::want(absent, WantKind::Block)]).await;
    let mut answers = hostile.accept().await;
    assert_eq!(read(&mut answers).await.dont_haves, [absent]);
    assert!(!client.store.has(&gift[0].cid).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_message_is_refused_before_it_is_read() {
    let (_honest, _client, mut hostile) = scene(&[], Config::default()).await;
    let mut stream = hostile.open().await;
    let mut length = unsigned_varint::encode::usize_buffer();
    let length = unsigned_varint::encode::usize(MAX_MESSAGE_IN + 1, &mut length);
    soon(stream.write_all(length)).await.unwrap();
    soon(stream.flush()).await.unwrap();
    let mut rest = Vec::new();
    let end = soon(stream.read_to_end(&mut rest)).await;
    assert!(end.is_err() || rest.is_empty(), "the stream was reset or closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_stream_and_only_the_stream() {
    let all = blocks(1, 10_000, 3);
    let (_honest, client, mut hostile) = scene(&[], Config::default()).await;
    client.add(&all).await;
    let mut bad = hostile.open().await;
    soon(bad.write_all(&[5, 0xff, 0xff, 0xff, 0xff, 0xff])).await.unwrap();
    soon(bad.flush()).await.unwrap();
    let _ = soon(bad.read_to_end(&mut Vec::new())).await;
    let mut good = hostile.open().await;
    want(&mut good, &[Entry::want(all[0].cid, WantKind::Block)]).await;
    let mut answers = hostile.accept().await;
    assert_eq!(read(&mut answers).await.blocks[0].1, all[0].data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_drips_is_cut_off_and_its_wants_go_elsewhere() {
    let all = blocks(10, 100_000, 4);
    let config = Config {
        drip_grace: Duration::from_secs(1),
        stall_after: Duration::from_millis(500),
        ..Config::default()
    };
    let (honest, client, mut hostile) = scene(&all, config).await;
    client.connect_to(&honest).await;
    let session = client.bitswap.session(vec![hostile.peer]);
    let drip = async {
        let mut wants = hostile.accept().await;
        read(&mut wants).await;
        let mut stream = hostile.open().await;
        let message = answer(&all).concat();
        let mut sent = 0;
        for byte in message.chunks(1) {
            let written = async {
                stream.write_all(byte).await?;
                stream.flush().await
            };
            if soon(written).await.is_err() {
                break;
            }
            sent += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sent
    };
    let (got, dripped) = tokio::join!(fetch(&session, &all), drip);
    got.unwrap();
    assert!(client.has_all(&all).await);
    assert!(dripped < 1000, "{dripped} bytes were waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wants_is_answered_in_bounded_memory_and_others_are_served() {
    let all = blocks(64, 1 << 20, 5);
    // However fast it may ask.
    let config = Config { wants_per_second: 1 << 20, ..Config::default() };
    let (server, client, mut hostile) = scene(&all, config).await;
    client.add(&all).await;
    let _ = server;
    // It wants everything many times over and reads nothing.
    let entries: Vec<Entry> = all.iter().map(|b| Entry::want(b.cid, WantKind::Block)).collect();
    let absent: Vec<Entry> = blocks(4000, 8, 6).iter().map(|b| Entry::want(b.cid, WantKind::Block)).collect();
    let mut stream = hostile.open().await;
    for _ in 0..20 {
        want(&mut stream, &entries).await;
        want(&mut stream, &absent).await;
    }
    let sent = client.bitswap.traffic(&hostile.peer).unwrap().sent;
    let most = 2 * MAX_MESSAGE_OUT as u64 + (2 << 20);
    assert!(sent <= most, "{sent} bytes went into the windows of a peer that reads nothing");
    // Meanwhile an honest peer gets its blocks.
    let friend = Node::start(Transport::Tcp).await;
    friend.connect_to(&client).await;
    let session = friend.bitswap.session(vec![client.peer]);
    soon(fetch(&session, &all)).await.unwrap();
    // And when it reads, it gets each block.
    let mut answers = hostile.accept().await;
    let mut got = 0;
    while got < all.len() {
        got += read(&mut answers).await.blocks.len();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_is_cut_off() {
    let all = blocks(16, 1 << 20, 7);
    let config = Config { write_timeout: Duration::from_millis(500), ..Config::default() };
    let (_honest, client, mut hostile) = scene(&[], config).await;
    client.add(&all).await;
    let mut stream = hostile.open().await;
    let entries: Vec<Entry> = all.iter().map(|b| Entry::want(b.cid, WantKind::Block)).collect();
    want(&mut stream, &entries).await;
    let _unread = hostile.accept().await;
    assert!(!hostile.connection().await, "disconnected");
}

/// Taking a byte now and then must not hold the budget that others are served from.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sips_its_answers_is_cut_off() {
    let all = blocks(16, 1 << 20, 7);
    // The windows alone take a quarter of a megabyte.
    let config =
        Config { write_timeout: Duration::from_secs(1), min_message_rate: 1 << 20, ..Config::default() };
    let (_honest, client, mut hostile) = scene(&[], config).await;
    client.add(&all).await;
    let mut stream = hostile.open().await;
    let entries: Vec<Entry> = all.iter().map(|b| Entry::want(b.cid, WantKind::Block)).collect();
    want(&mut stream, &entries).await;
    let mut sipped = hostile.accept().await;
    let sips = async {
        let mut sip = [0; 256];
        while sipped.read(&mut sip).await.is_ok_and(|n| n > 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The stream ended; others may have been opened for what was left.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        up = hostile.connection() => assert!(!up, "disconnected"),
        () = sips => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_streams_is_refused_beyond_the_limit_and_the_rest_works() {
    let all = blocks(1, 10_000, 8);
    let config = Config { max_inbound_streams: 16, ..Config::default() };
    let (_honest, client, mut hostile) = scene(&[], config).await;
    client.add(&all).await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        let mut stream = hostile.open().await;
        // A stream is known to the other side once something is written.
        let _ = stream.write_all(&[]).await;
        let _ = stream.flush().await;
        streams.push(stream);
    }
    let first = &mut streams[0];
    want(first, &[Entry::want(all[0].cid, WantKind::Block)]).await;
    let mut answers = hostile.accept().await;
    assert_eq!(read(&mut answers).await.blocks[0].1, all[0].data, "an early stream is served");
    drop(streams);
    // With those gone, new streams are taken again.
    until_served(&mut hostile, &all[0], &mut answers).await;
}

/// Asks on new streams until one is accepted.
async fn until_served(hostile: &mut RawPeer, block: &Block, answers: &mut libp2p::Stream) {
    for _ in 0..100 {
        let mut stream = hostile.open().await;
        want(&mut stream, &[Entry::want(block.cid, WantKind::Block)]).await;
        let answer = tokio::time::timeout(Duration::from_millis(300), read(answers)).await;
        if answer.is_ok() {
            return;
        }
    }
    panic!("new streams are never taken again");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_at_once_are_all_read() {
    let all = blocks(100, 1000, 9);
    let (_honest, client, mut hostile) = scene(&[], Config::default()).await;
    client.add(&all).await;
    // As Kubo does: a stream for every message.
    let mut streams = Vec::new();
    for block in &all {
        let mut stream = hostile.open().await;
        want(&mut stream, &[Entry::want(block.cid, WantKind::Block)]).await;
        streams.push(stream);
    }
    let mut answers = hostile.accept().await;
    let mut got = 0;
    while got < all.len() {
        got += read(&mut answers).await.blocks.len();
    }
    until(|| client.bitswap.traffic(&hostile.peer).is_some_and(|t| t.sent > 100_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_reader_withdraws_its_wants() {
    let (_honest, client, mut watcher) = scene(&[], Config::default()).await;
    let session = client.bitswap.session(vec![watcher.peer]);
    let cid = blocks(1, 100, 4)[0].cid;
    let watch = async {
        let mut stream = watcher.accept().await;
        let asked = read(&mut stream).await.wants;
        assert_eq!((asked[0].cid, asked[0].cancel), (cid, false));
        stream
    };
    let mut stream = tokio::select! {
        got = session.block(&cid) => panic!("nobody has it: {got:?}"),
        stream = watch => stream,
    };
    let asked = read(&mut stream).await.wants;
    assert_eq!((asked[0].cid, asked[0].cancel), (cid, true));
}
