//! Bitswap 1.2, client and server: how blocks travel between nodes.
//!
//! The behaviour here is ours because nobody else's serves this node: it reads from and writes to
//! a real asynchronous [`BlockStore`], keeps books of bytes for every peer, and interoperates with
//! Kubo and Helia, whose habits shape many of its rules (see [`Config`] and `docs/decisions`).
//!
//! It never hands out or stores a block that does not match its CID, never loads more for a peer
//! than that peer may be sent next, and never lets one peer's silence or flood stop another.
//!
//! # Who owns what
//!
//! ```text
//!  Session ──commands──▶ engine task ──wantlists──▶ outbox of a connection ─┐
//!     ▲                    │    ▲                                           ▼
//!     │ blocks             ▼    └──── verified messages ────────────── handler ◀──▶ peer
//!     └───────────── writer task                                           │  ▲
//!                          │ put, in batches                         wants ▼  │ answers
//!                          ▼                                          server task (a connection)
//!                        store ◀──────────────── size, get ───────────────┘
//! ```
//!
//! - [`client`] decides what to ask of whom: pure state, no I/O, no clock of its own.
//!   [`engine`] is the task around it, [`session`] the handle that readers hold.
//! - [`ledger`] decides what to answer: pure state. [`server`] is the task around it, one for
//!   every connection that ever wanted something.
//! - [`handler`] moves messages on one connection, [`receive`] hashes what arrives, both in the
//!   connection's own task; [`behaviour`] only announces connections and dials, so that bulk data never passes
//!   through the task that polls the swarm.
//! - [`outside`] lets sources that are no peers (gateways over HTTP) take part.
//! - [`wire`] is the format, [`pace`] the least speed, [`budget`] the bytes, [`config`] every limit with its reason.
//!
//! Start reading at [`client`], then [`ledger`].

mod behaviour;
mod budget;
mod client;
mod config;
mod engine;
mod handler;
mod ledger;
mod link;
mod outside;
mod pace;
mod receive;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod wire;
mod writer;

use std::sync::Arc;

use adit_store::BlockStore;
use async_trait::async_trait;
use cid::Cid;
use libp2p::PeerId;

pub use behaviour::Behaviour;
pub use config::{Config, PROTOCOL};
pub use outside::{Outside, OutsideError, OutsideFinder};
pub use session::{Handle, PeerTraffic, Session};

/// Somebody who finds more providers of a block: the DHT, for the node.
///
/// The peers it returns are dialled by their id alone, so other behaviours of the swarm (Kademlia)
/// must know their addresses by then.
#[async_trait]
pub trait ProviderFinder: Send + Sync + 'static {
    async fn find(&self, cid: Cid) -> Vec<PeerId>;
}

/// A network without a directory: only connected and hinted peers are asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFinder;

#[async_trait]
impl ProviderFinder for NoFinder {
    async fn find(&self, _: Cid) -> Vec<PeerId> {
        Vec::new()
    }
}

/// Starts the exchange on the current tokio runtime. The behaviour goes into the swarm; the handle
/// opens sessions. All tasks end when the behaviour is dropped, and open requests fail.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(
    store: Arc<dyn BlockStore>,
    finder: Arc<dyn ProviderFinder>,
    config: Config,
) -> (Behaviour, Handle) {
    engine::start(store, finder, Arc::new(config))
}
