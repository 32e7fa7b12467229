//! Connections that send nothing, or a byte now and then: others are served meanwhile, and in the end they are closed.

use crate::{guest, noise, programs};
use adit_tests::{Connection, Node, eventually, peak_memory};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How many there are of them.
const SLOW: usize = 50;
/// What somebody else waits for a small answer at most, on a machine that may be busy.
const PROMPT: Duration = Duration::from_secs(2);

/// The swarm's TCP address.
fn swarm(node: &Node) -> Result<SocketAddr> {
    let addresses = node.addresses()?;
    let tcp = addresses.iter().find_map(|address| {
        let port = address.strip_prefix("/ip4/127.0.0.1/tcp/")?.split('/').next()?;
        port.parse::<u16>().ok()
    });
    Ok(SocketAddr::from(([127, 0, 0, 1], tcp.context("a TCP address on loopback")?)))
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Whether the other side has closed the connection. What it sends is read and forgotten.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// Sends a byte to each, as far as they take one.
fn drip(streams: &mut [(TcpStream, &[u8])]) {
    for (stream, words) in streams {
        if let Some((first, rest)) = words.split_first()
            && stream.write_all(&[*first]).is_ok()
        {
            *words = rest;
        }
    }
}

/// Small requests on new connections, all of them prompt, and a job. (Reading, because a sync may wait for what
/// others write to the same disk.)
fn others_are_served(node: &Node) -> Result<()> {
    let added = node.http()?.request("POST", "/api/v1/add?pin=false", None, b"a small file")?.json()?;
    let path = format!("/api/v1/cat/{}", added["cid"].as_str().context("a cid")?);
    for _ in 0..5 {
        let start = Instant::now();
        let mut connection = Connection::open(node.api()?)?;
        connection.bearer = Some(node.token()?);
        let reply = connection.get(&path)?;
        ensure!(reply.body == b"a small file", "{}", reply.status);
        ensure!(start.elapsed() < PROMPT, "a small file took {:?}", start.elapsed());
    }
    node.adit(&["run", &guest("echo"), "--fresh"])?.expect(0)?;
    Ok(())
}

/// Connections that say nothing, and ones that say the first line of every libp2p connection a byte at a time.
fn half_handshakes(node: &Node) -> Result<Vec<(TcpStream, &'static [u8])>> {
    let swarm = swarm(node)?;
    let hello: &[u8] = b"\x13/multistream/1.0.0\n\x07/noise\n";
    (0..SLOW).map(|number| Ok((connect(swarm)?, if number % 2 == 0 { hello } else { b"" }))).collect()
}

#[test]
fn mute_and_dripping_peers_do_not_keep_others_out_of_the_swarm() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let path = node.repository().with_extension("data");
    fs::write(&path, noise(3_000_000, 1))?;
    let cid = node.add(&path)?;
    let mut slow = half_handshakes(&node)?;
    drip(&mut slow);
    others_are_served(&node)?;
    // An honest peer comes in beside them and gets what it wants.
    let bootstrap = node.addresses()?.join(",");
    let peer = Node::start(&programs(), &[("swarm.bootstrap", &bootstrap)])?;
    ensure!(peer.adit(&["cat", &cid])?.expect(0)?.stdout == noise(3_000_000, 1));
    drip(&mut slow);
    others_are_served(&node)
}

/// A handshake has a quarter of a minute.
#[test]
#[ignore = "soak: waits half a minute"]
fn soak_half_handshakes_are_closed_in_the_end() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let mut slow = half_handshakes(&node)?;
    are_closed_within(Duration::from_secs(45), &mut slow)?;
    others_are_served(&node)
}

/// Drips a byte a second into each until all are closed.
fn are_closed_within(limit: Duration, slow: &mut Vec<(TcpStream, &[u8])>) -> Result<()> {
    let start = Instant::now();
    let mut dripped = start;
    eventually("all slow connections are closed", limit, || {
        if dripped.elapsed() > Duration::from_secs(1) {
            drip(slow);
            dripped = Instant::now();
        }
        slow.retain_mut(|(stream, _)| !is_closed(stream));
        Ok(slow.is_empty().then_some(()))
    })?;
    println!("the last slow connection was closed after {:.1?}", start.elapsed());
    Ok(())
}

/// Requests that never come to their end: in the middle of the head, and in the middle of a body.
fn half_requests(node: &Node) -> Result<Vec<(TcpStream, Vec<u8>)>> {
    let (api, token) = (node.api()?, node.token()?);
    let head = format!("POST /api/v1/run HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\n");
    let body = format!("{head}Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{{\"code\":");
    let mut slow = Vec::new();
    for number in 0..SLOW {
        let mut stream = connect(api)?;
        match number % 3 {
            0 => slow.push((stream, head.clone().into_bytes())),
            1 => {
                stream.write_all(body.as_bytes())?;
                slow.push((stream, vec![b' '; 4000]));
            }
            _ => slow.push((stream, Vec::new())),
        }
    }
    Ok(slow)
}

#[test]
fn half_requests_do_not_keep_others_from_the_api() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let slow = half_requests(&node)?;
    let mut slow: Vec<_> =
        slow.iter().map(|(stream, words)| Ok((stream.try_clone()?, &words[..]))).collect::<Result<_>>()?;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        drip(&mut slow);
        others_are_served(&node)?;
    }
    Ok(())
}

/// A head has a minute; a body of JSON, half a minute.
#[test]
#[ignore = "soak: waits more than a minute"]
fn soak_half_requests_are_closed_in_the_end() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let slow = half_requests(&node)?;
    let mut slow: Vec<_> =
        slow.iter().map(|(stream, words)| Ok((stream.try_clone()?, &words[..]))).collect::<Result<_>>()?;
    are_closed_within(Duration::from_secs(90), &mut slow)?;
    others_are_served(&node)
}

/// Whoever asks for much and reads nothing must not make the node hold it.
#[test]
fn a_client_that_does_not_read_takes_no_memory() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let path = node.repository().with_extension("data");
    fs::write(&path, noise(300_000_000, 1))?;
    let cid = node.add(&path)?;
    fs::remove_file(&path)?;
    let (api, token) = (node.api()?, node.token()?);
    let mut deaf = Vec::new();
    for route in ["cat", "get", "dag/export"] {
        let mut stream = TcpStream::connect(api)?;
        let head = format!(
            "GET /api/v1/{route}/{cid} HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        // The answer has begun; nothing more is read.
        stream.read_exact(&mut [0; 1])?;
        deaf.push(stream);
    }
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        others_are_served(&node)?;
    }
    let peak = peak_memory(node.pid())?;
    ensure!(peak < 150 << 20, "the daemon took {} MiB", peak >> 20);
    Ok(())
}
