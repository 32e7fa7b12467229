//! Invariants of absence, checked from the dependency tree that cargo itself resolves for the enclave alone.

use std::{collections::BTreeSet, process::Command};

/// Whatever opens network sockets, speaks HTTP or TLS, holds a node's identity, or keeps blocks and jobs on disk.
const ABSENT: &[&str] = &[
    "adit-api",
    "adit-net",
    "adit-node",
    "adit-store",
    "axum",
    "h2",
    "hickory-proto",
    "hyper",
    "hyper-util",
    "libp2p",
    "libp2p-swarm",
    "mdns",
    "mio",
    "native-tls",
    "openssl",
    "quinn",
    "redb",
    "reqwest",
    "ring",
    "rustls",
    "snow",
    "tokio",
    "tower-http",
    "tungstenite",
    "ureq",
    "wasmtime-wasi",
];

fn tree(edges: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "-p",
            "adit-enclave",
            "--prefix",
            "none",
            "--format",
            "{p} {f}",
            "-e",
            edges,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

fn name(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[test]
fn the_enclave_links_nothing_that_opens_a_network_socket() {
    let tree = tree("normal");
    assert!(tree.iter().any(|line| name(line) == "wasmtime"), "this is the enclave's tree");
    let found: Vec<_> = tree.iter().filter(|line| ABSENT.contains(&name(line))).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_wire_crate_is_built_without_a_reactor() {
    let tree = tree("normal");
    let wire: Vec<_> = tree.iter().filter(|line| name(line) == "adit-wire").collect();
    assert!(!wire.is_empty());
    assert!(wire.iter().all(|line| !line.ends_with("async")), "{wire:?}");
}
