//! Nodes for tests: real repositories, real networks on loopback, the real enclave.
//!
//! The enclave's program is named by `ADIT_ENCLAVE`, because it is built apart from everything else
//! (see ARCHITECTURE.md). Where it is not set, tests that need it say so and pass over.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;
use std::time::Duration;

use adit_node::config::Settings;
use adit_node::{Identity, Node, RunRequest};
use adit_store::import::{self, ImportOptions};
use cid::Cid;
use tempfile::TempDir;

/// The enclave's program, or a note that the test is passed over.
pub(crate) fn enclave() -> Option<PathBuf> {
    let program = std::env::var_os("ADIT_ENCLAVE").map(PathBuf::from);
    if program.is_none() {
        eprintln!("passed over: ADIT_ENCLAVE does not name the enclave's program");
    }
    program
}

/// A node that takes its repository with it.
pub(crate) struct TestNode {
    pub(crate) node: Node,
    dir: TempDir,
}

impl std::ops::Deref for TestNode {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.node
    }
}

/// Starts a node with these settings beside those every test node has.
pub(crate) async fn start(settings: &[(&str, &str)]) -> TestNode {
    let dir = tempfile::tempdir().unwrap();
    Identity::create(dir.path()).unwrap();
    start_in(dir, settings).await
}

/// Starts a node on a repository that is there.
pub(crate) async fn start_in(dir: TempDir, settings: &[(&str, &str)]) -> TestNode {
    let enclave = enclave().unwrap().display().to_string();
    let mut flags: Vec<(String, String)> = [
        ("network", "test"),
        ("swarm.listen", "/ip4/127.0.0.1/tcp/0"),
        ("swarm.mdns", "false"),
        ("host.cpus", "2"),
        ("enclave.program", &enclave),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    flags.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let settings = Settings::resolve(None, |_| None, &flags).unwrap();
    let node = Node::start(dir.path(), settings).await.unwrap();
    let up = node.enclave_settled(Duration::from_secs(30)).await;
    assert!(node.is_ready(), "the enclave did not come up: {up:?}");
    TestNode { node, dir }
}

impl TestNode {
    /// Adds bytes as a file.
    pub(crate) async fn add(&self, bytes: impl Into<bytes::Bytes>) -> Cid {
        let store = self.node.repo().blocks();
        import::bytes(&store, bytes, &ImportOptions::default()).await.unwrap().root
    }

    /// Adds a program of `guests/bin`.
    pub(crate) async fn guest(&self, name: &str) -> Cid {
        let path = format!("{}/../../guests/bin/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        self.add(std::fs::read(path).unwrap()).await
    }

    /// Adds a program in text form.
    pub(crate) async fn wat(&self, text: &str) -> Cid {
        self.add(wat::parse_str(text).unwrap()).await
    }

    /// Connects to another and waits until each knows that the other runs Adit.
    pub(crate) async fn meet(&self, other: &TestNode) {
        self.net().connect(other.net().listen_addrs()[0].clone()).await.unwrap();
        let knows = |a: &TestNode, b: &TestNode| {
            let peer = b.net().peer_id();
            a.net().peer(&peer).is_some_and(|info| info.adit && info.connected)
        };
        eventually("both know each other as Adit nodes", || knows(self, other) && knows(other, self)).await;
    }

    /// Ends the node and gives its repository back.
    pub(crate) async fn stop(self) -> TempDir {
        self.node.shutdown().await;
        self.dir
    }
}

/// A program that never ends.
pub(crate) const ENDLESS: &str =
    r#"(module (memory (export "memory") 1) (func (export "_start") (loop br 0)))"#;

/// A job over one input.
pub(crate) fn job(code: Cid, data: Cid) -> RunRequest {
    let mut request = RunRequest::new(code);
    request.inputs.insert("/in/data".into(), data);
    request.timeout = Duration::from_secs(30);
    request
}

/// Waits for a condition, with a deadline that only a broken program meets.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
