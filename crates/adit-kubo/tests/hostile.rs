//! Answers that no Kubo would give, from a stand-in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use adit_kubo::{Kubo, Options};
use adit_store::{Backend, BackendFailure, Keeper, PinKind};
use adit_unixfs::{Block, block::RAW};
use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Answers every connection with these bytes, after the request's head, and counts them. Keeps it open if `hold`.
async fn stand_in(answer: Vec<u8>, hold: bool) -> (Kubo, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(&answer).await;
                if hold {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    let authorization = Some("Bearer hush".to_owned());
    (Kubo::new(Options { url, authorization, patience: Duration::from_secs(1) }).unwrap(), asked)
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn block() -> Block {
    Block::new(RAW, b"what is asked for".to_vec())
}

#[tokio::test]
async fn bytes_are_verified_and_bounded() {
    let (kubo, _) = stand_in(ok(&block().data), false).await;
    assert_eq!(kubo.get(&block().cid).await.unwrap(), Some(block().data));

    let (kubo, _) = stand_in(ok(b"something else"), false).await;
    assert_eq!(kubo.get(&block().cid).await.unwrap_err().failure, BackendFailure::Wrong);

    let endless = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), vec![7; 3 << 20]].concat();
    let (kubo, _) = stand_in(endless, true).await;
    let error = kubo.get(&block().cid).await.unwrap_err();
    assert!(error.failure == BackendFailure::Wrong && error.reason.contains("longer"), "{error}");

    // One line without an end.
    let line = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), vec![b' '; 1 << 20]].concat();
    let (kubo, _) = stand_in(line, true).await;
    assert_eq!(kubo.pins().await.unwrap_err().failure, BackendFailure::Wrong);
}

#[tokio::test]
async fn nonsense_redirects_and_refusals_are_named() {
    let (kubo, _) = stand_in(ok(b"{\"Cid\": 7"), false).await;
    for error in [kubo.pins().await.unwrap_err(), kubo.size(&block().cid).await.unwrap_err()] {
        assert!(error.failure == BackendFailure::Wrong && !error.to_string().contains("hush"), "{error}");
    }
    let elsewhere = b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let (kubo, _) = stand_in(elsewhere.to_vec(), false).await;
    let error = kubo.version().await.unwrap_err();
    assert!(error.reason.contains("redirect"), "{error}");
    let denied = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let (kubo, _) = stand_in(denied.to_vec(), false).await;
    let error = kubo.version().await.unwrap_err();
    assert!(error.reason.contains("authorization-file") && !error.reason.contains("hush"), "{error}");
}

#[tokio::test]
async fn absence_is_asked_for_once_in_a_while() {
    let body = br#"{"Message":"block was not found locally (offline): ipld: could not find it","Code":0}"#;
    let head = format!(
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let (kubo, asked) = stand_in([head.as_bytes(), body].concat(), false).await;
    for _ in 0..50 {
        assert!(!kubo.has(&block().cid).await.unwrap());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn whoever_is_silent_or_gone_is_waited_for_and_no_longer() {
    let (silent, _) = stand_in(Vec::new(), true).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gone = Kubo::new(Options { url, authorization: None, patience: Duration::from_secs(1) }).unwrap();
    for kubo in [silent, gone] {
        let begun = Instant::now();
        assert_eq!(kubo.get(&block().cid).await.unwrap_err().failure, BackendFailure::Unreachable);
        let blocks = stream::iter([Ok(block())]).boxed();
        let taken = kubo.take(&block().cid, PinKind::Recursive, blocks).await;
        assert_eq!(taken.unwrap_err().failure, BackendFailure::Unreachable);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn an_import_is_believed_only_with_its_count() {
    let (kubo, _) = stand_in(ok(b"{\"Stats\":{\"BlockCount\":0}}\n"), false).await;
    let blocks = stream::iter([Ok(block())]).boxed();
    let error = kubo.take(&block().cid, PinKind::Recursive, blocks).await.unwrap_err();
    assert!(error.failure == BackendFailure::Wrong && error.reason.contains("1 blocks"), "{error}");
}

/// Answers like a Kubo of which this is the whole memory, until it is dropped.
async fn living(port: u16, body: &'static [u8]) -> (tokio::task::JoinHandle<()>, u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(&ok(body)).await;
        }
    });
    (task, port)
}

#[tokio::test]
async fn one_that_is_away_is_waited_for_once_and_used_as_soon_as_it_is_back() {
    let (life, port) = living(0, br#"{"Version":"0.43.0"}"#).await;
    let url = format!("http://127.0.0.1:{port}");
    let patience = Duration::from_secs(2);
    let kubo = Kubo::new(Options { url, authorization: None, patience }).unwrap();
    assert_eq!(kubo.version().await.unwrap(), "0.43.0");
    life.abort();
    let _ = life.await;
    // The first one waits: it might be a restart.
    let begun = Instant::now();
    assert_eq!(kubo.get(&block().cid).await.unwrap_err().failure, BackendFailure::Unreachable);
    assert!(begun.elapsed() >= patience * 3 / 4, "{:?}", begun.elapsed());
    // It is asked whether it is there, and says nothing: all others are told at once.
    let begun = Instant::now();
    while kubo.away().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let begun = Instant::now();
    for _ in 0..200 {
        let error = kubo.has(&block().cid).await.unwrap_err();
        assert!(
            error.failure == BackendFailure::Unreachable && error.reason.contains("has not answered for")
        );
        assert!(kubo.pins().await.is_err() && kubo.version().await.is_err());
    }
    assert!(begun.elapsed() < patience / 2, "{:?}", begun.elapsed());
    // Nobody asks, and still it is seen that it is back.
    let (_life, _) = living(port, br#"{"Version":"0.44.0"}"#).await;
    let begun = Instant::now();
    while kubo.away().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(kubo.version().await.unwrap(), "0.44.0");
}

#[tokio::test]
async fn a_signature_is_read_or_refused() {
    let (kubo, _) = stand_in(ok(br#"{"Key":{"Name":"self","Id":"k51"},"Signature":"uAP8"}"#), false).await;
    assert_eq!(kubo.sign(b"words".to_vec()).await.unwrap(), [0, 255]);
    for wrong in [&br#"{"Signature":"zAP8"}"#[..], br#"{"Signature":"u*"}"#, br#"{"Signature":""}"#, b"{}"] {
        let (kubo, _) = stand_in(ok(wrong), false).await;
        assert_eq!(kubo.sign(b"words".to_vec()).await.unwrap_err().failure, BackendFailure::Wrong);
    }
    let unknown = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (kubo, _) = stand_in(unknown, false).await;
    let error = kubo.sign(b"words".to_vec()).await.unwrap_err();
    assert!(error.failure == BackendFailure::Refused && error.reason.contains("an old one"), "{error}");
    let (kubo, _) = stand_in(ok(br#"{"ID":"12D3KooW","PublicKey":"CAES"}"#), false).await;
    assert_eq!(kubo.identity().await.unwrap(), ("12D3KooW".to_owned(), vec![8, 1, 18]));
}
