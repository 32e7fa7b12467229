//! The node itself: who it is, its settings, tokens and receipts.

use adit_model::{AccountId, EnvelopeCid, InvocationCid, NodeId, OutcomeCid, TaskCid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdView {
    /// Peer id.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// The operator's account.
    #[schema(value_type = String)]
    pub operator: AccountId,
    /// The network it belongs to.
    pub network: String,
    /// Where it can be reached, each with its peer id.
    pub addresses: Vec<String>,
    /// What it calls itself.
    pub agent: String,
    /// Version of this program.
    pub version: String,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingView {
    /// Its name.
    pub key: String,
    /// Its value, as `config set` takes it.
    pub value: String,
    /// Where the value came from: `default`, `file`, `env NAME` or `flag`.
    pub origin: String,
    /// What it means.
    pub what: String,
}

/// A new value for a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBody {
    /// The value as text.
    pub value: String,
}

/// What became of a new value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetReply {
    /// The setting as it stands in the file.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Settings are read when the daemon starts.
    pub restart_needed: bool,
}

/// A receipt, for reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptView {
    /// The envelope's CID.
    #[schema(value_type = String)]
    pub cid: EnvelopeCid,
    /// What was computed.
    #[schema(value_type = String)]
    pub outcome: OutcomeCid,
    /// For which request.
    #[schema(value_type = String)]
    pub invocation: InvocationCid,
    /// The task of both.
    #[schema(value_type = String)]
    pub task: TaskCid,
    /// The operator's account.
    #[schema(value_type = String)]
    pub host: AccountId,
    /// The node that endorsed the job key.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Unix seconds, by the host's clock.
    pub time: u64,
    /// What runs in the enclave.
    pub runtime: String,
    /// The kind of evidence for the job key.
    pub evidence: String,
    /// Whether signatures, endorsement and links hold.
    pub valid: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whether invocation and outcome were here and fit the receipt as well.
    pub job_checked: bool,
}

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueBody {
    /// What it is for.
    pub name: String,
    /// What it allows.
    pub scope: crate::access::Scope,
}

/// A node that takes no new jobs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Drained {
    /// Jobs that have not ended, those given to other nodes among them.
    pub jobs: usize,
}
