//! This node as a host: whose jobs it takes, what it has promised, and what it counts.
//!
//! [`Rules`] decides without I/O; [`Refusal`] is the typed no; [`Counters`] answers "what was I
//! asked, and why did I not get it". Running an accepted job is `crate::run`'s business.

mod admission;
mod counters;
mod refusal;

pub(crate) use admission::read_accounts;
pub use admission::{BadAccount, Load, Need, Rules};
pub use counters::{Counters, LostBid};
pub use refusal::{MAX_DETAIL, Refusal, RefusalKind};
