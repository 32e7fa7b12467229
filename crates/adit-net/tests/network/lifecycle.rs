//! Starting, connecting, measuring, and leaving nothing behind.

use std::{sync::Arc, time::Duration};

use adit_model::NodeSecret;
use adit_net::{ConnectError, Limits, Net, NetConfig, StartError, Transport};
use adit_store::{Block, BlockSource, BlockStore, MemoryStore};

use crate::nodes::{PATIENCE, config, node, node_with, pair, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_connects_and_is_measured() {
    for (transport, kind) in
        [("tcp", Transport::Tcp), ("quic", Transport::Quic), ("/ws", Transport::WebSocket)]
    {
        let (a, b) = pair(transport, Limits::default()).await;
        let to = b.peer();
        until("identified and pinged", || {
            a.net.peer(&to).is_some_and(|p| p.adit && p.rtt.is_some() && p.agent.starts_with("adit/"))
        })
        .await;
        let info = a.net.peer(&to).unwrap();
        assert_eq!(info.transports, [kind]);
        assert!(info.connected && info.bytes_in > 0 && info.bytes_out > 0, "{info:?}");
        assert!(a.net.rtt(&to).unwrap() < Duration::from_secs(5));
        a.net.disconnect(to).await.unwrap();
        until("disconnected", || !a.net.is_connected(&to) && !b.net.is_connected(&a.peer())).await;
        assert!(a.net.peers().iter().any(|p| p.peer == to), "remembered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_says_why_it_fails() {
    let (a, b) = (node().await, node().await);
    let gone = {
        let gone = node().await;
        let address = gone.address("tcp");
        gone.net.shutdown().await;
        address
    };
    assert!(matches!(a.net.connect(gone).await, Err(ConnectError::Dial(_))));
    let me = a.net.connect(a.address("tcp")).await;
    assert!(matches!(me, Err(ConnectError::Myself)), "{me:?}");
    let stranger = NodeSecret::generate().unwrap();
    let stranger = adit_net::peer_of(&stranger.node());
    let mut wrong = b.address("tcp");
    wrong.pop();
    let wrong = wrong.with_p2p(stranger).unwrap();
    let found = a.net.connect(wrong).await;
    assert!(matches!(found, Err(ConnectError::WrongPeer { actual, .. }) if actual == b.peer()), "{found:?}");
    assert!(matches!(a.net.connect_peer(stranger).await, Err(ConnectError::NoAddress(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_peers_are_redialled() {
    let secret = NodeSecret::generate().unwrap();
    let start = |listen: Option<adit_net::Multiaddr>| {
        let mut config = config(&secret);
        if let Some(address) = listen {
            config.listen = vec![address];
        }
        Net::start(config, Arc::new(MemoryStore::new()))
    };
    let (first, _events) = start(None).await.unwrap();
    let is_tcp = |a: &adit_net::Multiaddr| a.to_string().contains("/tcp/");
    let address = first.listen_addrs().into_iter().find(is_tcp).unwrap();
    let a = node_with(|config| config.peers.push(address.clone())).await;
    until("connected", || a.net.is_connected(&first.peer_id())).await;
    first.shutdown().await;
    until("lost", || !a.net.is_connected(&first.peer_id())).await;
    let mut listen = address.clone();
    listen.pop();
    // The port may still be in use for a moment.
    let again = loop {
        match start(Some(listen.clone())).await {
            Ok((net, _)) => break net,
            Err(error) => eprintln!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    until("redialled", || a.net.is_connected(&again.peer_id())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_a_named_error() {
    let a = node().await;
    let mut taken = a.address("tcp");
    taken.pop();
    let mut config = config(&NodeSecret::generate().unwrap());
    config.listen = vec![taken.clone()];
    match Net::start(config, Arc::new(MemoryStore::new())).await {
        Err(StartError::Listen { address, .. }) => assert_eq!(address, taken),
        other => panic!("{other:?}"),
    }
}

#[test]
fn shutdown_leaves_no_task() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive(), 0);
        let (mut a, b) = pair("tcp", Limits::default()).await;
        let c = node_with(|config| config.bootstrap.push(b.address("quic"))).await;
        until("connected", || c.net.is_connected(&b.peer())).await;
        // An open stream must not hold the shutdown up, and fails.
        let mut stream = a.net.open(b.peer()).await.unwrap();
        assert!(alive() > 0);
        let clone = a.net.clone();
        let all =
            async { tokio::join!(a.net.shutdown(), b.net.shutdown(), c.net.shutdown(), clone.shutdown()) };
        tokio::time::timeout(Duration::from_secs(10), all).await.expect("shutdown ends");
        assert!(stream.recv().await.is_err());
        assert!(a.events.next().await.is_none());
        until("no task is left", || alive() == 0).await;
        assert!(a.net.find_providers(&cid::Cid::default(), 1).await.is_err());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_every_handle_ends_the_network() {
    let (a, b) = pair("tcp", Limits::default()).await;
    let peer = a.peer();
    drop(a);
    tokio::time::timeout(PATIENCE, until("gone", || !b.net.is_connected(&peer))).await.unwrap();
}

/// Who comes last is let in, and who is of no use goes; who is being served stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_limit_the_idlest_connection_makes_room() {
    let b = node_with(|config: &mut NetConfig| config.limits.incoming_connections = 3).await;
    let served = node().await;
    served.net.connect(b.address("tcp")).await.unwrap();
    let session = served.net.session(vec![b.peer()]);
    let mut idle = Vec::new();
    for round in 0..6 {
        let block = Block::new(0x55, vec![round; 100_000]);
        b.store.put(vec![block.clone()]).await.unwrap();
        session.block(&block.cid).await.unwrap();
        let a = node().await;
        a.net.connect(b.address("tcp")).await.unwrap();
        idle.push(a);
    }
    let made_room = || {
        let counts = b.net.metrics().snapshot();
        counts.into_iter().find(|(name, _)| *name == "connections_made_room").unwrap().1
    };
    // Those that had to go may come back by themselves, so it may be more than these.
    until("room was made", || made_room() >= 4).await;
    assert!(b.net.is_connected(&served.peer()), "it was served and stays");
}

/// Prints what an idle node with two idle neighbours in the same process costs. Run it alone:
/// `cargo test --release -p adit-net --test network -- --ignored --nocapture idle`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of 30 s, and of the whole process"]
async fn soak_what_idle_nodes_cost() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let pss = || {
        let text = read("/proc/self/smaps_rollup");
        let line = text.lines().find(|l| l.starts_with("Pss:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = pss();
    let (a, b) = pair("tcp", Limits::default()).await;
    let c = node_with(|config| config.bootstrap.push(b.address("quic"))).await;
    until("all connected", || c.net.is_connected(&a.peer())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Of /proc/self/stat, after the name in parentheses: fields 12 and 13, in hundredths of a second.
    let cpu = || {
        let stat = read("/proc/self/stat");
        let fields: Vec<i64> =
            stat.rsplit(')').next().unwrap().split_whitespace().filter_map(|f| f.parse().ok()).collect();
        fields[10] + fields[11]
    };
    let start = cpu();
    tokio::time::sleep(Duration::from_secs(30)).await;
    println!(
        "three nodes: {:.2} % CPU, {} KiB PSS above {before} KiB",
        (cpu() - start) as f64 / 30.0,
        pss() - before
    );
}
