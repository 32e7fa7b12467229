//! One inbound stream: reads its messages, hashes their blocks, and passes them on.

use std::{io, sync::Arc};

use bytes::Bytes;
use cid::Cid;
use futures::AsyncWriteExt;
use libp2p::swarm::Stream;
use multihash::Multihash;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{
    Config,
    behaviour::Notice,
    budget::Paid,
    config::{MAX_BLOCK, MAX_MESSAGE_IN, MAX_MESSAGE_UNASKED},
    link::Link,
    pace,
    server::Servers,
    wire::{self, Prefix},
};

/// The one hash function that this node verifies, as everybody's blocks use it.
pub(crate) const SHA2_256: u64 = 0x12;

/// A block that is less than this part of its message is copied out, so that keeping it does not
/// keep the whole message.
const COPY_BELOW: usize = 8;

/// One message for the engine.
#[derive(Debug)]
pub(crate) struct FromPeer {
    pub(crate) link: Arc<Link>,
    pub(crate) received: Received,
}

/// The part of a message that the client side is interested in, its blocks hashed.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) blocks: Vec<(Cid, Bytes)>,
    /// Blocks that nobody had asked for and that were not even hashed.
    pub(crate) unasked: u32,
    /// Their bytes, and those of messages too large to be read.
    pub(crate) unread: usize,
    pub(crate) haves: Vec<Cid>,
    pub(crate) dont_haves: Vec<Cid>,
    /// The message's share of the receive budget, until its blocks are stored.
    pub(crate) paid: Option<Paid>,
}

impl Received {
    fn is_empty(&self) -> bool {
        self.blocks.is_empty()
            && self.unasked == 0
            && self.unread == 0
            && self.haves.is_empty()
            && self.dont_haves.is_empty()
    }
}

/// Where the inbound side of one connection delivers. Owned by its handler, so that the server
/// task ends with the connection.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) config: Arc<Config>,
    pub(crate) link: Arc<Link>,
    pub(crate) engine: mpsc::Sender<FromPeer>,
    pub(crate) notices: mpsc::UnboundedSender<Notice>,
    pub(crate) server: Servers,
}

impl Inbound {
    /// Tells the engine whether the peer speaks Bitswap. Unbounded, but said only on change,
    /// which costs the peer a round trip.
    pub(crate) fn announce(&self, speaks: bool) {
        let _ = self.notices.send(Notice::Speaks(self.link.peer, speaks));
    }
}

/// Reads messages until the stream ends. The stream is kept after a message: Kubo stops asking a
/// peer that drops it.
pub(crate) async fn run(mut stream: Stream, inbound: Arc<Inbound>) {
    loop {
        match message(&mut stream, &inbound).await {
            Ok(true) => {}
            Ok(false) => {
                let _ = stream.close().await;
                return;
            }
            Err(error) => {
                tracing::debug!(peer = %inbound.link.peer, %error, "inbound stream failed");
                return;
            }
        }
    }
}

/// Reads and handles one message; false at the end of the stream.
async fn message(stream: &mut Stream, inbound: &Inbound) -> io::Result<bool> {
    let Some(len) = wire::read_len(stream).await? else { return Ok(false) };
    let link = &inbound.link;
    if len > MAX_MESSAGE_IN {
        return Err(invalid(format!("a message of {len} bytes")));
    }
    let asked = link.is_asked();
    if !asked && len > MAX_MESSAGE_UNASKED {
        // Passed over in small steps: resetting the stream would silence Kubo for good.
        pace::skip(stream, len, &inbound.config, link).await?;
        let received = Received { unread: len, ..Received::default() };
        deliver(inbound, received).await;
        return Ok(true);
    }
    let paid = link.account.receive(len, asked).await;
    let mut body = vec![0; len];
    pace::read(stream, &mut body, &inbound.config, link).await?;
    let message = wire::decode(body.into()).map_err(invalid)?;

    if !message.wants.is_empty() || message.full {
        inbound.server.wants(link, message.wants, message.full).await;
    }
    let mut received =
        Received { haves: message.haves, dont_haves: message.dont_haves, ..Received::default() };
    for (prefix, data) in message.blocks {
        if !asked || data.len() > MAX_BLOCK {
            received.unasked += 1;
            received.unread += data.len();
            continue;
        }
        let data = if data.len() < len / COPY_BELOW { Bytes::copy_from_slice(&data) } else { data };
        match block_cid(prefix, &data) {
            Some(cid) => received.blocks.push((cid, data)),
            None => received.unread += data.len(),
        }
    }
    received.paid = Some(paid);
    deliver(inbound, received).await;
    Ok(true)
}

async fn deliver(inbound: &Inbound, received: Received) {
    if !received.is_empty() {
        let link = Arc::clone(&inbound.link);
        // Fails only when the exchange is shutting down.
        let _ = inbound.engine.send(FromPeer { link, received }).await;
    }
}

/// The CID that a received block really has; `None` where we cannot compute the hash.
pub(crate) fn block_cid(prefix: Prefix, data: &[u8]) -> Option<Cid> {
    if (prefix.hash, prefix.hash_len) != (SHA2_256, 32) {
        return None;
    }
    let hash = Multihash::wrap(SHA2_256, &Sha256::digest(data)).ok()?;
    match prefix.version {
        0 => Cid::new_v0(hash).ok(),
        1 => Some(Cid::new_v1(prefix.codec, hash)),
        _ => None,
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
