//! What a node's operator does not want to serve: lists in the compact denylist format (IPIP-383).
//!
//! A [`Denylist`] is filled from one or more `.deny` files, in order, and then asked about blocks, by CID, and about
//! paths below `/ipfs` and `/ipns`. Rules of all files count together; of those that match, the last one decides, which
//! is how a rule with `!` makes an exception.
//!
//! This crate does no I/O and has no clock: whoever uses it reads the files, and asks before content is fetched. It
//! never says which rule matched to a requester; [`Problem`]s are for the operator's log. Files come from strangers:
//! their length, their header, their lines and the number of rules are limited.
//!
//! Start reading at [`Denylist`], then `rule.rs` for what a line can say.

mod header;
mod list;
mod rule;
mod shared;

pub use header::HeaderError;
pub use list::{Denylist, ListError, MAX_FILE, MAX_LINE, MAX_RULES, Problem};
pub use shared::Denials;
