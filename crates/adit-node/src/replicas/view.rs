//! What others see of copies: plain values that the HTTP API serialises.

use adit_model::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::set::{Keeper, Set};

/// How a root stands that shall have several copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicasView {
    /// Copies wanted, this node's own included.
    pub wanted: u32,
    /// Copies that there are, this node's own included.
    pub placed: u32,
    /// Bytes of one copy.
    pub bytes: u64,
    /// Other nodes that have taken a copy, in the order in which they did.
    pub keepers: Vec<KeeperView>,
    /// Nodes that were asked lately and have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedView>,
}

/// Where a keeper stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeeperState {
    /// It has a copy, and answered when it was asked last.
    Keeping,
    /// It does not answer; it is not given up yet.
    Silent,
    /// It has not answered for so long that another takes its place. It no longer counts.
    Gone,
}

/// A node that has taken a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeeperView {
    /// Which.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Where it stands.
    pub state: KeeperState,
    /// When it took its copy, in Unix seconds.
    pub since: u64,
    /// When it last showed that it has it, in Unix seconds.
    pub seen: u64,
    /// Until when it has promised to keep it, in Unix seconds; renewed long before.
    pub until: u64,
    /// Why it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A node that has no copy, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedView {
    /// Which.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// What it said, or why it could not be asked.
    pub reason: String,
}

impl From<&Keeper> for KeeperView {
    fn from(keeper: &Keeper) -> Self {
        let state = match keeper {
            Keeper { gone: true, .. } => KeeperState::Gone,
            Keeper { silent: Some(_), .. } => KeeperState::Silent,
            _ => KeeperState::Keeping,
        };
        KeeperView {
            node: keeper.node,
            state,
            since: keeper.since,
            seen: keeper.seen / 1000,
            until: keeper.until,
            reason: keeper.reason.clone(),
        }
    }
}

impl From<&Set> for ReplicasView {
    fn from(set: &Set) -> Self {
        let refused =
            |(node, reason): (&NodeId, &str)| RefusedView { node: *node, reason: reason.to_owned() };
        ReplicasView {
            wanted: set.copies,
            placed: 1 + set.standing() as u32,
            bytes: set.bytes,
            keepers: set.keepers.iter().map(KeeperView::from).collect(),
            refused: set.refusals().map(refused).collect(),
        }
    }
}
