//! What requests and answers look like, for the server and for [`crate::client`].
//!
//! What is known about jobs and the node has its shapes in `adit-node`, where it is made; they are repeated here
//! under one roof.

mod content;
mod functions;
mod network;
mod node;
mod repo;
mod run;

pub use self::content::*;
pub use self::functions::*;
pub use self::network::*;
pub use self::node::*;
pub use self::repo::*;
pub use self::run::*;
pub use adit_node::replicas::view::{KeeperState, KeeperView, RefusedView, ReplicasView};
pub use adit_node::replicas::{KEPT_PREFIX, kept_for};
pub use adit_node::view::{
    Attempt, AttemptResult, Check, CountsView, EnclaveStatus, Failure, Fault, JobId, JobState, JobStats,
    JobView, KeyView, Located, LogStream, NodeStatus, NodeView, Plan, PlannedCandidate, PublishedName,
    ResultView, Role, Verdict,
};
use cid::Cid;
use serde::{Deserialize, Serialize};

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A CID that is text in JSON, also inside of maps and lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CidText(#[serde(with = "adit_model::text::cid")] pub Cid);

impl From<Cid> for CidText {
    fn from(cid: Cid) -> Self {
        Self(cid)
    }
}
