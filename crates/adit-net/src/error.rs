//! One error type per operation; each variant names the step that failed.

use std::io;

use libp2p::{Multiaddr, PeerId};

/// The network could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A transport could not be set up.
    #[error("cannot set up the {transport} transport")]
    Transport {
        /// Which one.
        transport: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A private swarm cannot listen there.
    #[error(
        "cannot listen on {0} with a swarm key: QUIC has no place for it; listen on TCP or WebSocket instead, or \
         do without the key"
    )]
    QuicWithKey(Multiaddr),
    /// An address to listen on was refused (in use, not local, or of an unknown kind).
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address as configured.
        address: Multiaddr,
        /// What the system said.
        reason: String,
    },
    /// No listener reported its address in time.
    #[error("listening on {address} did not begin within {seconds} s")]
    ListenTimeout {
        /// The address as configured.
        address: Multiaddr,
        /// How long we waited.
        seconds: u64,
    },
    /// A bootstrap or configured peer lacks its `/p2p/<peer id>`.
    #[error("the address {0} must end in /p2p/<peer id>")]
    NoPeerId(Multiaddr),
    /// A gossip or multicast setting was refused.
    #[error("cannot set up {part}: {reason}")]
    Setup {
        /// Which part.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// The list of provided roots, or the DHT records of others, could not be read.
    #[error("cannot read what the network kept on disk")]
    State(#[source] io::Error),
}

/// The network task has ended: shut down, or failed (then [`crate::NetEvent::Failed`] says why).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network is not running")]
pub struct NetClosed;

/// A peer could not be reached.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// We know no address of this peer, and nobody whom we asked did.
    #[error("no address is known for {0}")]
    NoAddress(PeerId),
    /// Every address failed.
    #[error("cannot connect: {0}")]
    Dial(String),
    /// The peer that answered is another one.
    #[error("{address} belongs to {actual}")]
    WrongPeer {
        /// The address dialled.
        address: Multiaddr,
        /// Who answered there.
        actual: PeerId,
    },
    /// The address is our own.
    #[error("that is this node")]
    Myself,
    /// No answer in time.
    #[error("no connection within {0} s")]
    Timeout(u64),
    /// Too many dials wait already.
    #[error("too many connection attempts at once")]
    Busy,
    /// The network has ended.
    #[error(transparent)]
    Closed(#[from] NetClosed),
}

/// A question to the DHT got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Too many lookups run already.
    #[error("too many lookups at once")]
    Busy,
    /// A record to publish is not valid, or older than one that is known here.
    #[error("the record is not valid, or a newer one is known")]
    Refused,
    /// The network has ended.
    #[error(transparent)]
    Closed(#[from] NetClosed),
}

/// A root could not be announced.
#[derive(Debug, thiserror::Error)]
pub enum ProvideError {
    /// As many roots as allowed are announced already.
    #[error("{0} roots are provided already, which is the limit")]
    Full(usize),
    /// The list could not be written.
    #[error("cannot write the list of provided roots")]
    State(#[source] io::Error),
    /// The network has ended.
    #[error(transparent)]
    Closed(#[from] NetClosed),
}
