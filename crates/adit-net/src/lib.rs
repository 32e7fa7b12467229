//! The network of an Adit node: who is there, what they have, and streams between them.
//!
//! [`Net::start`] listens and spawns one task that owns the libp2p swarm (`swarm/`); the cloneable
//! [`Net`] is everything that the rest of the node sees of it. Three kinds of work are kept apart:
//!
//! - *Connections, the DHT, gossip* belong to the swarm task. What it knows about peers lies in a
//!   peer book (`peers/`) that handles read without asking it.
//! - *Job streams* (`job/`, `/adit/job/1`) run in the tasks that use them. Bytes go from there to
//!   the connection's own task and never through the swarm task.
//! - *Blocks* move by bitswap (`bitswap/`), within the connections' tasks likewise.
//!
//! Protocol logic (peer book, redialling, announcing, framing, budgets) is plain state without I/O
//! or clock, tested with generated schedules; the async shell around it is thin.
//!
//! This crate never runs guest code, never opens anything sealed, and knows nothing of tasks,
//! receipts or prices beyond the bytes it carries. Everything that comes from a peer is bounded
//! before it is kept: message lengths, queue lengths, streams, connections, addresses, records.
//!
//! Start reading at [`Net`], then `swarm/mod.rs`.

mod address;
mod advert;
mod behaviour;
pub mod bitswap;
mod config;
mod datagrams;
mod dht;
mod error;
mod events;
mod identity;
mod job;
mod metrics;
mod net;
mod network;
mod peers;
mod swarm;
mod swarm_key;
mod traffic;
mod transport;

pub use advert::{Advert, AdvertError, AliasError, MAX_ADVERTISEMENT, check_alias, node_of, peer_of};
pub use bitswap::Session;
pub use config::{DhtMode, DhtOf, Limits, NetConfig, Scope};
pub use error::{ConnectError, LookupError, NetClosed, ProvideError, StartError};
pub use events::{NetEvent, NetEvents};
pub use identity::Identity;
pub use job::{
    FrameError, JOB_PROTOCOL, JobReceiver, JobSender, JobStream, KEEP_PROTOCOL, MAX_MESSAGE, OpenError,
    StreamError, TooMany,
};
pub use libp2p::{Multiaddr, PeerId};
pub use metrics::Metrics;
pub use net::{Net, Reach};
pub use network::{InvalidNetworkName, NetworkName};
pub use peers::{PeerInfo, Transport};
pub use swarm_key::{InvalidSwarmKey, SwarmKey};
