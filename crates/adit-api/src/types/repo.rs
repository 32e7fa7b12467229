//! The repository: how full it is, what is garbage, what came in from a CAR.

use super::{CidText, is_false};
use cid::Cid;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How full the repository is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepoView {
    /// Version of the repository's layout.
    pub format: u32,
    /// Stored blocks.
    pub blocks: u64,
    /// Bytes that blocks take on the disk, garbage included.
    pub used: u64,
    /// Most bytes that they may take; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Bytes free on that disk.
    pub free: u64,
    /// Pins.
    pub pins: u64,
    /// What is under way and keeps blocks meanwhile.
    pub leases: Vec<String>,
    /// The IPFS node below this one, which keeps what is pinned; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendView>,
}

/// The IPFS node that keeps content for this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendView {
    /// Which one it is.
    pub name: String,
    /// Why it does not answer; absent where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Blocks that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
    /// Bytes on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Most bytes that its operator gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Its pins, those of other users included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<u64>,
}

/// What garbage collection did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Collected {
    /// Blocks removed.
    pub blocks_deleted: u64,
    /// Blocks kept.
    pub blocks_kept: u64,
    /// Pins whose time was over.
    pub pins_expired: u64,
    /// Bytes of disk given back.
    pub bytes_freed: u64,
    /// Bytes of kept blocks that were moved together.
    pub bytes_moved: u64,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// What to do about corrupt blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VerifyQuery {
    /// Delete corrupt blocks, so that they can be fetched again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drop_corrupt: bool,
}

/// What looking at every block found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// Blocks looked at.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks whose bytes are not their CID's.
    #[schema(value_type = Vec<String>)]
    pub corrupt: Vec<CidText>,
    /// How many of them were deleted.
    pub dropped: u64,
    /// Pins that are not all there.
    pub incomplete: Vec<IncompletePin>,
}

/// A pin that is not all there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncompletePin {
    /// Its root.
    #[serde(with = "adit_model::text::cid")]
    #[schema(value_type = String)]
    pub cid: Cid,
    /// What is missing.
    pub reason: String,
}

/// What a CAR brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// The CAR's roots, pinned if asked for.
    #[schema(value_type = Vec<String>)]
    pub roots: Vec<CidText>,
    /// Blocks read.
    pub blocks: u64,
    /// Bytes of all blocks.
    pub bytes: u64,
}

/// How to import a CAR.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Pin the roots; true unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<bool>,
}
