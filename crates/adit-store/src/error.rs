//! What can go wrong in the store, and when somebody is asked for a block.

use std::{io, sync::Arc};

use cid::Cid;

/// An operation of a [`BlockStore`](crate::BlockStore) failed.
///
/// Cloneable, because one failed sync answers everybody who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused; `op` names the step.
    #[error("block store: {op} failed: {source}")]
    Io {
        op: &'static str,
        #[source]
        source: Arc<io::Error>,
    },

    /// The index database refused; `op` names the step.
    #[error("block index: {op} failed: {source}")]
    Index {
        op: &'static str,
        #[source]
        source: Arc<redb::Error>,
    },

    /// The stored bytes are not what the CID names. They are never handed out;
    /// `adit repo verify` finds such blocks and can drop them.
    #[error("block {cid} is corrupt on disk; `adit repo verify` lists and drops corrupt blocks")]
    Corrupt { cid: Cid },

    /// Larger than [`MAX_BLOCK_LEN`](crate::MAX_BLOCK_LEN).
    #[error("block {cid} has {len} bytes; the store takes at most {limit}")]
    TooLarge { cid: Cid, len: usize, limit: usize },

    /// A hash function that cannot be checked, or a CID too long to store.
    #[error("the store cannot keep {cid}: {why}")]
    UnsupportedCid { cid: Cid, why: &'static str },

    /// No room: the disk is full, or the operator's limit is reached. What was acknowledged is
    /// safe, reads go on, and garbage collection can make room.
    #[error("no space left for blocks ({why}); free some with `adit repo gc` or raise the limit")]
    Full { why: &'static str },

    /// The disk failed to make data durable, so nothing can be promised any more. Reads go on;
    /// a restart re-checks what is on disk.
    #[error("the store stopped taking blocks after a failed sync ({source}); restart the node")]
    Failed {
        #[source]
        source: Arc<io::Error>,
    },

    /// Who lies below the repo failed; see [`Backend`](crate::Backend).
    #[error(transparent)]
    Backend(Box<crate::BackendError>),

    /// The store was closed.
    #[error("the block store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(op: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { op, source: Arc::new(source) }
    }

    pub(crate) fn index<E: Into<redb::Error>>(op: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Index { op, source: Arc::new(source.into()) }
    }
}

/// A [`BlockSource`](crate::BlockSource) could not supply a block.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// Everybody who was asked does not have it.
    #[error("block {0} was not found")]
    NotFound(Cid),

    /// Somebody may have it, but did not deliver (`reason` says who and why).
    #[error("block {cid} is unavailable: {reason}")]
    Unavailable { cid: Cid, reason: String },

    /// The operator of this node does not want it served or used.
    #[error("block {0} is denied by this node's operator")]
    Denied(Cid),

    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SourceError {
    /// The block that was asked for, where the error knows it.
    pub fn cid(&self) -> Option<&Cid> {
        match self {
            Self::NotFound(cid) | Self::Unavailable { cid, .. } | Self::Denied(cid) => Some(cid),
            Self::Store(StoreError::Corrupt { cid }) => Some(cid),
            Self::Store(_) => None,
        }
    }
}
