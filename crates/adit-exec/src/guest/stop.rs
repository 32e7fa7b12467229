//! Why a guest is stopped from inside a host call.

use crate::{
    fault::{Fault, FaultKind, LimitKind},
    worker_wire::{End, Refusal},
};
use adit_unixfs::read::ReadError;
use cid::Cid;
use std::fmt;
use wasmtime::{PoolConcurrencyLimitError, Trap};

/// Travels through WebAssembly frames as an error, out to `worker`, which makes an [`End`] of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    Exit(u8),
    Fault(Fault),
    Unserved(Cid),
    Host(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Exit(code) => write!(f, "exit with {code}"),
            Stop::Fault(fault) => fault.fmt(f),
            Stop::Unserved(cid) => write!(f, "{cid} was not delivered"),
            Stop::Host(detail) => f.write_str(detail),
        }
    }
}

impl std::error::Error for Stop {}

impl From<ReadError> for Stop {
    /// The blocks are what their CIDs say, so it is the input that is broken, on every host alike.
    fn from(error: ReadError) -> Self {
        Stop::Fault(Fault::new(FaultKind::Malformed, format!("malformed input: {error}")))
    }
}

impl Stop {
    pub(crate) fn limit(kind: LimitKind, detail: &str) -> Self {
        Stop::Fault(Fault::new(FaultKind::Limit(kind), detail))
    }

    pub(crate) fn fuel() -> Self {
        Stop::limit(LimitKind::Fuel, "the fuel is used up")
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Stop::Fault(Fault::new(FaultKind::Malformed, detail))
    }

    /// A block that does not come.
    pub(crate) fn refused(cid: &Cid, why: Refusal) -> Self {
        match why {
            Refusal::Missing => Stop::Unserved(*cid),
            Refusal::NotLinked => Stop::malformed(format!("malformed input: {cid} is not linked from it")),
            Refusal::TooBig => {
                Stop::malformed(format!("malformed input: {cid} is longer than a block may be"))
            }
        }
    }

    /// How a run ended that did not return.
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return stop.clone();
        }
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return Stop::Host(format!("{error:#}"));
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => {
                Stop::Fault(Fault::new(FaultKind::Indeterminate, "the stack overflowed"))
            }
            Some(Trap::OutOfFuel) => Stop::fuel(),
            Some(trap) => Stop::Fault(Fault::new(FaultKind::Trap, trap.to_string())),
            // wasmtime's own words about a guest that broke the component model's rules; they hold no addresses.
            None => Stop::Fault(Fault::new(FaultKind::Trap, error.root_cause().to_string())),
        }
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Exit(code) => End::Exit(code),
            Stop::Fault(fault) => End::Fault(fault),
            Stop::Unserved(cid) => End::Unserved(cid),
            Stop::Host(detail) => End::Host(detail),
        }
    }
}
