//! Content that is added, read and pinned.

use super::{ReplicasView, is_false};
use cid::Cid;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How content is added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AddQuery {
    /// `unixfs-v1-2025` (default), or `legacy` for Kubo's old CIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Keep it until it is unpinned; true unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<bool>,
    /// Keep modes and modification times.
    #[serde(default, skip_serializing_if = "is_false")]
    pub preserve: bool,
}

/// What was added. Everything is durable when this is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Added {
    /// The root.
    #[serde(with = "adit_model::text::cid")]
    #[schema(value_type = String)]
    pub cid: Cid,
    /// Bytes of file content.
    pub bytes: u64,
    /// Files and symbolic links.
    pub files: u64,
    /// Directories.
    pub directories: u64,
}

/// Part of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RangeQuery {
    /// First byte; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Number of bytes; to the end unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// Its name, as it stands in the directory: whoever shows it on a terminal escapes it.
    pub name: String,
    /// Its content.
    #[serde(with = "adit_model::text::cid")]
    #[schema(value_type = String)]
    pub cid: Cid,
    /// Bytes of the content's tree as the directory states it; a claim by whoever made the directory.
    pub size: u64,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatView {
    /// Its content.
    #[serde(with = "adit_model::text::cid")]
    #[schema(value_type = String)]
    pub cid: Cid,
    /// `file`, `directory` or `symlink`.
    pub kind: String,
    /// Bytes of content: of a file, or of a link's target; 0 for a directory.
    pub size: u64,
    /// Blocks that the first one links to.
    pub links: u64,
    /// Whether it is a directory spread over several blocks (HAMT).
    #[serde(default, skip_serializing_if = "is_false")]
    pub sharded: bool,
    /// UNIX permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Modification time, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
    /// Where a link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// A pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PinView {
    /// What is kept, with everything below it.
    #[serde(with = "adit_model::text::cid")]
    #[schema(value_type = String)]
    pub cid: Cid,
    /// Whether only the block itself is kept, and nothing below it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub direct: bool,
    /// What it was called when it was pinned; empty for a plain pin. One root may have several pins.
    pub name: String,
    /// When it was made, in Unix seconds.
    pub created: u64,
    /// When it stops counting, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// The node that it is kept for, which renews it; absent for this node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_for: Option<String>,
    /// Where the other copies are, if there shall be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicasView>,
}

/// What a new pin covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pinned {
    /// What is kept.
    #[serde(with = "adit_model::text::cid")]
    #[schema(value_type = String)]
    pub cid: Cid,
    /// Blocks that it covers.
    pub blocks: u64,
    /// How many of them had to be fetched.
    pub fetched: u64,
    /// How many bytes those had.
    pub bytes_fetched: u64,
    /// How the copies stand, if several were asked for. When `placed` is below `wanted`, the node keeps trying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicasView>,
}

/// How to pin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PinQuery {
    /// Tells several pins of one root apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Copies wanted in all, this node's own included, each on another node (1 to 32). It holds for the root, under
    /// whatever names it is pinned, until all are removed; the last word counts, and 1 ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
}

/// What to unpin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UnpinQuery {
    /// Only the pin of this name; all pins unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
