//! The attacks. Each goes on until its process is killed, and comes back when it is thrown out.

use super::{
    raw::{BITSWAP, Connection},
    words,
};
use anyhow::{Context, Result, bail};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{Multiaddr, Stream, StreamProtocol};
use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const KAD: StreamProtocol = StreamProtocol::new("/adit/test/kad/1.0.0");
/// Longest message that is read.
const LONGEST: u64 = 4 << 20;

/// What an attack is told.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) swarm: Multiaddr,
    pub(super) api: SocketAddr,
    pub(super) token: String,
    /// Blocks that the target has.
    pub(super) here: Vec<Vec<u8>>,
}

/// Starts an attack; counts in `under_way` how many of its attackers have begun.
pub(super) fn begin(kind: &str, target: &Target, under_way: &Arc<AtomicUsize>) -> Result<usize> {
    /// Runs a peer again and again.
    macro_rules! peers {
        ($count:expr, $peer:path) => {{
            for number in 0..$count {
                let (target, under_way) = (target.clone(), under_way.clone());
                tokio::spawn(async move {
                    let mut begun = false;
                    loop {
                        let mut note = || {
                            if !std::mem::replace(&mut begun, true) {
                                under_way.fetch_add(1, Ordering::Relaxed);
                            }
                        };
                        let _ = $peer(&target, number as u64, &mut note).await;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                });
            }
            $count
        }};
    }
    Ok(match kind {
        "wantlists" => peers!(16, wantlists),
        "stalled" => peers!(500, stalled),
        "haves" => peers!(16, haves),
        "unasked" => peers!(16, unasked),
        "identity" => peers!(8, identity),
        "dht" => peers!(16, dht),
        "cars" => {
            for number in 0..4 {
                let (target, under_way) = (target.clone(), under_way.clone());
                std::thread::spawn(move || {
                    for round in 0.. {
                        let _ = car(&target, number + round);
                        if round == 0 {
                            under_way.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            4
        }
        other => bail!("there is no attack called {other}"),
    })
}

/// Reads and forgets whatever comes, for ever.
fn swallow(mut connection: Connection) {
    tokio::spawn(async move {
        while let Some(mut stream) = connection.incoming.recv().await {
            tokio::spawn(async move {
                let mut space = vec![0; 64 << 10];
                while stream.read(&mut space).await.is_ok_and(|length| length > 0) {}
            });
        }
    });
}

async fn say(stream: &mut Stream, message: &[u8]) -> Result<()> {
    stream.write_all(message).await?;
    Ok(stream.flush().await?)
}

/// Long wantlists one after the other: of what is not there, and of what is there again and again. Every other peer
/// never reads the answers.
async fn wantlists(target: &Target, number: u64, begun: &mut impl FnMut()) -> Result<()> {
    let mut connection = Connection::open(&target.swarm, BITSWAP, 1).await?;
    let mut stream = connection.stream().await?;
    let _kept = if number.is_multiple_of(2) {
        swallow(connection);
        None
    } else {
        Some(connection)
    };
    for round in 0.. {
        let absent: Vec<_> = (0..3000).map(|n| words::absent(number << 40 | round << 16 | n)).collect();
        let all = absent.iter().chain(&target.here).map(Vec::as_slice);
        say(&mut stream, &words::wants(all)).await?;
        begun();
    }
    Ok(())
}

/// Four streams on which nothing ever becomes whole.
async fn stalled(target: &Target, number: u64, begun: &mut impl FnMut()) -> Result<()> {
    // They do not all knock at once: handshakes are another matter.
    tokio::time::sleep(Duration::from_millis(number * 4)).await;
    let protocol = if number.is_multiple_of(3) { KAD } else { BITSWAP };
    let mut connection = Connection::open(&target.swarm, protocol, 4).await?;
    begun();
    let mut held = Vec::new();
    for part in 0..4 {
        let mut stream = connection.stream().await?;
        let half: &[u8] = [&[][..], &[0x80], &[0xff, 0x7f], &[100, 10, 20]][part];
        say(&mut stream, half).await?;
        held.push(stream);
    }
    while !connection.is_closed() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Claims to have all that it is asked for, and much that nobody asked for, and delivers nothing.
async fn haves(target: &Target, number: u64, begun: &mut impl FnMut()) -> Result<()> {
    let mut connection = Connection::open(&target.swarm, BITSWAP, 1).await?;
    let mut stream = connection.stream().await?;
    for round in 0.. {
        let spam: Vec<_> = (0..200).map(|n| words::absent(number << 40 | round << 16 | n)).collect();
        say(&mut stream, &words::haves(spam.iter().map(Vec::as_slice))).await?;
        begun();
        let asked = tokio::time::timeout(Duration::from_millis(10), connection.incoming.recv()).await;
        let Ok(asked) = asked else { continue };
        let mut asked = asked.context("the connection is closed")?;
        while let Ok(message) = read(&mut asked).await {
            let cids = words::wanted(&message);
            say(&mut stream, &words::haves(cids.iter().map(Vec::as_slice))).await?;
        }
    }
    Ok(())
}

async fn read(stream: &mut Stream) -> Result<Vec<u8>> {
    let length = unsigned_varint::aio::read_u64(&mut *stream).await?;
    if length > LONGEST {
        bail!("a message of {length} bytes");
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Blocks that nobody asked for.
async fn unasked(target: &Target, number: u64, begun: &mut impl FnMut()) -> Result<()> {
    let mut connection = Connection::open(&target.swarm, BITSWAP, 1).await?;
    let mut stream = connection.stream().await?;
    swallow(connection);
    for round in 0.. {
        let gift = crate::noise(200_000, number << 32 | round);
        say(&mut stream, &words::blocks(&[&gift])).await?;
        begun();
    }
    Ok(())
}

/// Wants and blocks whose CIDs carry the content, far beyond what such CIDs may carry.
async fn identity(target: &Target, number: u64, begun: &mut impl FnMut()) -> Result<()> {
    let mut connection = Connection::open(&target.swarm, BITSWAP, 1).await?;
    let mut stream = connection.stream().await?;
    swallow(connection);
    for round in 0.. {
        let noise = crate::noise(100_000, number << 32 | round);
        match round % 3 {
            0 => say(&mut stream, &words::wants([&words::identity_cid(&noise)[..]])).await?,
            1 => say(&mut stream, &words::identity_block(&noise)).await?,
            _ => {
                let small: Vec<_> = noise.chunks(100).map(words::identity_cid).collect();
                say(&mut stream, &words::wants(small.iter().map(Vec::as_slice))).await?;
            }
        }
        begun();
    }
    Ok(())
}

/// Questions and announcements without end.
async fn dht(target: &Target, number: u64, begun: &mut impl FnMut()) -> Result<()> {
    let mut connection = Connection::open(&target.swarm, KAD, 1).await?;
    let mut stream = connection.stream().await?;
    let peer = libp2p::PeerId::random().to_bytes();
    for round in 0.. {
        let key = words::absent(number << 32 | round);
        say(&mut stream, &words::add_provider(&key[2..], &peer)).await?;
        say(&mut stream, &words::find_node(&key)).await?;
        read(&mut stream).await?;
        begun();
    }
    Ok(())
}

/// CARs that lie: blocks of other bytes than their CIDs say, lengths beyond all measure, and no end.
fn car(target: &Target, kind: u64) -> Result<()> {
    let mut stream = TcpStream::connect(target.api)?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (api, token) = (target.api, &target.token);
    write!(
        stream,
        "POST /api/v1/dag/import HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/vnd.ipld.car\r\nContent-Length: 1073741824\r\n\r\n"
    )?;
    // {"roots": [], "version": 1}
    let header = b"\xa2\x65roots\x80\x67version\x01";
    stream.write_all(&words::framed(header))?;
    let noise = crate::noise(1 << 20, kind);
    match kind % 3 {
        0 => stream.write_all(&words::framed(&[&words::absent(kind)[..], &noise].concat()))?,
        1 => stream.write_all(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])?,
        _ => {
            for _ in 0..64 {
                let block = adit_unixfs::Block::new(0x55, noise.clone());
                stream.write_all(&words::framed(&[&block.cid.to_bytes()[..], &block.data].concat()))?;
            }
        }
    }
    let mut answer = [0; 1024];
    let _ = std::io::Read::read(&mut stream, &mut answer)?;
    Ok(())
}
