//! What a requester asks for: the job, and where it may run.

use std::collections::BTreeMap;
use std::time::Duration;

use adit_model::{Abi, Input, Invalid, Limits, NodeId, Profile, Task, TaskCid};
use cid::Cid;

/// A job to run, as the API and the command line ask for it.
///
/// The work itself (`code` to `profile`) becomes the Task; the rest says how it is placed and how
/// long it may take, and never changes the Task's CID.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The program: a CID of a Wasm module or component.
    pub code: Cid,
    /// How the program is called; `None` reads it from the program's first bytes.
    pub abi: Option<Abi>,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// Environment of the guest.
    pub env: BTreeMap<String, String>,
    /// Absolute guest path under `/in` → content.
    pub inputs: BTreeMap<String, Cid>,
    /// What the guest reads from standard input.
    pub stdin: Option<Cid>,
    /// Fuel, memory and output that the guest may use.
    pub limits: Limits,
    /// Deterministic or fast.
    pub profile: Profile,
    /// From now until the invocation expires and the host kills the guest.
    pub timeout: Duration,
    /// Where it runs.
    pub placement: Placement,
    /// Keep asking until a candidate accepts or the timeout passes.
    pub wait: bool,
    /// Compute again even if the outcome is remembered.
    pub fresh: bool,
    /// Stream stdout and stderr while the guest runs.
    pub live_logs: bool,
    /// Bring the blocks of the result here before the job counts as finished.
    pub fetch_result: bool,
    /// Two requests for the same work with the same key are the same job: the second one joins the first. The same
    /// key with other work is an error.
    pub idempotency_key: Option<String>,
}

impl RunRequest {
    /// The program with everything else at its default.
    pub fn new(code: Cid) -> Self {
        RunRequest {
            code,
            abi: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            inputs: BTreeMap::new(),
            stdin: None,
            limits: DEFAULT_LIMITS,
            profile: Profile::Deterministic,
            timeout: DEFAULT_TIMEOUT,
            placement: Placement::Cost,
            wait: false,
            fresh: false,
            live_logs: false,
            fetch_result: false,
            idempotency_key: None,
        }
    }
}

/// What a job may use when the requester does not say: about a quarter of an hour of one processor,
/// and memory and output that fit beside others on a small machine.
pub const DEFAULT_LIMITS: Limits = Limits { fuel: 1_000_000_000_000, memory: 256 << 20, output: 64 << 20 };

/// How long a job may take when the requester does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest timeout a requester may ask for: a week.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);

/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY: usize = 128;

/// Where a job may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Where it costs least: see [`crate::placement`].
    #[default]
    Cost,
    /// At the node with the lowest round-trip time, even if the data must be brought there.
    Near,
    /// At this node only.
    At(NodeId),
    /// At the node that was asked.
    Local,
}

impl RunRequest {
    /// Checks what needs no network: bounds that keep a wrong request from becoming a job.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            return Err(InvalidRequest::Timeout);
        }
        if self.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY)
        {
            return Err(InvalidRequest::IdempotencyKey);
        }
        Ok(())
    }

    /// The Task of this request, checked; `abi` is the request's own or what was read from the code.
    pub fn task(&self, abi: Abi) -> Result<Task, InvalidRequest> {
        let task = Task {
            code: self.code,
            abi,
            args: self.args.clone(),
            env: self.env.clone(),
            inputs: self.inputs.iter().map(|(path, cid)| (path.clone(), Input::Cid(*cid))).collect(),
            stdin: self.stdin,
            limits: self.limits,
            profile: self.profile,
        };
        task.check()?;
        Ok(task)
    }

    /// Names the work that is asked for, before it is known how the program is called: to tell whether two requests
    /// with one idempotency key ask for the same.
    pub(crate) fn fingerprint(&self) -> Result<TaskCid, InvalidRequest> {
        Ok(self.task(Abi::Wasip1)?.cid())
    }
}

/// Why a request is not a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// The timeout is zero or longer than [`LONGEST_TIMEOUT`].
    #[error("the timeout must be more than zero and at most seven days")]
    Timeout,
    /// The idempotency key is empty or too long.
    #[error("an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY} bytes")]
    IdempotencyKey,
    /// The task breaks one of its own rules.
    #[error("the task is not valid: {0}")]
    Task(#[from] Invalid),
    /// The content named as code is not WebAssembly.
    #[error("{0} is not a WebAssembly module or component")]
    NotWasm(Cid),
}
