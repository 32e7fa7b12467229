//! What requests and answers look like, for the server and for [`crate::client`].
//!
//! What is known about jobs and the node has its shapes in `adit-node`, where it is made; they are repeated here
//! under one roof.

use crate::error::{ApiError, Code};
use adit_model::{Abi, AccountId, EnvelopeCid, InvocationCid, NodeId, OutcomeCid, Profile, TaskCid};
pub use adit_node::replicas::view::{KeeperState, KeeperView, RefusedView, ReplicasView};
pub use adit_node::replicas::{KEPT_PREFIX, kept_for};
use adit_node::request::DEFAULT_LIMITS;
pub use adit_node::view::{
    Attempt, AttemptResult, Check, CountsView, EnclaveStatus, Failure, Fault, JobId, JobState, JobStats,
    JobView, KeyView, Located, LogStream, NodeStatus, NodeView, Plan, PlannedCandidate, PublishedName,
    ResultView, Role, Verdict,
};
use adit_node::{Placement, RunRequest};
use bytes::Bytes;
use cid::Cid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// A job to run. Only `code` is required.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunBody {
    /// The program: CID of a Wasm module or component.
    #[serde(with = "adit_model::text::cid")]
    #[schema(value_type = String)]
    pub code: Cid,
    /// `wasip1` or `wasi:cli/command`; read from the program when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub abi: Option<Abi>,
    /// Arguments after the program's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment of the program.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Path below `/in` → CID.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub inputs: BTreeMap<String, CidText>,
    /// CID of what the program reads as standard input.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "adit_model::text::cid::option")]
    #[schema(value_type = Option<String>)]
    pub stdin: Option<Cid>,
    /// Most fuel to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Most memory to use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Most output to write, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// `deterministic` (default) or `fast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub profile: Option<Profile>,
    /// Milliseconds from now until the job is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Where::is_cost")]
    #[schema(value_type = String)]
    pub place: Where,
    /// Keep asking until a candidate accepts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wait: bool,
    /// Compute again even when the outcome is remembered.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fresh: bool,
    /// Bring the result's blocks to this node before the job counts as finished.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fetch_result: bool,
    /// Two requests for the same work with one key are one job; other work with that key is refused (conflict).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

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

/// Where a job runs: `cost`, `near`, `local`, or a peer id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Where(pub Placement);

impl Where {
    fn is_cost(&self) -> bool {
        self.0 == Placement::Cost
    }
}

impl std::fmt::Display for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Placement::Cost => f.pad("cost"),
            Placement::Near => f.pad("near"),
            Placement::Local => f.pad("local"),
            Placement::At(node) => std::fmt::Display::fmt(&node, f),
        }
    }
}

impl std::str::FromStr for Where {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, ApiError> {
        Ok(Self(match text {
            "cost" => Placement::Cost,
            "near" => Placement::Near,
            "local" => Placement::Local,
            peer => Placement::At(peer.parse().map_err(|_| {
                ApiError::new(
                    Code::BadRequest,
                    "`place` is one of cost, near, local, or a peer id (12D3KooW…)",
                )
            })?),
        }))
    }
}

impl Serialize for Where {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Where {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl RunBody {
    /// The program with everything else at its default.
    pub fn new(code: Cid) -> Self {
        Self {
            code,
            abi: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            inputs: BTreeMap::new(),
            stdin: None,
            fuel: None,
            memory: None,
            output: None,
            profile: None,
            timeout_ms: None,
            place: Where::default(),
            wait: false,
            fresh: false,
            fetch_result: false,
            idempotency_key: None,
        }
    }

    /// The node's own form of the request.
    pub(crate) fn into_request(self, live_logs: bool) -> RunRequest {
        let mut request = RunRequest::new(self.code);
        request.abi = self.abi;
        request.args = self.args;
        request.env = self.env;
        request.inputs = self.inputs.into_iter().map(|(path, cid)| (path, cid.0)).collect();
        request.stdin = self.stdin;
        request.limits.fuel = self.fuel.unwrap_or(DEFAULT_LIMITS.fuel);
        request.limits.memory = self.memory.unwrap_or(DEFAULT_LIMITS.memory);
        request.limits.output = self.output.unwrap_or(DEFAULT_LIMITS.output);
        request.profile = self.profile.unwrap_or(Profile::Deterministic);
        if let Some(ms) = self.timeout_ms {
            request.timeout = Duration::from_millis(ms);
        }
        request.placement = self.place.0;
        request.wait = self.wait;
        request.fresh = self.fresh;
        request.fetch_result = self.fetch_result;
        request.idempotency_key = self.idempotency_key;
        request.live_logs = live_logs;
        request
    }
}

/// Bytes in JSON: as text where they are UTF-8, else as base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// The bytes as they are.
    Text(String),
    /// The bytes in base64 (standard alphabet, padded).
    Base64(String),
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(data_encoding::BASE64.encode(bytes)),
        }
    }
}

impl Content {
    /// The bytes; `None` where the base64 is none.
    pub fn into_bytes(self) -> Option<Bytes> {
        match self {
            Self::Text(text) => Some(text.into()),
            Self::Base64(text) => data_encoding::BASE64.decode(text.as_bytes()).ok().map(Bytes::from),
        }
    }
}

/// What a finished job delivered, with what is needed to check it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunReply {
    /// The job as it ended.
    pub job: JobView,
    /// Standard output, when it is small or already here; else read the CID in `job.result`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Content>,
    /// Standard error, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Content>,
    /// The Outcome's block, base64.
    pub outcome: String,
    /// The receipt envelope's block, base64.
    pub receipt: String,
}

/// A job that was started and not waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Started {
    /// Its name.
    #[schema(value_type = String)]
    pub job: JobId,
}

/// One thing that happened to a job: an event of `GET /jobs/{id}/logs`, and of `POST /run` with
/// `Accept: text/event-stream`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum JobEventBody {
    /// The job exists under this name.
    Started {
        #[schema(value_type = String)]
        job: JobId,
    },
    /// It came into this state.
    State { state: JobState },
    /// A candidate was asked, or answered.
    Attempt { index: usize, attempt: Attempt },
    /// The program wrote. The bytes are as the program wrote them: whoever shows them on a terminal escapes them.
    Log { stream: LogStream, offset: u64, content: Content },
    /// These bytes came faster than the connection took them; they are in the job's standard output or error.
    Skipped { stream: LogStream, from: u64, to: u64 },
    /// The job ended; nothing follows.
    Done { job: Box<JobView> },
    /// The job could not be started or followed; nothing follows.
    Error { error: crate::error::ErrorBody },
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobsQuery {
    /// At most this many, newest first; 100 unless given, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only jobs that have not ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub active: bool,
}

/// How long to wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Milliseconds to wait at most; an hour at most and unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

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

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PeerView {
    /// Its peer id.
    pub peer: String,
    /// Where it is connected.
    pub addresses: Vec<String>,
    /// What its connections run over: `tcp`, `quic`, `websocket`, `relayed`.
    #[serde(default)]
    pub transports: Vec<String>,
    /// What it calls itself: whoever shows it on a terminal escapes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Round-trip time in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Observed bytes a second from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Bytes received from it.
    pub bytes_in: u64,
    /// Bytes sent to it.
    pub bytes_out: u64,
}

/// Whom to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectBody {
    /// A multiaddress that ends in `/p2p/<peer id>`.
    pub address: String,
}

/// How many providers to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ProvidersQuery {
    /// Providers that are enough, 1 to 1000; 20 if not given.
    pub num: Option<u32>,
}

/// What to announce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProvideBody {
    /// The root's CID.
    pub cid: String,
}

/// What was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Provided {
    /// The root's CID.
    pub cid: String,
    /// Whether any other node was there to hear it. If not, it is announced as soon as there is one.
    pub heard: bool,
}

/// A name to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishBody {
    /// What the name is to stand for: `/ipfs/…`, `/ipns/…` or a CID.
    pub value: String,
    /// The key to publish under; the node's own, `self`, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How long the record holds, in seconds; two days if not given. The node renews it in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_s: Option<u64>,
    /// How long others may remember it without asking again, in seconds; five minutes if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
}

/// A program to serve by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishFunctionBody {
    /// The CID of the program: a component of the world `wasi:http/proxy`.
    pub code: String,
    /// Where it is served: what is below this path is its own.
    pub path: String,
    /// Hosts that it may send requests to (HOST, *.HOST, HOST:PORT), if the operator's http.allow-hosts lists them too.
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// A served program, and what it has cost since the node started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionView {
    /// Where it is served.
    pub path: String,
    /// The CID of the program.
    pub code: String,
    /// Hosts that its publisher lets it send requests to.
    pub hosts: Vec<String>,
    /// When it was published, in unix seconds.
    pub published: u64,
    /// Requests that reached it.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// WebAssembly operators and host work.
    pub fuel: u64,
    /// Most bytes of memory that one request took.
    pub memory: u64,
    /// Time in a worker, in microseconds.
    pub busy_us: u64,
    /// Bytes of bodies that came.
    pub bytes_in: u64,
    /// Bytes of bodies that went.
    pub bytes_out: u64,
    /// Requests to other hosts.
    pub sent: u64,
    /// Requests to other hosts that were not allowed.
    pub denied: u64,
}

/// Which function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct FunctionQuery {
    /// Where it is served.
    pub path: String,
}

/// How far to follow a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ResolveQuery {
    /// Only what the name itself says, which may be another name.
    #[serde(default)]
    pub one_step: bool,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResolvedName {
    /// A path: `/ipfs/…`, or `/ipns/…` after one step.
    pub path: String,
}

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyBody {
    /// What to call it.
    pub key: String,
}

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
