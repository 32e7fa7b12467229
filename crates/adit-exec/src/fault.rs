//! Whose fault it is, in types.
//!
//! A job that ends badly ends in one of three ways, and the difference decides who pays and what can be
//! compared. A [`Fault`] is a fact about the program or its input: every honest host finds the same one, down to
//! the last letter of `detail`, so it stands in an Outcome. A [`CodeFault`] is the same for code that cannot be
//! compiled. Everything else (a block that nobody delivers, a pool that is exhausted, a wall clock that ran
//! out) says something about this host or its network today: those are job states, and no type here holds them.

use adit_wire::codec::{DecodeError, Reader, Writer};
use std::fmt;

/// Why a program did not run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// The same on every host: no addresses, no times, no paths of the host.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The input is not what the program was told it is: a broken DAG under an input root, say.
    Malformed,
    /// The program did something that WebAssembly forbids.
    Trap,
    Limit(LimitKind),
    /// The stack overflowed. How deep a stack is depends on the compiler's frames: honest hosts may differ.
    Indeterminate,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Operators and host work.
    Fuel,
    Memory,
    /// `/out`, stdout and stderr.
    Output,
    /// Handles, table elements, instances and other things that a program holds.
    Resources,
}

/// Why code was not compiled. It is always the code's author whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeFault {
    pub kind: CodeFaultKind,
    /// The same on every host.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodeFaultKind {
    /// Not WebAssembly, cut off, or not valid.
    Invalid,
    /// Valid, but more than Adit takes: size, functions, tables, memories, instances, nesting.
    TooMuch,
    /// Valid, but nothing that can be run as a command: wants imports that no job has, or lacks an entry point.
    NotACommand,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl fmt::Display for CodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Fault {}
impl std::error::Error for CodeFault {}

impl Fault {
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Fault { kind, detail: detail.into() }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.u8(match self.kind {
            FaultKind::Malformed => 0,
            FaultKind::Trap => 1,
            FaultKind::Indeterminate => 2,
            FaultKind::Limit(LimitKind::Fuel) => 3,
            FaultKind::Limit(LimitKind::Memory) => 4,
            FaultKind::Limit(LimitKind::Output) => 5,
            FaultKind::Limit(LimitKind::Resources) => 6,
        })
        .detail(&self.detail);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = match r.u8("fault")? {
            0 => FaultKind::Malformed,
            1 => FaultKind::Trap,
            2 => FaultKind::Indeterminate,
            3 => FaultKind::Limit(LimitKind::Fuel),
            4 => FaultKind::Limit(LimitKind::Memory),
            5 => FaultKind::Limit(LimitKind::Output),
            6 => FaultKind::Limit(LimitKind::Resources),
            other => return Err(DecodeError::Unknown { what: "fault", value: other.into() }),
        };
        Ok(Fault { kind, detail: r.detail()? })
    }
}

impl CodeFault {
    pub fn new(kind: CodeFaultKind, detail: impl Into<String>) -> Self {
        CodeFault { kind, detail: detail.into() }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.u8(match self.kind {
            CodeFaultKind::Invalid => 0,
            CodeFaultKind::TooMuch => 1,
            CodeFaultKind::NotACommand => 2,
        })
        .detail(&self.detail);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = match r.u8("code fault")? {
            0 => CodeFaultKind::Invalid,
            1 => CodeFaultKind::TooMuch,
            2 => CodeFaultKind::NotACommand,
            other => return Err(DecodeError::Unknown { what: "code fault", value: other.into() }),
        };
        Ok(CodeFault { kind, detail: r.detail()? })
    }
}
