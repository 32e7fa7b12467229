//! Jobs: what to run, where, and what came of it.

use super::{Attempt, JobId, JobState, JobView, LogStream};
use super::{CidText, is_false};
use crate::error::{ApiError, Code};
use adit_model::{Abi, Profile};
use adit_node::request::DEFAULT_LIMITS;
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
