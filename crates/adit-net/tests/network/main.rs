//! Real swarms over loopback. One binary, since linking libp2p takes longer than running these.

mod discovery;
mod hostile;
mod jobs;
mod lifecycle;
mod namespace;
mod nodes;
mod private;
mod reach;
mod relay;
mod spam;
