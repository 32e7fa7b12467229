//! What may lie below a repo: another program that holds blocks, such as a Kubo or a gateway.
//!
//! The repo's own disk is always asked first; a [`Backend`] answers for what is not there. One that can also keep
//! ([`Keeper`]) takes over what is pinned: the blocks go there and are pinned there before anything is
//! acknowledged, and the copies here become garbage. Under one that cannot, pins stay on the repo's own disk.

use std::fmt;

use adit_unixfs::Block;
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::stream::BoxStream;

use crate::{Incomplete, PinKind, StoreError};

/// What kind of failure it was, for who decides whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendFailure {
    /// Nobody answered, or the connection broke, or it took too long: it may pass.
    Unreachable,
    /// It has no room.
    Full,
    /// It does not hold everything below a root.
    Incomplete,
    /// It answered, and would not or could not.
    Refused,
    /// Its answer cannot be what it claims to be: wrong bytes, too much of them, no form.
    Wrong,
}

/// A backend did not do what it was asked for. `backend` says which, `reason` what happened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{backend}: {reason}")]
pub struct BackendError {
    pub backend: String,
    pub failure: BackendFailure,
    pub reason: String,
}

/// Whoever holds blocks below a repo. Answers are about what it holds itself: it must not ask a network for them.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// What messages call it: `the Kubo at http://127.0.0.1:5001`.
    fn name(&self) -> &str;

    /// The block's bytes, **verified** against `cid`, or `None` where it lacks the block.
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BackendError>;

    /// The block's length in bytes.
    async fn size(&self, cid: &Cid) -> Result<Option<u64>, BackendError>;

    /// Whether it has the block. Peers ask this often and mostly in vain: it has to be cheap.
    async fn has(&self, cid: &Cid) -> Result<bool, BackendError> {
        Ok(self.size(cid).await?.is_some())
    }

    /// What it can do beyond reading.
    fn keeper(&self) -> Option<&dyn Keeper> {
        None
    }
}

/// A pin of a keeper: one for each root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub cid: Cid,
    pub kind: PinKind,
    /// Empty for none.
    pub name: String,
}

/// How full a keeper is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperStat {
    pub blocks: u64,
    /// Bytes that it takes on its disk.
    pub used: u64,
    /// Its operator's limit for `used`.
    pub limit: Option<u64>,
    pub pins: u64,
}

/// What a keeper's own check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeeperReport {
    pub blocks: u64,
    pub corrupt: Vec<Cid>,
    pub incomplete: Vec<Incomplete>,
}

/// Blocks on their way to a keeper.
pub type BlockStream = BoxStream<'static, Result<Block, StoreError>>;

/// A backend that keeps what it is given. All of this is about the backend's own disk: nothing is fetched.
#[async_trait]
pub trait Keeper: Send + Sync {
    /// Takes blocks and pins `root`, as one act against its own collection. When this returns, both are as
    /// durable as the backend makes anything.
    ///
    /// # Errors
    /// [`BackendFailure::Incomplete`] where something below the root is neither in `blocks` nor there.
    async fn take(&self, root: &Cid, kind: PinKind, blocks: BlockStream) -> Result<(), BackendError>;

    /// Pins what it holds already, under this name; an earlier name is replaced, unless this one is empty. `false` where it
    /// does not hold everything below the root.
    async fn pin(&self, root: &Cid, kind: PinKind, name: &str) -> Result<bool, BackendError>;

    /// Gives a pin up; whether there was one.
    async fn unpin(&self, root: &Cid) -> Result<bool, BackendError>;

    /// The pin of this root.
    async fn pinned(&self, root: &Cid) -> Result<Option<Kept>, BackendError>;

    /// All pins.
    async fn pins(&self) -> Result<Vec<Kept>, BackendError>;

    /// Removes one block that nothing pins; none is fine.
    async fn remove(&self, cid: &Cid) -> Result<(), BackendError>;

    /// Collects its garbage; how many blocks that were.
    async fn collect(&self) -> Result<u64, BackendError>;

    /// Reads everything again.
    async fn verify(&self) -> Result<KeeperReport, BackendError>;

    async fn stat(&self) -> Result<KeeperStat, BackendError>;

    /// Tells its network that it holds this root.
    async fn provide(&self, root: &Cid) -> Result<(), BackendError>;
}

impl From<BackendError> for StoreError {
    fn from(error: BackendError) -> Self {
        Self::Backend(Box::new(error))
    }
}
