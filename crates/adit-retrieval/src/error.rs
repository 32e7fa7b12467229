//! Why a gateway did not give a block.

use std::time::Duration;

/// One request failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The gateway says that it does not have the block, or will not give it.
    #[error("it does not have the block (status {0})")]
    Absent(u16),
    /// The bytes are not the block's. Nobody sends that by accident.
    #[error("it sent something that is not the block")]
    Wrong,
    /// The answer is longer than any block.
    #[error("its answer is longer than {limit} bytes")]
    TooLong {
        /// The longest that would have been taken.
        limit: usize,
    },
    /// No answer began in time.
    #[error("it did not answer within {0:?}")]
    Silent(Duration),
    /// The answer came too slowly, or stopped.
    #[error("its answer came too slowly")]
    Slow,
    /// It points elsewhere. Redirects are not followed: they could lead anywhere.
    #[error("it redirects (status {0}), which is not followed")]
    Redirect(u16),
    /// It has too much to do.
    #[error("it is busy (status {status})")]
    Busy {
        /// 429 or 503.
        status: u16,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// Any other status.
    #[error("it answers with status {0}")]
    Status(u16),
    /// There is no connection, or it broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// Its name leads to an address that strangers may not send this node to.
    #[error("its address is not a public one")]
    NotPublic,
    /// It failed or lied lately, and is left alone for now.
    #[error("it is not asked at the moment: {0}")]
    Paused(String),
    /// The answer is not of the expected form.
    #[error("its answer cannot be read: {0}")]
    Answer(String),
}

impl FetchError {
    /// Whether the gateway did its work, and just has not got the block.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }

    /// Whether the gateway sent what it must not send.
    pub fn is_lie(&self) -> bool {
        matches!(self, Self::Wrong | Self::TooLong { .. })
    }
}
