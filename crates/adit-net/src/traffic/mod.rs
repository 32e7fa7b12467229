//! Bytes in and out per peer, counted where they pass: at the multiplexer's streams.

mod counters;
mod muxer;

pub(crate) use counters::{PeerTraffic, Traffic};
pub(crate) use muxer::CountingMuxer;
