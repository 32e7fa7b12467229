//! A Kubo node as the store below a repo, through its RPC (`/api/v0`).
//!
//! [`Kubo`] is an [`adit_store::Backend`] that also keeps: blocks are read from it, added content goes to it and is pinned
//! there before anybody is told that it is safe. Every command is sent with `offline=true`: what Kubo
//! lacks is the business of the node's own network.
//!
//! What this crate never does: hand out bytes that are not their CID's, follow a redirect, read more of an answer than
//! it can need, wait without an end, or say a secret in a message.
//!
//! Start reading at `kubo.rs`; `client.rs` has the HTTP and its limits, `circuit.rs` who waits for a Kubo that is away.

mod absent;
mod circuit;
mod client;
mod kubo;
mod upload;

pub use circuit::Away;
pub use client::{InvalidKubo, Options};
pub use kubo::Kubo;
