//! The real programs, by capability. Run with `cargo xtask test real`, which builds them first.
//!
//! Every test starts its own nodes, on free loopback ports and in temporary folders, and leaves nothing behind.

mod content;
mod crashes;
mod denied;
mod devnet;
mod dnslink;
mod full_disk;
mod functions;
mod guests;
mod hostile;
mod hostile_content;
mod hostile_peers;
mod ipfs;
mod job_api;
mod jobs;
mod nat;
mod network;
mod operator;
mod packages;
mod refusals;
mod replicas;
mod rpc;
mod sealing;
mod slow_peers;
mod soak;

use adit_tests::{Node, Programs};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The programs under test. Missing ones fail the test: a run without them would prove nothing.
fn programs() -> Programs {
    Programs::from_env().expect("the programs under test")
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
        .canonicalize()
        .expect("a file of the repository")
}

/// The path of a checked-in guest, as a command line takes it.
fn guest(name: &str) -> String {
    repository(&format!("guests/bin/{name}.wasm")).to_str().expect("text").to_owned()
}

/// A program that never ends, in a file beside the node's repository.
fn endless(node: &Node) -> Result<PathBuf> {
    let path = node.repository().with_extension("loop.wasm");
    let wat = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#;
    std::fs::write(&path, wat::parse_str(wat)?)?;
    Ok(path)
}

/// Reproducible bytes that do not compress or repeat.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
