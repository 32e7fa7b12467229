//! Job streams: framed messages between two Adit nodes on `/adit/job/1`, and on `/adit/keep/1`, where nodes ask each
//! other to keep copies of content. Both are framed, bounded and counted in the same way.
//!
//! A stream belongs to the task that uses it: bytes go between that task and the connection's
//! task, never through the swarm task. `wire` is the framing without I/O, `stream` what callers
//! hold, `budget` the limits, `handler` and `behaviour` how a stream comes to be.

mod behaviour;
mod budget;
mod handler;
mod stream;
mod wire;

pub(crate) use behaviour::{Behaviour, Opener};
pub(crate) use budget::Budget;
pub use stream::{JobReceiver, JobSender, JobStream, StreamError};
pub use wire::{FrameError, MAX_MESSAGE};

use libp2p::StreamProtocol;

/// The job protocol. A peer that lists it in identify is an Adit node.
pub const JOB_PROTOCOL: StreamProtocol = StreamProtocol::new("/adit/job/1");
/// The protocol in which a node asks another to keep a copy of something.
pub const KEEP_PROTOCOL: StreamProtocol = StreamProtocol::new("/adit/keep/1");

/// A job stream could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] crate::ConnectError),
    /// The peer does not speak the protocol: it is no Adit node, or one of another version.
    #[error("the peer does not speak {0}")]
    NotSpoken(StreamProtocol),
    /// Our own limit of open job streams is reached.
    #[error("too many job streams are open {0}")]
    TooMany(TooMany),
    /// The connection failed while the stream was being opened.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The peer did not answer in time.
    #[error("the peer did not answer within {0} s")]
    Timeout(u64),
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// [`crate::Limits::job_streams`].
    InAll,
    /// [`crate::Limits::job_streams_per_peer`].
    ToThisPeer,
}

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InAll => "in all",
            Self::ToThisPeer => "with this peer",
        })
    }
}
