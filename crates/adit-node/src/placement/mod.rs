//! Deciding where a job runs.
//!
//! [`Placer`] is a state machine without I/O: it is told which nodes might do, what they bid or why
//! they refused, and what time it is; it says whom to ask, whom to give the job, and when to give
//! up. The shell around it (`crate::remote`) does the talking. Because it is pure, schedules of
//! losses, delays and lies are generated and run by the thousand in `placement/schedules.rs`.
//!
//! The order of preference:
//!
//! 1. nodes that hold the input roots, and this node itself;
//! 2. when none of these offers, every other Adit node, which must have the data brought to it.
//!
//! Within each, the lowest [`cost`] wins: round trip + missing bytes over bandwidth + queue +
//! compile + price, all in microseconds.

mod cost;
mod explain;
mod placer;
#[cfg(test)]
mod schedules;

use adit_model::{Amount, NodeId};
use serde::{Deserialize, Serialize};

pub use cost::{Assumptions, cost};
pub use placer::{Action, Limits, Placer, Ranked, Strategy};

/// What a node offers for a job: facts about itself that it alone knows.
///
/// Nothing in a bid is believed further than its use: a node that overstates it gets the job,
/// is late, and the next one is tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Bid {
    /// Bytes of the inputs (the code not among them) that it holds.
    pub bytes_present: u64,
    /// Bytes of the inputs that it would have to fetch; `None` when it cannot tell,
    /// because it holds not even a root.
    pub bytes_missing: Option<u64>,
    /// Whether it has the program compiled.
    pub code_cached: bool,
    /// Whether it remembers the outcome of this very task.
    pub remembered: bool,
    /// Jobs ahead of this one.
    pub queue: u32,
    /// How long it takes until this job can start, in microseconds, as far as the node can tell.
    pub queue_us: u64,
    /// What it asks; 0 on networks without payment.
    #[schema(value_type = String)]
    pub price: Amount,
}

/// A node that might run the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Smoothed round-trip time, if measured.
    pub rtt_us: Option<u64>,
    /// Observed bandwidth from it in bytes a second, if measured.
    pub bandwidth: Option<u64>,
    /// Whether it is known to provide the input roots.
    pub holds_inputs: bool,
    /// Whether it is asked at once, without knowing: where few nodes are known, asking all of them
    /// is quicker than finding out first who holds what.
    pub ask_early: bool,
}
