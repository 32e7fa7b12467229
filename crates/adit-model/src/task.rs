//! Task: the work, pure. Nobody's name, no time and no price is in it, so equal work has an equal name.

use crate::dagcbor::{DecodeError, Reader, Value, Writer, map_record, text_enum};
use crate::names::TaskCid;
use crate::rules::{Invalid, at_most, limits, no_zero, short};
use cid::Cid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A program, what it is given, and what it may use.
///
/// Version 1 also names `private`, a salted commitment to arguments that travel sealed; it is refused until
/// sealing exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The Wasm module or component: the root of a file.
    #[serde(with = "crate::text::cid")]
    pub code: Cid,
    /// How the program is called.
    pub abi: Abi,
    /// Arguments, the program's own name not among them.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What stands where below `/in`.
    #[serde(default)]
    pub inputs: BTreeMap<String, Input>,
    /// The file that the program reads as standard input; empty when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::text::cid::option")]
    pub stdin: Option<Cid>,
    /// What the program may use at most.
    pub limits: Limits,
    /// Whether the result is the same everywhere.
    pub profile: Profile,
}

map_record! {
    Task as "task", version 1, refuses ["private"];
    req "abi" => abi,
    req "env" => env,
    req "args" => args,
    req "code" => code,
    opt "stdin" => stdin,
    req "inputs" => inputs,
    req "limits" => limits,
    req "profile" => profile,
}

crate::rules::block!(Task named TaskCid);

/// The interface that a program expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Abi {
    /// A core module with `_start`, on WASI preview 1.
    Wasip1,
    /// A component that exports `wasi:cli/run`.
    WasiCliCommand,
}

text_enum! {
    Abi as "abi", refuses ["wasi:http/proxy"];
    Wasip1 => "wasip1",
    WasiCliCommand => "wasi:cli/command",
}

/// What may differ between two nodes that run the same task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Nothing: two honest nodes give the same bytes.
    Deterministic,
    /// Clocks, randomness and floating-point details are the machine's own.
    Fast,
}

text_enum! {
    Profile as "profile";
    Deterministic => "deterministic",
    Fast => "fast",
}

/// What a program may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Units of wasmtime's fuel, as the outcome's `runtime` prices them.
    pub fuel: u64,
    /// Bytes of linear memory, all memories together.
    pub memory: u64,
    /// Bytes below `/out`, standard output and standard error together.
    pub output: u64,
}

map_record! {
    Limits as "limits";
    req "fuel" => fuel,
    req "memory" => memory,
    req "output" => output,
}

/// What is mounted at one path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Input {
    /// A file or directory of IPFS: `{cid}`.
    Cid(#[serde(with = "crate::text::cid")] Cid),
}

impl Input {
    /// The root that has to be there before the task can run.
    pub fn root(&self) -> &Cid {
        let Self::Cid(cid) = self;
        cid
    }
}

impl Value for Input {
    fn write(&self, w: &mut Writer) {
        let Self::Cid(cid) = self;
        w.map(1);
        w.str("cid");
        w.link(cid);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut cid = None;
        r.map(|key, r| match key {
            "cid" => {
                cid = Some(r.link()?);
                Ok(())
            }
            "db" | "head" => Err(DecodeError::NotImplemented { what: "input of kind `db`" }),
            other => Err(DecodeError::unknown_field("input", other)),
        })?;
        cid.map(Self::Cid).ok_or(DecodeError::MissingField { record: "input", field: "cid" })
    }
}

impl Task {
    /// Checks what the types do not: counts, lengths, paths. [`decode`](Self::decode) does so by itself; whoever
    /// builds a task calls this before signing anything about it.
    pub fn check(&self) -> Result<(), Invalid> {
        at_most("arguments", self.args.len(), limits::ARGS)?;
        at_most("environment variables", self.env.len(), limits::ENV)?;
        at_most("inputs", self.inputs.len(), limits::INPUTS)?;
        let mut bytes = 0;
        for arg in &self.args {
            no_zero("an argument", arg)?;
            bytes += arg.len();
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains('=') {
                return Err(Invalid::EnvName);
            }
            no_zero("an environment name", name)?;
            no_zero("an environment value", value)?;
            bytes += name.len() + value.len();
        }
        if bytes > limits::ARGS_AND_ENV_BYTES {
            let what = "the text of arguments and environment";
            return Err(Invalid::TooLong { what, len: bytes, max: limits::ARGS_AND_ENV_BYTES });
        }
        self.check_inputs()?;
        if self.limits.fuel == 0 {
            return Err(Invalid::TooSmall { what: "the fuel limit", least: 1 });
        }
        if self.limits.memory < limits::LEAST_MEMORY {
            return Err(Invalid::TooSmall { what: "the memory limit", least: limits::LEAST_MEMORY });
        }
        Ok(())
    }

    fn check_inputs(&self) -> Result<(), Invalid> {
        for path in self.inputs.keys() {
            check_guest_path(path)?;
            // One input below another would hide part of it, and which part would depend on the order.
            let ancestors = path.match_indices('/').skip(2).map(|(end, _)| &path[..end]);
            for outer in ancestors {
                if self.inputs.contains_key(outer) {
                    return Err(Invalid::Overlap { outer: outer.to_owned(), inner: path.clone() });
                }
            }
        }
        Ok(())
    }

    /// Everything that the task reads by CID: code, inputs, standard input.
    pub fn roots(&self) -> impl Iterator<Item = &Cid> {
        std::iter::once(&self.code).chain(self.inputs.values().map(Input::root)).chain(&self.stdin)
    }
}

/// Checks that a path is one where an input may stand: absolute, below `/in`, every name plain.
pub fn check_guest_path(path: &str) -> Result<(), Invalid> {
    let wrong = |why| Err(Invalid::Path { path: path.chars().take(100).collect(), why });
    short("a path", path, limits::PATH_BYTES)?;
    let Some(names) = path.strip_prefix("/in/") else { return wrong("is not below /in") };
    if path.chars().any(char::is_control) {
        return wrong("contains control characters");
    }
    let mut depth = 1;
    for name in names.split('/') {
        depth += 1;
        match name {
            "" => return wrong("has an empty name in it"),
            "." | ".." => return wrong("contains `.` or `..`"),
            name if name.len() > limits::NAME_BYTES => return wrong("has too long a name in it"),
            _ if depth > limits::PATH_DEPTH => return wrong("is too deep"),
            _ => {}
        }
    }
    Ok(())
}
