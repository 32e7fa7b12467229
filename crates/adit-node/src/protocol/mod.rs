//! The job protocol, `/adit/job/1`: how a requester and a host talk about one job.
//!
//! ```text
//! requester                                  host
//!   Ask{task, issuer, wall_ms}      ──────▶
//!                                   ◀──────  Bid{…}  or  Refuse{kind, detail}
//!   Run{invocation, …}              ──────▶
//!                                   ◀──────  Accept{acceptance}  or  Refuse
//!                                   ◀──────  Log{stream, offset, bytes}   any number
//!                                   ◀──────  Alive                        while nothing else is said
//!                                   ◀──────  Finished{outcome, receipt, …}  or  Failed{…}
//!   Ack                             ──────▶
//! ```
//!
//! `Cancel` may take the place of anything the requester says after `Run`. A new `Ask` may follow
//! on the same stream when the last one was refused, was not taken up, or has been acknowledged:
//! opening a stream costs more than a warm job.
//!
//! Who keeps to this is decided by two state machines without I/O, [`RequesterSide`] and
//! [`HostSide`]; whatever is out of turn is a [`Violation`] and ends the stream. What a message
//! *says* is never believed because it came in turn: receipts and outcomes are verified by
//! [`adit_model::verify_job`].

mod host_side;
mod message;
mod requester_side;
#[cfg(test)]
mod schedules;

pub use host_side::{HostAction, HostSide};
pub(crate) use message::shorten;
pub use message::{
    FromHost, FromRequester, InlineBlock, MAX_INLINE_BLOCKS, MAX_INLINE_BYTES, MAX_LOG, MessageError,
    RunOrder,
};
pub use requester_side::{Delivery, RequesterEvent, RequesterSide};

/// A message that is not due in the state that the conversation is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol violation: `{message}` while {state}")]
pub struct Violation {
    /// What was said.
    pub message: &'static str,
    /// What was due.
    pub state: &'static str,
}
