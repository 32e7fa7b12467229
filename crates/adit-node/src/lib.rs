//! The node: it places jobs, runs them through the enclave, and answers for what it promised.
//!
//! A [`Node`] ties together the block store, the network and the enclave process. For a
//! *requester* it turns a [`RunRequest`] into a signed Invocation, finds the host that costs
//! least ([`placement`]), talks to it ([`protocol`]) and believes only what it has verified. As a
//! *host* it admits jobs by the operator's rules ([`host`]), hands them to an enclave session and
//! serves the blocks they want.
//!
//! What it never does: run guest code, link a Wasm engine, open anything sealed, or believe a
//! receipt because of who sent it.
//!
//! Start reading at [`request`] and [`view`] for what goes in and comes out, then [`placement`]
//! and [`protocol`], which are pure state machines, then `node/mod.rs` for a job's way through.

pub mod clock;
pub mod config;
mod content;
mod deny;
pub mod enclave;
pub mod functions;
mod gateways;
pub mod host;
pub mod identity;
mod jobs;
pub mod names;
mod node;
pub mod placement;
pub mod protocol;
pub mod replicas;
pub mod request;
pub mod view;

pub use adit_retrieval::Tally;
pub use config::Config;
pub use deny::DenyError;
pub use gateways::BadGateway;
pub use identity::Identity;
pub use jobs::HistoryError;
pub use node::{FunctionWorker, MOST_PROVIDERS, Node, ReplicateError, RoutingError, RunError, StartError};
pub use request::{Placement, RunRequest};
pub use view::*;
