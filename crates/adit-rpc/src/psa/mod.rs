//! The IPFS Pinning Service API under `/psa/v1`: others ask this node to fetch and keep what they name.
//!
//! [`record`] is what a request is and which ones a filter means, without I/O; [`shelf`] keeps requests on disk, synced
//! before they are acknowledged; [`keeper`] fetches and pins, a few at a time, and goes on after a restart where it
//! was; [`routes`] is the HTTP. A request's pin carries the request's id as its name, so several requests for one root
//! do not take each other's away.
//!
//! Specification: <https://ipfs.github.io/pinning-services-api-spec/>.

mod keeper;
mod record;
mod routes;
mod shelf;

pub use keeper::Pinning;
pub use routes::router;
pub use shelf::ShelfError;

/// How the pins of requests are named: this, and the request's id.
pub(crate) const PIN_PREFIX: &str = "pinning-service/";
