//! Copies of pins on other nodes: who shall keep what, whom to ask, and what to keep for others.
//!
//! Everything here but [`shelf`] is without I/O. An *owner* pins content with `--replicas N`: N copies in all, its own
//! pin being one. [`set`] is one such wish as a state machine (renew, replace who is gone, drop who is too many), and
//! [`rank`] says which nodes are asked first. A *keeper* answers by its operator's rules ([`giving`]). [`message`] is
//! what the two say to each other on `/adit/keep/1`; the signed order is `adit_model::KeepOrder`.
//!
//! The tasks around it are `node/replicate.rs` (owner) and `node/keeper.rs` (keeper). A copy is a pin with a name of its
//! own ([`pin_name`]) that expires unless it is renewed, so whatever becomes of either node, nothing is kept forever.

pub mod giving;
pub mod message;
pub mod rank;
pub mod set;
pub mod shelf;
pub mod view;

use adit_model::NodeId;

/// Most copies of one root.
pub const MOST_COPIES: u32 = 32;
/// Most roots that one node has copied to others.
pub const MOST_SETS: usize = 10_000;
/// How pins that are kept for other nodes are named: this, and the node's name.
pub const KEPT_PREFIX: &str = "kept-for/";

/// The name of the pin by which a node keeps something for `owner`.
pub fn pin_name(owner: &NodeId) -> String {
    format!("{KEPT_PREFIX}{owner}")
}

/// Whom a pin of this name is kept for.
pub fn kept_for(name: &str) -> Option<&str> {
    name.strip_prefix(KEPT_PREFIX)
}
