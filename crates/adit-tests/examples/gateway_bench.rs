//! What the gateway does, beside Kubo's in the same run: requests a second for a hot file of 100 kB, bytes a second of
//! a file of 200 MB, and a thousand clients at once. The load generator takes its share of the same processors.

use adit_tests::{Kubo, Node, Programs, peer};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LENGTH: Duration = Duration::from_secs(4);

fn main() -> Result<()> {
    let programs = Programs::from_env()?;
    let Some(program) = peer("ADIT_KUBO")? else { return Ok(()) };
    let adit = Node::start(&programs, &[("gateway.fetch", "false"), ("host.cpus", "1")])?;
    let kubo = Kubo::start(&program, &[], &[("Addresses.Gateway", r#""/ip4/127.0.0.1/tcp/0""#)])?;
    let text = fs::read_to_string(adit.repository().join("api.json"))?;
    let running: serde_json::Value = serde_json::from_str(&text)?;
    let here = address(running["gateway"].as_str().context("no gateway")?)?;
    let there = kubo_gateway(&kubo)?;

    let folder = tempfile::tempdir()?;
    println!("{:<44} {:>12} {:>12} {:>7}  to reach", "what", "Adit", "Kubo", "ratio");
    for (what, size, clients) in [
        ("100 kB, 8 clients, requests/s", 100_000, 8),
        ("100 kB, 1,000 clients, requests/s", 100_000, 1000),
        ("200 MB, one client, MB/s", 200_000_000, 1),
    ] {
        let path = folder.path().join("content");
        fs::write(&path, content(size))?;
        let ours = adit.add(&path)?;
        let theirs = kubo.add(Path::new(&path), &["--cid-version=1", "--chunker=size-1048576"])?;
        // Turn by turn, so that whatever else the machine does hits both.
        let mut figures = [0.0, 0.0];
        for _ in 0..2 {
            for (figure, (gateway, cid)) in figures.iter_mut().zip([(here, &ours), (there, &theirs)]) {
                *figure += load(gateway, &format!("/ipfs/{cid}"), size, clients)? / 2.0;
            }
        }
        let unit = if clients == 1 { size as f64 / 1e6 } else { 1.0 };
        let [adit, kubo] = figures.map(|rate| rate * unit);
        println!("{what:<44} {adit:>12.0} {kubo:>12.0} {:>6.1}x  >= 3x", adit / kubo);
    }
    Ok(())
}

fn address(text: &str) -> Result<SocketAddr> {
    Ok(text.trim().trim_start_matches("http://").trim_end_matches('/').parse()?)
}

/// Where Kubo's gateway listens, as its daemon says at its start.
fn kubo_gateway(kubo: &Kubo) -> Result<SocketAddr> {
    let log = kubo.log();
    let line = log.lines().find(|line| line.contains("Gateway server listening on")).context("no gateway")?;
    let multiaddress = line.rsplit(' ').next().unwrap_or_default();
    let port = multiaddress.rsplit('/').next().context("no port")?;
    Ok(format!("127.0.0.1:{port}").parse()?)
}

/// Bytes that do not compress and are the same in every run.
fn content(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(size);
    out
}

/// Answers a second, with each client on a connection of its own.
fn load(gateway: SocketAddr, path: &str, size: usize, clients: usize) -> Result<f64> {
    let answered = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..clients {
            let client = || client(gateway, path, size, start, &answered);
            threads.push(std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, client)?);
        }
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    Ok(answered.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

fn client(gateway: SocketAddr, path: &str, size: usize, start: Instant, answered: &AtomicU64) -> Result<()> {
    let mut stream = TcpStream::connect(gateway)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {gateway}\r\n\r\n");
    let mut buffer = vec![0; 64 << 10];
    while start.elapsed() < LENGTH {
        stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        let body = loop {
            let read = stream.read(&mut buffer[filled..])?;
            ensure!(read > 0, "no head");
            filled += read;
            if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..body]));
        let mut left = size - (filled - body);
        while left > 0 {
            let room = left.min(buffer.len());
            let read = stream.read(&mut buffer[..room])?;
            ensure!(read > 0, "the answer breaks off");
            left -= read;
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
