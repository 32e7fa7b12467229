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
