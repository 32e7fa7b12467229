//! Advertisements: what nodes say of themselves, checked before it is kept or passed on.
//!
//! `book` decides what is kept, without I/O or clock; `alias` whether the Kubo that a node names as its neighbour says so too. News spread by gossip; a node that connects
//! is handed what we know on a stream of its own (`push`, `behaviour`), so that it need not wait
//! for the next round.

mod alias;
mod behaviour;
mod book;
mod push;

pub(crate) use alias::verify_alias;
pub use alias::{AliasError, check_alias};
pub(crate) use behaviour::Behaviour;
pub use book::AdvertError;
pub(crate) use book::{AdvertBook, Outcome};

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use adit_model::{Advertisement, NodeId, Verified};
use libp2p::PeerId;

/// The largest advertisement that is kept or passed on, in bytes.
pub const MAX_ADVERTISEMENT: usize = 8 * 1024;

/// An advertisement whose signature was checked.
pub type Advert = Arc<Verified<Advertisement>>;

/// A node's name in records, as the peer id that libp2p knows it by.
pub fn peer_of(node: &NodeId) -> PeerId {
    PeerId::from_bytes(&node.to_bytes()).expect("a node id is the peer id of an Ed25519 key")
}

/// A peer's name in records; `None` for peers whose key is not Ed25519: no Adit nodes.
pub fn node_of(peer: &PeerId) -> Option<NodeId> {
    NodeId::from_bytes(&peer.to_bytes()).ok()
}

/// Unix time in seconds, for expiry. A clock before 1970 counts as 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
