//! Beside the real programs of IPFS, which `cargo xtask` installs.

mod dht;
mod names;
mod private_swarm;
