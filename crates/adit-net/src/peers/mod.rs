//! What is known about other peers, and whom to redial. Both are plain state without I/O or clock.

mod addresses;
mod book;
mod crowd;
mod redial;
mod rtt;

pub(crate) use addresses::Addresses;
pub(crate) use book::{PeerBook, Route};
pub use book::{PeerInfo, Transport};
pub(crate) use crowd::{Crowd, Dealings};
pub(crate) use redial::Redial;
pub(crate) use rtt::SmoothedRtt;
