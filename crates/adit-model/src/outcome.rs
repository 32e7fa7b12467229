//! Outcome: what came of a task. The same bytes on every honest node, so it can be compared and remembered.

use crate::dagcbor::{DecodeError, Reader, Value, Writer, map_record, text_enum};
use crate::names::{OutcomeCid, TaskCid};
use crate::rules::{Invalid, label, limits, short};
use cid::Cid;
use serde::{Deserialize, Serialize};

/// What came of a task.
///
/// The network's faults and the host's are no outcomes: they are states of a job, and say nothing about the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The task this came of.
    pub task: TaskCid,
    /// The result, or the task's own error.
    pub out: OutcomeResult,
    /// Fuel that was used, never more than the task's limit.
    pub fuel: u64,
    /// The rules that determined everything above: wasmtime, its operator costs, how WASI answers and what that
    /// costs. Outcomes are comparable only when it is equal.
    pub runtime: String,
}

map_record! {
    Outcome as "outcome", version 1;
    req "out" => out,
    req "fuel" => fuel,
    req "task" => task,
    req "runtime" => runtime,
}

crate::rules::block!(Outcome named OutcomeCid);

/// Result or error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum OutcomeResult {
    /// The program ended by itself, whatever its exit code.
    Ok {
        /// What it left in `/out`: a UnixFS directory.
        #[serde(with = "crate::text::cid")]
        root: Cid,
        /// Its exit code.
        exit: u8,
        /// What it wrote to standard output: a file.
        #[serde(with = "crate::text::cid")]
        stdout: Cid,
        /// What it wrote to standard error: a file.
        #[serde(with = "crate::text::cid")]
        stderr: Cid,
    },
    /// The program could not be started, or was ended.
    Error {
        kind: ErrorKind,
        /// One line for people, itself deterministic.
        detail: String,
        /// What it had written to standard output, when it had been started.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::text::cid::option")]
        stdout: Option<Cid>,
        /// What it had written to standard error, when it had been started.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::text::cid::option")]
        stderr: Option<Cid>,
    },
}

/// What went wrong with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// The code is not Wasm that this ABI and profile can run.
    Malformed,
    /// The program trapped.
    Trap,
    /// The fuel limit was reached.
    LimitFuel,
    /// The memory limit was reached in a way that ended the program.
    LimitMemory,
    /// The output limit was reached.
    LimitOutput,
    /// The budget of work done by the host on the program's behalf was reached.
    LimitHostWork,
    /// Too many files, handles or other resources were open at once.
    LimitResources,
    /// The program ended in a way that honest nodes may see differently, such as a stack overflow.
    Indeterminate,
}

text_enum! {
    ErrorKind as "error kind";
    Malformed => "malformed",
    Trap => "trap",
    LimitFuel => "limit-fuel",
    LimitMemory => "limit-memory",
    LimitOutput => "limit-output",
    LimitHostWork => "limit-host-work",
    LimitResources => "limit-resources",
    Indeterminate => "indeterminate",
}

/// Who has to change something before the same task can end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Whoever asked: the code is not a program, or a limit is too low.
    Requester,
    /// The program's author.
    Program,
}

impl ErrorKind {
    /// Whose fault it is.
    pub const fn fault(self) -> Fault {
        match self {
            Self::Malformed => Fault::Requester,
            _ => Fault::Program,
        }
    }

    /// Whether an outcome with this error may be compared with another node's.
    pub const fn is_deterministic(self) -> bool {
        !matches!(self, Self::Indeterminate)
    }
}

struct Success {
    root: Cid,
    exit: u8,
    stdout: Cid,
    stderr: Cid,
}

map_record! {
    Success as "outcome's `ok`";
    req "exit" => exit,
    req "root" => root,
    req "stderr" => stderr,
    req "stdout" => stdout,
}

struct Failure {
    kind: ErrorKind,
    detail: String,
    stdout: Option<Cid>,
    stderr: Option<Cid>,
}

map_record! {
    Failure as "outcome's `error`";
    req "kind" => kind,
    req "detail" => detail,
    opt "stderr" => stderr,
    opt "stdout" => stdout,
}

impl Value for OutcomeResult {
    fn write(&self, w: &mut Writer) {
        w.map(1);
        match self {
            Self::Ok { root, exit, stdout, stderr } => {
                w.str("ok");
                Success { root: *root, exit: *exit, stdout: *stdout, stderr: *stderr }.write(w);
            }
            Self::Error { kind, detail, stdout, stderr } => {
                w.str("error");
                Failure { kind: *kind, detail: detail.clone(), stdout: *stdout, stderr: *stderr }.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (mut ok, mut error) = (None, None);
        r.map(|key, r| {
            match key {
                "ok" => ok = Some(Success::read(r)?),
                "error" => error = Some(Failure::read(r)?),
                other => return Err(DecodeError::unknown_field("outcome's `out`", other)),
            }
            Ok(())
        })?;
        match (ok, error) {
            (Some(Success { root, exit, stdout, stderr }), None) => {
                Ok(Self::Ok { root, exit, stdout, stderr })
            }
            (None, Some(Failure { kind, detail, stdout, stderr })) => {
                Ok(Self::Error { kind, detail, stdout, stderr })
            }
            _ => Err(DecodeError::MissingField { record: "outcome's `out`", field: "ok` or `error" }),
        }
    }
}

impl Outcome {
    /// Checks lengths.
    pub fn check(&self) -> Result<(), Invalid> {
        label("the runtime", &self.runtime, limits::RUNTIME_BYTES)?;
        if let OutcomeResult::Error { detail, .. } = &self.out {
            short("an error's detail", detail, limits::DETAIL_BYTES)?;
        }
        Ok(())
    }

    /// Whether the program ended by itself with exit code 0.
    pub fn is_success(&self) -> bool {
        matches!(self.out, OutcomeResult::Ok { exit: 0, .. })
    }

    /// The roots that the outcome names: `/out`, standard output, standard error.
    pub fn roots(&self) -> Vec<Cid> {
        match &self.out {
            OutcomeResult::Ok { root, stdout, stderr, .. } => vec![*root, *stdout, *stderr],
            OutcomeResult::Error { stdout, stderr, .. } => stdout.iter().chain(stderr).copied().collect(),
        }
    }
}
