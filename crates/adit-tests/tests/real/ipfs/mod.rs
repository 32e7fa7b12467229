//! With the real Kubo and Helia: transfers both ways, CIDs that agree, one DHT, names, private swarms. Run with `cargo xtask test ipfs`, which
//! installs the peers first.
//!
//! Every transfer is bounded in time and compared byte by byte.

mod beside;
mod cids;
mod conformance;
mod delegated;
mod dht;
mod gateways;
mod helia;
mod kubo;
mod names;
mod neighbours;
mod private_swarm;
mod providers;
mod trees;

use crate::programs;
use adit_tests::{Finished, Kubo, Node};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The real Kubo; none where it can't be had, which the test then says.
fn kubo() -> Result<Option<std::path::PathBuf>> {
    adit_tests::peer("ADIT_KUBO")
}

/// An Adit node that listens on every transport that the peers speak.
fn adit() -> Result<Node> {
    Node::start(
        &programs(),
        &[("swarm.listen", "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1,/ip4/127.0.0.1/tcp/0/ws")],
    )
}

/// The one of these addresses that speaks `tcp`, `quic-v1` or `ws`.
fn over(addresses: &[String], transport: &str) -> Result<String> {
    let fits = |address: &&String| {
        let parts: Vec<_> = address.split('/').collect();
        parts.contains(&transport) && (transport == "ws" || !parts.contains(&"ws"))
    };
    let found = addresses.iter().find(fits).cloned();
    found.with_context(|| format!("no address speaks {transport}: {addresses:?}"))
}

/// Runs a command to its end, and ends it after so many seconds: a transfer that hangs fails.
fn within(seconds: u64, mut command: Command) -> Result<Finished> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = child.id();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = |pipe: Box<dyn std::io::Read + Send>| {
        let mut pipe = pipe;
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let stdout = read(Box::new(stdout.context("no pipe")?));
    let stderr = read(Box::new(stderr.context("no pipe")?));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("process {pid} was not done in {seconds} s: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let read = |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        thread.join().expect("a reader of a pipe does not panic")
    };
    let output = std::process::Output { status, stdout: read(stdout)?, stderr: read(stderr)? };
    Ok(Finished::of(&command, output))
}

/// A file as Adit has it, from wherever it is.
fn adit_cat(node: &Node, cid: &str, seconds: u64) -> Result<Vec<u8>> {
    let got = within(seconds, node.command(&["cat", cid])).and_then(|finished| finished.expect(0));
    Ok(got.with_context(|| format!("log:\n{}", tail(&node.log())))?.stdout)
}

fn kubo_cat(kubo: &Kubo, cid: &str, seconds: u64) -> Result<Vec<u8>> {
    let got = within(seconds, kubo.command(&["cat", cid])).and_then(|finished| finished.expect(0));
    Ok(got.with_context(|| format!("Kubo's log:\n{}", tail(&kubo.log())))?.stdout)
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Fails without printing megabytes.
fn assert_same(got: &[u8], wanted: &[u8], what: &str) {
    let differs = got.iter().zip(wanted).position(|(got, wanted)| got != wanted);
    assert!(
        got == wanted,
        "{what}: {} bytes for {}, first difference at {differs:?}",
        got.len(),
        wanted.len()
    );
}

/// Fails unless both folders hold the same names, bytes and links.
fn assert_same_tree(got: &Path, wanted: &Path) -> Result<()> {
    assert_eq!(list(got)?, list(wanted)?);
    Ok(())
}

/// Every path below a folder with what lies there, in order.
fn list(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            let kind = fs::symlink_metadata(&path)?.file_type();
            let content = if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path)?.display())
            } else if kind.is_dir() {
                folders.push(path);
                "/".to_owned()
            } else {
                use std::hash::{DefaultHasher, Hash, Hasher};
                let bytes = fs::read(&path)?;
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                format!("{} bytes, {:016x}", bytes.len(), hasher.finish())
            };
            found.push((name, content));
        }
    }
    found.sort();
    Ok(found)
}
