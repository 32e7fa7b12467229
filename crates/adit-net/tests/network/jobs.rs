//! Job streams: both directions under load, every way to end, and every limit.

use std::time::{Duration, Instant};

use adit_net::{JobStream, Limits, MAX_MESSAGE, OpenError, StreamError, TooMany};

use crate::nodes::{Node, PATIENCE, node, pair};

/// A stream from the first to the second node, seen from both.
async fn stream(a: &Node, b: &mut Node) -> (JobStream, JobStream) {
    let (ours, theirs) = tokio::join!(a.net.open(b.peer()), async {
        // The stream is delivered when negotiated, before any message.
        let stream = b.incoming().await;
        assert_eq!(stream.peer(), a.net.peer_id());
        stream
    });
    (ours.unwrap(), theirs)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("within a minute")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_all_sizes_pass_both_ways_at_once_on_every_transport() {
    for transport in ["tcp", "quic", "/ws"] {
        let (a, mut b) = pair(transport, Limits::default()).await;
        let mut tasks = Vec::new();
        for n in 0..4u8 {
            let (ours, theirs) = stream(&a, &mut b).await;
            for side in [ours, theirs] {
                tasks.push(tokio::spawn(async move {
                    let (mut tx, mut rx) = side.split();
                    let sizes = [0, 1, 100, 2048, 2049, 70_000, MAX_MESSAGE, 3];
                    let send = async {
                        for (i, size) in sizes.iter().cycle().take(16).enumerate() {
                            tx.send(&vec![n ^ i as u8; *size]).await.unwrap();
                        }
                        tx.finish().await.unwrap();
                        tx.finish().await.unwrap();
                        assert_eq!(tx.send(b"more").await, Err(StreamError::Finished));
                    };
                    let recv = async {
                        for (i, size) in sizes.iter().cycle().take(16).enumerate() {
                            let message = rx.recv().await.unwrap().unwrap();
                            assert!(message.len() == *size && message.iter().all(|x| *x == n ^ i as u8));
                        }
                        assert_eq!(rx.recv().await, Ok(None));
                        assert_eq!(rx.recv().await, Ok(None));
                    };
                    tokio::join!(send, recv);
                }));
            }
        }
        for task in tasks {
            soon(task).await.unwrap();
        }
        assert_eq!(a.net.open_job_streams(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_side_may_finish_and_still_receive() {
    for transport in ["tcp", "quic"] {
        let (a, mut b) = pair(transport, Limits::default()).await;
        let (mut ours, mut theirs) = stream(&a, &mut b).await;
        ours.send(b"question").await.unwrap();
        ours.finish().await.unwrap();
        assert_eq!(soon(theirs.recv()).await.unwrap().unwrap(), "question");
        assert_eq!(soon(theirs.recv()).await, Ok(None));
        for n in 0..100u32 {
            theirs.send(&n.to_be_bytes()).await.unwrap();
        }
        theirs.finish().await.unwrap();
        for n in 0..100u32 {
            assert_eq!(soon(ours.recv()).await.unwrap().unwrap(), n.to_be_bytes().as_slice());
        }
        assert_eq!(soon(ours.recv()).await, Ok(None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_is_an_error_and_never_a_clean_end() {
    for transport in ["tcp", "quic", "/ws"] {
        let (a, mut b) = pair(transport, Limits::default()).await;
        let (mut ours, mut theirs) = stream(&a, &mut b).await;
        ours.send(b"part of it").await.unwrap();
        assert_eq!(soon(theirs.recv()).await.unwrap().unwrap(), "part of it");
        drop(ours);
        assert!(soon(theirs.recv()).await.is_err(), "{transport}");
        assert!(soon(theirs.recv()).await.is_err(), "and it stays one");

        // Only the sending half goes: the same, while the other direction still works.
        let (ours, mut theirs) = stream(&a, &mut b).await;
        let (tx, mut rx) = ours.split();
        drop(tx);
        assert_eq!(soon(theirs.recv()).await, Err(StreamError::Reset), "{transport}");
        theirs.send(b"anyway").await.unwrap();
        assert_eq!(soon(rx.recv()).await.unwrap().unwrap(), "anyway");

        // Who sends to a stream that is gone is told, too.
        let (ours, mut theirs) = stream(&a, &mut b).await;
        drop(ours);
        let refused = async { while theirs.send(&[0; 100_000]).await.is_ok() {} };
        soon(refused).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_streams_are_refused_on_both_sides() {
    let limits = Limits { job_streams_per_peer: 3, ..Limits::default() };
    let (a, mut b) = pair("tcp", limits.clone()).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(stream(&a, &mut b).await);
    }
    assert!(matches!(a.net.open(b.peer()).await, Err(OpenError::TooMany(TooMany::ToThisPeer))));
    open.pop();
    open.push(stream(&a, &mut b).await);

    // The host's limit, where the requester has a larger one.
    let mut host = crate::nodes::node_with(|config| config.limits = limits).await;
    a.net.connect(host.address("tcp")).await.unwrap();
    let c = node().await;
    c.net.connect(host.address("tcp")).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(stream(&c, &mut host).await);
    }
    let mut refused = soon(c.net.open(host.peer())).await.unwrap();
    match soon(refused.recv()).await {
        Err(StreamError::Refused(reason)) => assert!(reason.starts_with("busy"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_of_incoming_streams_refuses_clearly() {
    let limits = Limits { incoming_jobs: 2, ..Limits::default() };
    let (a, mut b) = pair("quic", limits).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = a.net.open(b.peer()).await.unwrap();
        stream.send(b"take me").await.unwrap();
        waiting.push(stream);
    }
    // Streams are counted in at the other side when their negotiation ends there.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut refused = soon(a.net.open(b.peer())).await.unwrap();
        match tokio::time::timeout(Duration::from_millis(500), refused.recv()).await {
            Ok(Err(StreamError::Refused(reason))) => break assert!(reason.contains("wait"), "{reason}"),
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
    }
    let mut first = b.incoming().await;
    assert_eq!(soon(first.recv()).await.unwrap().unwrap(), "take me");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_messages_are_not_sent() {
    let (a, mut b) = pair("tcp", Limits::default()).await;
    let (mut ours, mut theirs) = stream(&a, &mut b).await;
    let big = vec![1; MAX_MESSAGE + 1];
    assert_eq!(ours.send(&big).await, Err(StreamError::TooLong(MAX_MESSAGE + 1)));
    ours.send(b"fine").await.unwrap();
    assert_eq!(soon(theirs.recv()).await.unwrap().unwrap(), "fine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_the_sender_and_no_memory() {
    let limits = Limits { job_stall: Duration::from_secs(600), ..Limits::default() };
    for transport in ["tcp", "quic"] {
        let (a, mut b) = pair(transport, limits.clone()).await;
        let (mut ours, mut theirs) = stream(&a, &mut b).await;
        let mut sent = 0usize;
        let message = vec![7; 256 * 1024];
        // 64 MB would come if nothing held it back.
        let quiet = Duration::from_secs(2);
        while let Ok(result) = tokio::time::timeout(quiet, ours.send(&message)).await {
            result.unwrap();
            sent += message.len();
            assert!(sent < 64 << 20, "{transport}: {sent} bytes are in memory somewhere");
        }
        let bound = if transport == "tcp" { 4 << 20 } else { 16 << 20 };
        assert!(sent <= bound, "{transport}: {sent}");
        // What was cancelled is not lost: it was queued whole.
        let drain = tokio::spawn(async move {
            let mut received = 0;
            while let Some(message) = theirs.recv().await.unwrap() {
                received += message.len();
            }
            received
        });
        ours.finish().await.unwrap();
        assert_eq!(soon(drain).await.unwrap(), sent + message.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_stalls_end_streams() {
    let limits = Limits {
        job_idle: Duration::from_secs(2),
        job_stall: Duration::from_millis(300),
        ..Limits::default()
    };
    let (a, mut b) = pair("tcp", limits).await;
    let (mut ours, mut theirs) = stream(&a, &mut b).await;
    // A caller that looks elsewhere in between does not start the clock anew.
    let mut waits = 0;
    let ended = soon(async {
        loop {
            match tokio::time::timeout(Duration::from_millis(40), ours.recv()).await {
                Ok(result) => break result,
                Err(_) => waits += 1,
            }
        }
    })
    .await;
    assert!(matches!(ended, Err(StreamError::Idle(_))) && waits >= 1, "{ended:?} after {waits}");
    let message = vec![0; 1 << 20];
    let stalled = soon(async {
        loop {
            if let Err(error) = theirs.send(&message).await {
                break error;
            }
        }
    })
    .await;
    assert!(matches!(stalled, StreamError::Stalled(_)), "{stalled:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_peer_fails_open_streams_at_once() {
    for transport in ["tcp", "quic"] {
        let (a, mut b) = pair(transport, Limits::default()).await;
        let (mut ours, theirs) = stream(&a, &mut b).await;
        let waiting = tokio::spawn(async move { ours.recv().await });
        let start = Instant::now();
        b.net.shutdown().await;
        assert!(soon(waiting).await.unwrap().is_err());
        assert!(start.elapsed() < Duration::from_secs(5), "{transport}: {:?}", start.elapsed());
        drop(theirs);
        let again = a.net.open(b.peer()).await;
        assert!(matches!(again, Err(OpenError::Connect(_) | OpenError::Lost(_))), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_connects_first_and_names_what_is_missing() {
    let (a, mut b) = (node().await, node().await);
    assert!(matches!(a.net.open(b.peer()).await, Err(OpenError::Connect(_))));
    a.net.keep_connected(b.peer(), b.address("tcp")).await.unwrap();
    let (mut ours, mut theirs) = stream(&a, &mut b).await;
    ours.send(b"hello").await.unwrap();
    assert_eq!(soon(theirs.recv()).await.unwrap().unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn soak_what_a_round_trip_costs() {
    for transport in ["tcp", "quic"] {
        let (a, mut b) = pair(transport, Limits::default()).await;
        let (mut ours, mut theirs) = stream(&a, &mut b).await;
        tokio::spawn(async move {
            while let Ok(Some(message)) = theirs.recv().await {
                theirs.send(&message).await.unwrap();
            }
        });
        let mut times = Vec::new();
        for _ in 0..2000 {
            let start = Instant::now();
            ours.send(&[7; 300]).await.unwrap();
            ours.recv().await.unwrap().unwrap();
            times.push(start.elapsed());
        }
        times.sort();
        println!("{transport}: round trip of 300 bytes p50 {:?}, p99 {:?}", times[1000], times[1980]);

        let mut opens = Vec::new();
        for _ in 0..200 {
            let start = Instant::now();
            let (one, other) = tokio::join!(a.net.open(b.net.peer_id()), b.incoming());
            opens.push(start.elapsed());
            drop((one, other));
        }
        opens.sort();
        println!("{transport}: opening a stream p50 {:?}", opens[100]);
    }
}
