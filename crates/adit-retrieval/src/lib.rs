//! Blocks from trustless gateways over HTTP: <https://specs.ipfs.tech/http-gateways/trustless-gateway/>.
//!
//! A [`Gateway`] is one such server. It is asked for raw blocks, many at a time on kept connections; each is hashed
//! before anybody sees it, so a gateway can withhold and delay, but never deceive. A [`Router`] names gateways that
//! have some content (`/routing/v1`, the way in which Filecoin's storage providers are found).
//!
//! What this crate never does: hand out bytes that are not their CID's, follow a redirect, read more of an answer than
//! a block can be, wait for a server that drips, or connect to a private address because a stranger named it
//! ([`Trust`]).
//!
//! Start reading at `gateway.rs`; `connect.rs` has the rule about addresses.

mod backend;
mod connect;
mod endpoint;
mod error;
mod gateway;
mod holdings;
mod limits;
mod router;

pub use connect::{Client, Trust};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::FetchError;
pub use gateway::{Ask, Gateway, Held, Tally};
pub use holdings::Holdings;
pub use limits::Limits;
pub use router::Router;
