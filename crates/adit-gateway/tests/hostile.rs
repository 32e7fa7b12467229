//! A gateway on a real listener, and clients and content that mean it harm.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_gateway::routing::NoRouting;
use adit_gateway::{Gateway, Limits, Parts, Server, Settings};
use adit_names::Names;
use adit_names::dns::{NoDns, TxtTable};
use adit_names::system::MemoryRecords;
use adit_store::{BlockSource, BlockStore, MemoryStore, SourceError};
use adit_unixfs::block::{DAG_CBOR, DAG_PB, RAW};
use adit_unixfs::codec::dag_cbor;
use adit_unixfs::codec::dag_pb::{self, PbLink, PbNode};
use adit_unixfs::{Block, block};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use ipld_core::ipld::Ipld;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

struct Fixture {
    store: Arc<dyn BlockStore>,
    server: Server,
}

impl Fixture {
    async fn start(limits: Limits, settings: Settings, links: &str) -> Self {
        let store: Arc<dyn BlockStore> = Arc::new(MemoryStore::default());
        let source: Arc<dyn BlockSource> = Arc::new(store.clone());
        Self::over(store, source, limits, settings, links).await
    }

    async fn over(
        store: Arc<dyn BlockStore>,
        source: Arc<dyn BlockSource>,
        limits: Limits,
        settings: Settings,
        links: &str,
    ) -> Self {
        let txt = TxtTable::parse(links, Arc::new(NoDns)).unwrap();
        let names = Arc::new(Names::new(Arc::new(MemoryRecords::default()), Arc::new(txt)));
        let local = source.clone();
        let (routing, denials) = (Arc::new(NoRouting), Default::default());
        let gateway = Gateway::new(Parts { source, local, names, routing, denials, settings });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(listener, gateway, limits).unwrap();
        Fixture { store, server }
    }

    async fn plain() -> Self {
        Self::start(Limits::default(), Settings::default(), "").await
    }

    async fn put(&self, block: Block) -> Cid {
        let cid = block.cid;
        self.store.put(vec![block]).await.unwrap();
        cid
    }

    async fn directory(&self, entries: &[(&str, Cid)]) -> Cid {
        let mut links: Vec<PbLink<'_>> = entries
            .iter()
            .map(|(name, cid)| PbLink { cid: *cid, name: Some(name), tsize: Some(1) })
            .collect();
        links.sort_by_key(|link| link.name.map(str::as_bytes));
        let bytes = dag_pb::encode(&PbNode { data: Some(&[8, 1]), links });
        self.put(Block::new(DAG_PB, bytes)).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.address()).await.unwrap()
    }

    async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        let request = request.replace('\n', "\r\n");
        stream.write_all(format!("{request}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers: HashMap<String, String> = HashMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            let slot = headers.entry(name.to_ascii_lowercase()).or_default();
            if !slot.is_empty() {
                slot.push_str(", ");
            }
            slot.push_str(value);
        }
        Answer { status, headers, body: bytes[end + 4..].to_vec() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\nHost: 127.0.0.1")).await
    }
}

fn raw(bytes: &[u8]) -> Block {
    Block::new(RAW, bytes.to_vec())
}

#[tokio::test]
async fn paths_do_not_leave_their_root() {
    let gateway = Fixture::plain().await;
    let secret = gateway.put(raw(b"secret")).await;
    let inner = gateway.directory(&[("a", secret)]).await;
    let root = gateway.directory(&[("inner", inner), ("a", secret)]).await;
    assert_eq!(gateway.get(&format!("/ipfs/{root}/inner/a")).await.body, b"secret");
    for path in ["/inner/../a", "/inner/%2e%2e/a", "/inner/..%2fa", "/%2e%2e%2f%2e%2e%2fetc/passwd", "/a%00"]
    {
        assert_eq!(gateway.get(&format!("/ipfs/{root}{path}")).await.status, 400, "{path}");
    }
    for path in ["/etc/passwd", "/ipfs", "/api/v0/id", "/ipfs/../etc/passwd", "/ipfs/nonsense/a"] {
        let status = gateway.get(path).await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    let deep = format!("/ipfs/{root}{}", "/x".repeat(5000));
    assert_eq!(gateway.get(&deep).await.status, 400);
    let long = format!("/ipfs/{root}/{}", "x".repeat(40_000));
    assert_eq!(gateway.get(&long).await.status, 414);
    // A symlink's target is told, never followed.
    let link = Block::new(
        DAG_PB,
        dag_pb::encode(&PbNode { data: Some(b"\x08\x04\x12\x0b/etc/passwd"), links: vec![] }),
    );
    let link = gateway.put(link).await;
    assert_eq!(gateway.get(&format!("/ipfs/{link}")).await.body, b"/etc/passwd");
}

#[tokio::test]
async fn names_and_content_run_no_script() {
    let gateway = Fixture::plain().await;
    let file = gateway.put(raw(b"x")).await;
    let name = "<script>alert(1)";
    let quoted = "\"><img src=x onerror=alert(1)>'&";
    let inner = gateway.directory(&[("f", file)]).await;
    let root = gateway.directory(&[(name, inner), (quoted, file)]).await;
    let listing = gateway.get(&format!("/ipfs/{root}/")).await;
    assert_eq!(listing.status, 200);
    let text = listing.text();
    assert!(!text.contains("<script") && !text.contains("<img"), "{text}");
    assert!(text.contains("&lt;script&gt;"));
    let policy = listing.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    // The style is the one that the policy names.
    let style = text.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    use sha2::Digest;
    let hash = data_encoding::BASE64.encode(&sha2::Sha256::digest(style));
    assert!(policy.contains(&hash));
    // The same name on the way: title, crumbs and links of the page below.
    let below = gateway.get(&format!("/ipfs/{root}/%3Cscript%3Ealert(1)/")).await;
    assert!(!below.text().contains("<script"), "{}", below.text());
    // A document of hostile strings, as a page.
    let value = Ipld::Map([("</pre><script>x</script>".to_owned(), Ipld::Link(file))].into());
    let document = gateway.put(Block::new(DAG_CBOR, dag_cbor::encode(&value).unwrap())).await;
    let page =
        gateway.ask(&format!("GET /ipfs/{document}/ HTTP/1.1\nHost: 127.0.0.1\nAccept: text/html")).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.text().contains("<script"), "{}", page.text());
    // An error repeats what was asked as text, which no browser takes for anything else.
    let error = gateway.get("/ipfs/%3Cscript%3E/x").await;
    assert_eq!(error.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(error.header("x-content-type-options"), "nosniff");
    // A name in a header ends neither the value nor the header.
    let named = gateway.get(&format!("/ipfs/{file}?filename=%22%0d%0aSet-Cookie:%20a=b")).await;
    assert_eq!(named.header("set-cookie"), "");
    assert!(named.header("content-disposition").starts_with("inline; filename=\"___Set-Cookie: a=b\""));
}

#[tokio::test]
async fn forged_headers_change_nothing_that_others_are_given() {
    let gateway = Fixture::plain().await;
    let file = gateway.put(raw(b"x")).await;
    let root = gateway.directory(&[("f", file)]).await;
    // Hosts that nobody configured are not redirected to, and not written into pages.
    for header in
        ["X-Forwarded-Host: evil.example", "X-Forwarded-Host: a\"><b", "X-Forwarded-Host: evil.example/x"]
    {
        let answer = gateway.ask(&format!("GET /ipfs/{root}/ HTTP/1.1\nHost: 127.0.0.1\n{header}")).await;
        assert_eq!(answer.status, 200, "{header}");
        assert!(!answer.text().contains("evil") && !answer.text().contains("\"><b"), "{header}");
        assert!(answer.header("vary").contains("X-Forwarded-Host"), "{header}");
    }
    let plain = gateway.get(&format!("/ipfs/{root}/")).await;
    assert!(!plain.header("vary").contains("X-Forwarded"));
    assert!(plain.header("vary").contains("Accept"));
    // A configured one is redirected to, with a scheme that exists, and caches are told what it depends on.
    let moved = gateway
        .ask(&format!(
            "GET /ipfs/{root}/ HTTP/1.1\nHost: 127.0.0.1\nX-Forwarded-Host: localhost\nX-Forwarded-Proto: javascript"
        ))
        .await;
    assert_eq!(moved.status, 301);
    assert!(moved.header("location").starts_with("http://bafybei"), "{}", moved.header("location"));
    assert!(moved.header("vary").contains("X-Forwarded-Proto"));
    // Errors are nobody's to keep.
    assert_eq!(gateway.get(&format!("/ipfs/{root}/none")).await.header("cache-control"), "no-store");
    // A redirect to a directory's slash stays on the host, whatever the path begins with.
    let top = gateway.directory(&[("evil.example", root)]).await;
    let host = format!("{top}.ipfs.localhost");
    let answer = gateway.ask(&format!("GET //evil.example HTTP/1.1\nHost: {host}")).await;
    assert_eq!((answer.status, answer.header("location")), (301, "/evil.example/"));
}

#[tokio::test]
async fn redirects_of_a_site_stay_within_their_limits() {
    let links = "site.example /ipfs/bafkqaaa\n";
    let gateway = Fixture::start(Limits::default(), Settings::default(), links).await;
    let rules = gateway.put(raw(b"/out/* //evil.example/:splat 301\n/* /index.html 200\n")).await;
    let root = gateway.directory(&[("_redirects", rules)]).await;
    let host = format!("{root}.ipfs.localhost");
    let out = gateway.ask(&format!("GET /out/x HTTP/1.1\nHost: {host}")).await;
    assert_eq!((out.status, out.header("location")), (301, "/evil.example/x"));
    // A rule that leads to nothing does not lead in a circle.
    assert_eq!(gateway.ask(&format!("GET /y HTTP/1.1\nHost: {host}")).await.status, 404);
    // Where origins are shared, rules do not count.
    assert_eq!(gateway.get(&format!("/ipfs/{root}/out/x")).await.status, 404);
}

#[tokio::test]
async fn ranges_cost_no_more_than_the_whole() {
    let gateway = Fixture::plain().await;
    let content: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let file = gateway.put(raw(&content)).await;
    let ask = |range: String| {
        let request = format!("GET /ipfs/{file} HTTP/1.1\nHost: 127.0.0.1\nRange: bytes={range}");
        let gateway = &gateway;
        async move { gateway.ask(&request).await }
    };
    let single = ask("10-19".into()).await;
    assert_eq!((single.status, &single.body[..]), (206, &content[10..20]));
    let multi = ask("0-1,99999-".into()).await;
    assert_eq!(multi.status, 206);
    assert_eq!(multi.header("content-length"), multi.body.len().to_string());
    assert!(multi.text().contains("Content-Range: bytes 99999-99999/100000"));
    for abusive in [["0-"; 10].join(","), ["0-0"; 1000].join(","), "0-99999,0-99999".into()] {
        let answer = ask(abusive).await;
        assert_eq!((answer.status, answer.body.len()), (200, content.len()));
    }
    let behind = ask("100000-".into()).await;
    assert_eq!((behind.status, behind.header("content-range")), (416, "bytes */100000"));
}

/// A source that has one document, and never answers for the 64 that it links to.
struct Endless;

fn endless(level: u64) -> Block {
    let child = |side: &str| {
        let cid =
            block::cid_v1(DAG_CBOR, &dag_cbor::encode(&Ipld::String(format!("{level}{side}"))).unwrap());
        Ipld::Link(cid)
    };
    let value = Ipld::List((0..64).map(|side| child(&side.to_string())).collect());
    Block::new(DAG_CBOR, dag_cbor::encode(&value).unwrap())
}

#[async_trait]
impl BlockSource for Endless {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        let first = endless(0);
        if *cid == first.cid {
            return Ok(first.data);
        }
        // Nobody ever delivers what is below.
        std::future::pending().await
    }
}

#[tokio::test]
async fn blocks_that_nobody_delivers_are_not_waited_for_without_end() {
    let store: Arc<dyn BlockStore> = Arc::new(MemoryStore::default());
    let settings = Settings { idle: Duration::from_millis(300), ..Settings::default() };
    let gateway = Fixture::over(store, Arc::new(Endless), Limits::default(), settings, "").await;
    let root = endless(0).cid;
    let start = Instant::now();
    let missing = gateway.get("/ipfs/bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e").await;
    assert_eq!(missing.status, 504);
    // Headers were sent; what breaks off later ends the connection without the end of the body.
    let mut stream = gateway.connect().await;
    let request = format!("GET /ipfs/{root}?format=car HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "the answer pretends to be whole");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_dag_that_repeats_itself_ends_at_the_deadline_with_bounded_memory() {
    let settings = Settings { longest: Duration::from_millis(700), ..Settings::default() };
    let gateway = Fixture::start(Limits::default(), settings, "").await;
    // 40 levels, each linking twice to the one below: 2^40 blocks with duplicates, 41 without.
    let mut below = gateway.put(raw(b"leaf")).await;
    for _ in 0..40 {
        let value = Ipld::List(vec![Ipld::Link(below), Ipld::Link(below)]);
        below = gateway.put(Block::new(DAG_CBOR, dag_cbor::encode(&value).unwrap())).await;
    }
    let once = gateway.get(&format!("/ipfs/{below}?format=car")).await;
    assert_eq!(once.status, 200);
    assert!(once.body.ends_with(b"0\r\n\r\n") && once.body.len() < 20_000);
    let mut stream = gateway.connect().await;
    let request = format!("GET /ipfs/{below}?format=car&car-dups=y HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let start = Instant::now();
    let mut last = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        last = buffer[..read].to_vec();
        assert!(start.elapsed() < Duration::from_secs(20), "it goes on and on");
    }
    assert!(!last.ends_with(b"0\r\n\r\n"), "the answer pretends to be whole");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let limits = Limits { connections: 1, idle: Duration::from_millis(400), ..Limits::default() };
    let gateway = Fixture::start(limits, Settings::default(), "").await;
    // Larger than what the sockets hold between them.
    let parts: Vec<Block> = (0..24u8).map(|byte| raw(&vec![byte; 1 << 20])).collect();
    let size = (1u64 << 20) * parts.len() as u64;
    let links =
        parts.iter().map(|part| PbLink { cid: part.cid, name: Some(""), tsize: Some(1 << 20) }).collect();
    let mut data = vec![8, 2, 24];
    let varint = |data: &mut Vec<u8>, mut value: u64| {
        while value >= 0x80 {
            data.push(value as u8 | 0x80);
            value >>= 7;
        }
        data.push(value as u8);
    };
    varint(&mut data, size);
    for part in &parts {
        data.push(32);
        varint(&mut data, part.data.len() as u64);
    }
    let root = Block::new(DAG_PB, dag_pb::encode(&PbNode { data: Some(&data), links }));
    let cid = root.cid;
    gateway.store.put(parts).await.unwrap();
    gateway.store.put(vec![root]).await.unwrap();
    let mut lazy = gateway.connect().await;
    lazy.write_all(format!("GET /ipfs/{cid} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await.unwrap();
    // The only slot is taken until the lazy one is cut off; then this is answered, and whole.
    let start = Instant::now();
    let answer = gateway.get(&format!("/ipfs/{cid}")).await;
    assert_eq!((answer.status, answer.body.len() as u64), (200, size));
    assert!(start.elapsed() < Duration::from_secs(30));
    drop(lazy);
}

#[tokio::test]
async fn only_what_can_be_verified_is_served_where_the_operator_wants_that() {
    let settings = Settings { deserialized: false, ..Settings::default() };
    let gateway = Fixture::start(Limits::default(), settings, "").await;
    let file = gateway.put(raw(b"x")).await;
    assert_eq!(gateway.get(&format!("/ipfs/{file}")).await.status, 406);
    assert_eq!(gateway.get(&format!("/ipfs/{file}?format=tar")).await.status, 406);
    assert_eq!(gateway.get(&format!("/ipfs/{file}?format=raw")).await.body, b"x");
    assert_eq!(gateway.get(&format!("/ipfs/{file}?format=car")).await.status, 200);
}

#[tokio::test]
async fn records_are_taken_only_if_they_are_their_owners_and_small() {
    let settings = Settings { idle: Duration::from_millis(500), ..Settings::default() };
    let gateway = Fixture::start(Limits::default(), settings, "").await;
    let name = "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w";
    let put =
        |len: usize| format!("PUT /routing/v1/ipns/{name} HTTP/1.1\nHost: 127.0.0.1\nContent-Length: {len}");
    let large = gateway.ask(&put(20_000)).await;
    assert_eq!(large.status, 413);
    // One that never comes is not waited for, and ends what it came on.
    let late = gateway.ask(&put(100)).await;
    assert_eq!(late.status, 408);
    let nothing = gateway.ask(&put(0)).await;
    assert_eq!(nothing.status, 400);
    assert_eq!(gateway.get(&format!("/routing/v1/ipns/{name}")).await.status, 404);
    assert_eq!(gateway.get("/routing/v1/providers/nonsense").await.status, 400);
    let none = gateway.get("/routing/v1/providers/bafkqaaa").await;
    assert_eq!(none.text(), "{\"Providers\":[]}");
    assert_eq!(gateway.ask("POST /ipfs/bafkqaaa HTTP/1.1\nHost: x\nContent-Length: 0").await.status, 405);
}
