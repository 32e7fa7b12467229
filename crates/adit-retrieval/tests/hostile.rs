//! Gateways that lie, drip, flood and mislead, against the real client over loopback.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use adit_retrieval::{Ask, Client, Endpoint, FetchError, Gateway, Held, Holdings, Limits, Router, Trust};
use adit_unixfs::Block;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the stand-in does with a request.
enum Act {
    /// Sends this, and waits for the next request.
    Send(Vec<u8>),
    /// Sends the first, then the second again and again for as long as somebody reads.
    Flood(Vec<u8>, Vec<u8>),
    /// Sends the first, then a byte every 20 ms.
    Drip(Vec<u8>),
    /// Sends this and goes away.
    Leave(Vec<u8>),
    /// Says nothing.
    Hang,
}

type Script = dyn Fn(&str) -> Act + Send + Sync;

struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let answer: Arc<Script> = Arc::new(answer);
        let (seen, count) = (Arc::clone(&requests), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&seen)));
            }
        });
        Self { address, requests, connections, task }
    }

    fn gateway(&self) -> Gateway {
        self.with(limits())
    }

    fn with(&self, limits: Limits) -> Gateway {
        Gateway::new(&Client::new(limits), self.endpoint(), Trust::Operator)
    }

    fn endpoint(&self) -> Endpoint {
        format!("http://{}", self.address).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<Script>, seen: Arc<Mutex<Vec<String>>>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        seen.lock().push(head.clone());
        let sent = match answer(&head) {
            Act::Send(bytes) => stream.write_all(&bytes).await,
            Act::Leave(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Act::Flood(first, again) => {
                let mut sent = stream.write_all(&first).await;
                while sent.is_ok() {
                    sent = stream.write_all(&again).await;
                }
                sent
            }
            Act::Drip(first) => {
                let mut sent = stream.write_all(&first).await;
                while sent.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    sent = stream.write_all(b"x").await;
                }
                sent
            }
            Act::Hang => std::future::pending().await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Short enough for tests.
fn limits() -> Limits {
    Limits {
        connect: Duration::from_millis(500),
        head: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        grace: Duration::from_millis(300),
        least_rate: 16 << 10,
        ..Limits::default()
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn status(code: u16, header: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} X\r\n{header}Content-Length: 4\r\n\r\nnope").into_bytes()
}

fn block() -> Block {
    Block::new(0x55, vec![7; 100_000])
}

/// Asks within a time that no honest answer needs.
async fn ask(gateway: &Gateway) -> Result<bytes::Bytes, FetchError> {
    let fetch = gateway.block(&block().cid, Ask::Fetch).await;
    assert!(fetch.as_ref().is_err() || fetch.as_ref().unwrap() == &block().data, "never other bytes");
    fetch
}

#[tokio::test]
async fn blocks_come_over_kept_connections() {
    let server = Server::start(|head| match head.contains(&block().cid.to_string()) {
        true => Act::Send(ok(&block().data)),
        false => Act::Send(status(404, "")),
    })
    .await;
    let gateway = server.gateway();
    for _ in 0..5 {
        assert_eq!(ask(&gateway).await.unwrap(), block().data);
        let other = Block::new(0x55, vec![8; 10]);
        assert!(gateway.block(&other.cid, Ask::Fetch).await.unwrap_err().is_absent());
    }
    assert_eq!(server.connections.load(SeqCst), 1, "refusals too leave the connection usable");
    let tally = gateway.tally();
    assert_eq!((tally.blocks, tally.bytes, tally.absent, tally.failed, tally.lies), (5, 500_000, 5, 0, 0));
    let first = server.requests.lock()[0].to_ascii_lowercase();
    assert!(first.starts_with(&format!("get /ipfs/{}?format=raw http/1.1", block().cid)), "{first}");
    assert!(
        first.contains("accept: application/vnd.ipld.raw") && !first.contains("cache-control"),
        "{first}"
    );
}

#[tokio::test]
async fn only_what_it_holds_is_asked_for_with_the_header_that_says_so() {
    let server = Server::start(|head| match head.starts_with("HEAD") {
        true => Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".to_vec()),
        false => Act::Send(status(412, "")),
    })
    .await;
    let gateway = server.gateway();
    assert_eq!(gateway.holds(&block().cid).await.unwrap(), Held::Yes { len: Some(100_000) });
    assert!(gateway.block(&block().cid, Ask::IfHeld).await.unwrap_err().is_absent());
    let requests = server.requests.lock();
    assert!(
        requests.iter().all(|r| r.to_ascii_lowercase().contains("cache-control: only-if-cached")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_liar_is_found_out_and_left_alone() {
    let server = Server::start(|_| Act::Send(ok(&[6; 100_000]))).await;
    let gateway = server.gateway();
    assert!(matches!(ask(&gateway).await, Err(FetchError::Wrong)));
    assert!(!gateway.is_ready() && gateway.tally().lies == 1);
    assert!(matches!(ask(&gateway).await, Err(FetchError::Paused(_))));
    assert_eq!(server.requests.lock().len(), 1, "it was not asked again");
}

#[tokio::test]
async fn endless_and_overlong_bodies_end_at_the_longest_block() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let piece = [b"10000\r\n".to_vec(), vec![1; 0x10000], b"\r\n".to_vec()].concat();
    let server = Server::start(move |_| Act::Flood(chunked.clone(), piece.clone())).await;
    let gateway = server.gateway();
    assert!(matches!(ask(&gateway).await, Err(FetchError::TooLong { .. })));
    assert!(gateway.arrived() <= 3 << 20, "{}", gateway.arrived());

    let server =
        Server::start(|_| Act::Leave(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec()))
            .await;
    let gateway = server.gateway();
    assert!(matches!(ask(&gateway).await, Err(FetchError::TooLong { .. })));
    assert_eq!(gateway.arrived(), 0, "refused by its head");
}

#[tokio::test]
async fn drips_and_silence_end_in_time() {
    let begun = Instant::now();
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".to_vec();
    let drip = Server::start(move |_| Act::Drip(head.clone())).await;
    assert!(matches!(ask(&drip.gateway()).await, Err(FetchError::Slow)));
    let drip = Server::start(|_| Act::Drip(b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec())).await;
    assert!(matches!(ask(&drip.gateway()).await, Err(FetchError::Silent(_))));
    let hang = Server::start(|_| Act::Hang).await;
    assert!(matches!(ask(&hang.gateway()).await, Err(FetchError::Silent(_))));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn huge_heads_and_nonsense_are_refused() {
    let line = b"X-A: 0123456789\r\n".to_vec();
    let answers: [fn(Vec<u8>) -> Act; 3] = [
        |line| Act::Flood(b"HTTP/1.1 200 OK\r\n".to_vec(), line),
        |_| Act::Flood(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 1000]),
        |_| Act::Leave(b"220 smtp.example ESMTP\r\n".to_vec()),
    ];
    for answer in answers {
        let line = line.clone();
        let server = Server::start(move |_| answer(line.clone())).await;
        assert!(matches!(ask(&server.gateway()).await, Err(FetchError::Unreachable(_))));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_block() {
    let server = Server::start(|_| Act::Leave(ok(&block().data)[..50_000].to_vec())).await;
    assert!(matches!(ask(&server.gateway()).await, Err(FetchError::Unreachable(_))));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::start(|_| Act::Send(status(301, "Location: /ipfs/elsewhere\r\n"))).await;
    assert!(matches!(ask(&server.gateway()).await, Err(FetchError::Redirect(301))));
    assert_eq!(server.requests.lock().len(), 1);
}

#[tokio::test]
async fn failures_in_a_row_and_business_pause_a_gateway() {
    let server = Server::start(|_| Act::Send(status(500, ""))).await;
    let gateway = server.with(Limits { pause: Duration::from_millis(200), ..limits() });
    for _ in 0..3 {
        assert!(gateway.is_ready());
        assert!(matches!(ask(&gateway).await, Err(FetchError::Status(500))));
    }
    assert!(!gateway.is_ready(), "three were enough");
    assert!(matches!(ask(&gateway).await, Err(FetchError::Paused(_))));
    let back = async {
        while !gateway.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), back).await.expect("it gets another chance");

    let server = Server::start(|_| Act::Send(status(429, "Retry-After: 30\r\n"))).await;
    let gateway = server.gateway();
    assert!(matches!(ask(&gateway).await, Err(FetchError::Busy { after: Some(_), .. })));
    assert!(!gateway.is_ready());
}

/// Whoever a stranger names must be on the public internet, whatever its name says.
#[tokio::test]
async fn strangers_cannot_send_this_node_to_private_addresses() {
    let server = Server::start(|_| Act::Send(ok(&block().data))).await;
    let client = Client::new(limits());
    let port = server.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let endpoint: Endpoint = format!("http://{host}:{port}").parse().unwrap();
        // The operator's own connection is open, and still of no use to strangers.
        let _ = ask(&Gateway::new(&client, endpoint.clone(), Trust::Operator)).await;
        let gateway = Gateway::new(&client, endpoint, Trust::Stranger);
        let error = ask(&gateway).await.unwrap_err();
        assert!(matches!(error, FetchError::NotPublic), "{host}: {error}");
        assert!(!gateway.is_ready(), "it is not tried again at once");
    }
}

#[tokio::test]
async fn routers_are_asked_and_bounded() {
    let body = br#"{"Providers":[{"Schema":"peer","ID":"x","Addrs":["https://a.example"],"Protocols":["transport-ipfs-gateway-http"]}]}"#;
    let server = Server::start(|_| Act::Send(ok(body))).await;
    let router = Router::new(&Client::new(limits()), server.endpoint());
    let found = router.gateways(&block().cid).await.unwrap();
    assert_eq!(found[0].to_string(), "https://a.example");
    assert!(server.requests.lock()[0].starts_with(&format!("GET /routing/v1/providers/{}?", block().cid)));

    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let piece = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    let server = Server::start(move |_| Act::Flood(chunked.clone(), piece.clone())).await;
    let router = Router::new(&Client::new(limits()), server.endpoint());
    assert!(matches!(router.gateways(&block().cid).await, Err(FetchError::TooLong { .. })));
}

#[tokio::test]
async fn holdings_remember_what_is_there_and_what_is_not() {
    let server =
        Server::start(|head| match (head.contains(&block().cid.to_string()), head.starts_with("HEAD")) {
            (true, true) => Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".to_vec()),
            (true, false) => Act::Send(ok(&block().data)),
            (false, _) => Act::Send(b"HTTP/1.1 412 X\r\nContent-Length: 0\r\n\r\n".to_vec()),
        })
        .await;
    let holdings = Holdings::with(&Client::new(limits()), server.endpoint());
    let absent = Block::new(0x55, vec![1]).cid;
    for _ in 0..10 {
        assert_eq!(holdings.size(&block().cid).await.unwrap(), Some(100_000));
        assert_eq!(holdings.size(&absent).await.unwrap(), None);
        assert_eq!(holdings.get(&absent).await.unwrap(), None);
    }
    assert_eq!(server.requests.lock().len(), 2, "one question about each");
    assert_eq!(holdings.get(&block().cid).await.unwrap().unwrap(), block().data);
    // Of what cannot be verified, nothing is asked at all.
    let blake3 = "bafkr4iae4c5tt4yldi76xcpvg3etxykqkvec352im5fqbutolj2xo5yc5e".parse().unwrap();
    assert_eq!(holdings.size(&blake3).await.unwrap(), None);
    assert_eq!(server.requests.lock().len(), 3);
}

/// Some servers answer HEAD without a length.
#[tokio::test]
async fn a_length_that_is_not_said_is_found_out() {
    let server = Server::start(|head| match head.starts_with("HEAD") {
        true => Act::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        false => Act::Send(ok(&block().data)),
    })
    .await;
    let holdings = Holdings::with(&Client::new(limits()), server.endpoint());
    assert!(holdings.has(&block().cid).await.unwrap() && holdings.has(&block().cid).await.unwrap());
    assert_eq!(server.requests.lock().len(), 1, "whether it is there costs no reading");
    assert_eq!(holdings.size(&block().cid).await.unwrap(), Some(100_000));
}

/// A peer that wants ten thousand blocks at once is not passed on as ten thousand connections.
#[tokio::test(flavor = "multi_thread")]
async fn many_questions_share_few_connections() {
    let server = Server::start(|_| Act::Send(b"HTTP/1.1 412 X\r\nContent-Length: 0\r\n\r\n".to_vec())).await;
    let holdings = Holdings::with(&Client::new(Limits::default()), server.endpoint());
    let asked: Vec<_> = (0..2000u32)
        .map(|n| {
            let holdings = holdings.clone();
            tokio::spawn(async move { holdings.size(&Block::new(0x55, n.to_le_bytes().to_vec()).cid).await })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap(), None);
    }
    assert!(server.connections.load(SeqCst) <= 2 * Limits::default().parallel, "{:?}", server.connections);
}

#[tokio::test]
async fn a_gateway_that_is_down_is_no_answer() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let holdings = Holdings::with(&Client::new(limits()), format!("http://{gone}").parse().unwrap());
    assert!(holdings.size(&block().cid).await.is_err(), "unlike a block that is not there");
    assert!(holdings.get(&block().cid).await.is_err());
}
