//! What others see of jobs and of the node: plain values, made at the moment they are asked for.
//!
//! These are the shapes that the HTTP API serialises; field names are part of its contract.

use std::collections::BTreeMap;

use adit_model::{AccountId, InvocationCid, NodeId, OutcomeCid, TaskCid};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::placement::Bid;

/// A job is named by its signed invocation: no two runs share one, not even of the same task.
pub type JobId = InvocationCid;

/// What this node is to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Asked for here and run here.
    Local,
    /// Asked for here, run elsewhere.
    Requester,
    /// Run here for another node.
    Host,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Candidates are being found and asked.
    Placing,
    /// Every candidate refused for now; they are asked again (`--wait`).
    Waiting,
    /// Accepted by a host, waiting for a free slot there.
    Queued,
    /// The guest is running.
    Running,
    /// It ran to an outcome, which may be the program's own error.
    Finished,
    /// It did not run to an outcome; [`Failure`] says whose fault that is.
    Failed,
    /// The requester took it back.
    Cancelled,
    /// Its time ran out.
    Expired,
    /// The node stopped while it ran; nothing is known about its end.
    Lost,
}

impl JobState {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        !matches!(self, JobState::Placing | JobState::Waiting | JobState::Queued | JobState::Running)
    }
}

/// Whose fault it is that a job has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// What was asked for cannot work.
    Requester,
    /// Content could not be resolved or nobody was reachable.
    Network,
    /// A host promised and did not deliver.
    Host,
    /// This node itself.
    Node,
}

/// Why a job has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// Whose fault.
    pub fault: Fault,
    /// What failed and why, in a sentence.
    pub reason: String,
}

impl Default for Failure {
    fn default() -> Self {
        Failure::new(Fault::Node, "no reason is known")
    }
}

impl Failure {
    /// A failure by this party.
    pub fn new(fault: Fault, reason: impl Into<String>) -> Self {
        Failure { fault, reason: reason.into() }
    }
}

/// What became of asking one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// The candidate.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// What it offered, if it did.
    pub bid: Option<Bid>,
    /// Estimated cost in microseconds, the figure candidates are ranked by.
    pub cost_us: Option<u64>,
    /// How it ended.
    pub result: AttemptResult,
    /// The reason, when there is one to give.
    pub reason: Option<String>,
}

/// How asking one candidate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptResult {
    /// Asked, no answer yet.
    Asked,
    /// It offered, and another was better.
    Outbid,
    /// It refused.
    Refused,
    /// It did not answer in time.
    Late,
    /// It accepted and could not deliver, or went away.
    Failed,
    /// Its receipt or outcome did not verify; it is not asked again.
    Forged,
    /// It is running the job.
    Running,
    /// It delivered.
    Delivered,
}

/// Figures about one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobStats {
    /// Fuel burnt (0 in the `fast` profile).
    pub fuel: u64,
    /// Bytes of content that the guest's reads needed.
    pub bytes_read: u64,
    /// Bytes of content that crossed the network for this job, at the requester and the host.
    pub bytes_moved: u64,
    /// Time spent compiling, in microseconds; 0 when the code was cached.
    pub compile_us: u64,
    /// Time the guest ran, in microseconds.
    pub run_us: u64,
    /// From request to receipt, in microseconds.
    pub total_us: u64,
    /// Whether the outcome was remembered instead of computed.
    pub remembered: bool,
}

/// What came out of the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ResultView {
    /// The guest ended by itself.
    Ok {
        /// Root of `/out`.
        root: String,
        /// Its exit code.
        exit: u8,
        /// Content of standard output.
        stdout: String,
        /// Content of standard error.
        stderr: String,
    },
    /// The guest was malformed, trapped or met a limit.
    Error {
        /// The kind of error as the Outcome names it.
        error: String,
        /// More words.
        detail: String,
        /// What it had written to standard output, if it had started.
        stdout: Option<String>,
        /// What it had written to standard error, if it had started.
        stderr: Option<String>,
    },
}

/// Everything about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its name.
    #[schema(value_type = String)]
    pub id: JobId,
    /// What this node is to it.
    pub role: Role,
    /// Where it stands.
    pub state: JobState,
    /// The work.
    #[schema(value_type = String)]
    pub task: TaskCid,
    /// The program.
    pub code: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Guest path → content.
    pub inputs: BTreeMap<String, String>,
    /// Who asked for it.
    #[schema(value_type = String)]
    pub issuer: AccountId,
    /// When it was asked for, in Unix milliseconds.
    pub created_ms: u64,
    /// When it ended, in Unix milliseconds.
    pub finished_ms: Option<u64>,
    /// Where it runs or ran.
    #[schema(value_type = Option<String>)]
    pub host: Option<NodeId>,
    /// Why there, in a sentence.
    pub why: Option<String>,
    /// Whom we asked and what they said, in order.
    pub attempts: Vec<Attempt>,
    /// What came out.
    pub result: Option<ResultView>,
    /// Why nothing came out.
    pub failure: Option<Failure>,
    /// The outcome's name.
    #[schema(value_type = Option<String>)]
    pub outcome: Option<OutcomeCid>,
    /// The receipt envelope's name.
    pub receipt: Option<String>,
    /// Figures.
    pub stats: JobStats,
    /// Until when the host keeps the result, in Unix seconds.
    pub kept_until: Option<u64>,
}

/// A stream of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One thing that happened to a job, as [`crate::Node::follow`] tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
    /// It came into this state.
    State(JobState),
    /// A candidate was asked or answered; the index says which line of the list changed.
    Attempt(usize, Attempt),
    /// The guest wrote.
    Log {
        /// To which stream.
        stream: LogStream,
        /// Position of the first byte in the whole stream.
        offset: u64,
        /// The bytes, unfiltered: whoever shows them on a terminal must escape them.
        bytes: Bytes,
    },
    /// The follower was slower than the guest and the buffer is bounded: these bytes are only in
    /// the content of stdout or stderr, once the job has finished.
    Skipped {
        /// Of which stream.
        stream: LogStream,
        /// First byte missed.
        from: u64,
        /// First byte after the gap.
        to: u64,
    },
    /// Nothing more will happen.
    Done(Box<JobView>),
}

/// What a job delivered, with everything needed to check it again.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The job as it ended.
    pub view: JobView,
    /// The outcome's canonical bytes.
    pub outcome: Bytes,
    /// The receipt envelope's canonical bytes: verified, or made by this node's own enclave.
    pub envelope: Bytes,
    /// Content of stdout when it came along, being small.
    pub stdout: Option<Bytes>,
    /// Content of stderr when it came along, being small.
    pub stderr: Option<Bytes>,
}

/// What a dry run found: where the job would go.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The work.
    #[schema(value_type = String)]
    pub task: TaskCid,
    /// Candidates, best first.
    pub candidates: Vec<PlannedCandidate>,
    /// Why the first one, in a sentence; or why nobody.
    pub why: String,
}

/// One line of a [`Plan`].
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlannedCandidate {
    /// The candidate.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Whether it is the node that was asked.
    pub local: bool,
    /// Its bid.
    pub bid: Option<Bid>,
    /// Its refusal.
    pub refused: Option<String>,
    /// Round-trip time in microseconds.
    pub rtt_us: u64,
    /// Estimated cost in microseconds.
    pub cost_us: Option<u64>,
}

/// Counts over a window of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountsView {
    /// Times this node was asked for a bid.
    pub asked: u64,
    /// Bids it made.
    pub bid: u64,
    /// Bids that lost or came to nothing, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Refusals, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Jobs it ran.
    pub run: u64,
}

/// How the node is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Peer id.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Operator's account.
    #[schema(value_type = String)]
    pub operator: AccountId,
    /// Network name.
    pub network: String,
    /// Version of this program.
    pub version: String,
    /// Seconds since start.
    pub uptime_s: u64,
    /// Swarm addresses.
    pub listen: Vec<String>,
    /// Connected peers.
    pub peers: usize,
    /// Other nodes known to run Adit.
    pub adit_nodes: usize,
    /// The accept setting.
    pub accept: String,
    /// Job slots.
    pub slots: usize,
    /// Jobs running here.
    pub running: usize,
    /// Jobs waiting here.
    pub queued: usize,
    /// The enclave.
    pub enclave: EnclaveStatus,
    /// The Kubo that keeps the content, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubo: Option<KuboStatus>,
    /// The last 24 hours.
    pub day: CountsView,
    /// The last 7 days.
    pub week: CountsView,
}

/// How the Kubo beside the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KuboStatus {
    /// Which one, as messages call it.
    pub name: String,
    /// Its peer id, once it has signed that this node stands beside it.
    pub peer: Option<String>,
    /// For how many seconds it has not answered, where requests fail at once because of that.
    pub silent_s: Option<u64>,
    /// Why it did not answer, or did not sign.
    pub reason: Option<String>,
}

/// How the enclave process is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum EnclaveStatus {
    /// It answers.
    Up {
        /// Its process id; absent if the service manager started it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// What executes guests, as receipts name it.
        runtime: String,
        /// How often it was started again since the node started.
        restarts: u64,
    },
    /// It is being started (again).
    Starting {
        /// Why the last one ended, if there was one.
        reason: Option<String>,
    },
    /// It cannot be started.
    Down {
        /// Why.
        reason: String,
    },
}

/// A node known to run Adit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Peer id.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Operator's account.
    #[schema(value_type = String)]
    pub operator: AccountId,
    /// Peer id of the Kubo that signed that the node stands beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubo: Option<String>,
    /// Whether we are connected.
    pub connected: bool,
    /// Round-trip time in microseconds.
    pub rtt_us: Option<u64>,
    /// Whose jobs it says it accepts.
    pub accept: String,
    /// What executes guests there.
    pub runtime: String,
    /// When its advertisement expires, Unix seconds.
    pub expires: u64,
    /// Why we do not ask it any more, if so.
    pub distrusted: Option<String>,
}

/// A peer and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Located {
    /// Its peer id.
    pub peer: String,
    /// Multiaddresses without the peer id, as far as this node knows any.
    pub addresses: Vec<String>,
    /// Nodes that run jobs on what this peer holds: itself, or those that it signed for as standing beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub nodes: Vec<NodeId>,
}

/// A key that names can be published under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// What its owner calls it; `self` is the node's own.
    pub key: String,
    /// The IPNS name that goes with it.
    pub name: String,
}

/// A name and what it now stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedName {
    /// The IPNS name.
    pub name: String,
    /// The path that it stands for.
    pub value: String,
    /// Which of the name's records this is.
    pub sequence: u64,
}

/// One line of `adit doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Verdict.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// A check's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but worth a look.
    Warn,
    /// Does not work.
    Fail,
}
