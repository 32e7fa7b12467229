//! The whole exchange, between real swarms over loopback.

mod hostile;
mod network;
mod outside;
mod raw;
mod transfers;
