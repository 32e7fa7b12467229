//! Who may have a sealed object's key: the protocol between the holders of its shares.
//!
//! The key of a sealed object is split among `n` holders, `k` of whom are needed. A policy allows a number of uses; a
//! use is a numbered *slot*. Every holder gives a slot to one invocation and to no other, so two invocations can
//! have the same slot only if their `k` holders overlap in faulty ones alone: never, while at most
//! [`Terms::faulty`] holders lie.
//!
//! A holder that is restored from an old backup lies without knowing it. So nothing is released before it stands in
//! the logs of `k - 1` other holders too, and a holder that starts, for whatever reason, first hears from others what
//! it had written ([`Book`]). The logs are also what an owner reads later: each entry names the one before it.
//!
//! This crate does no I/O, looks at no clock, knows no keys and checks no signature: whoever drives a [`Book`] passes in
//! only what was signed by whom it is said to come from, and makes durable what it is told to before it sends
//! anything. Whether a policy allows an invocation is decided before it comes here. `tests/schedules.rs` drives whole
//! groups through generated schedules of crashes, old backups, lies and lost messages.
//!
//! Start reading at `terms.rs` for the numbers, then `book.rs`.

mod audit;
mod book;
mod chain;
mod collect;
mod peers;
mod terms;

pub use audit::{Audit, Contradiction, Copy, Given, Line};
pub use book::{Action, Book, Change, Refusal};
pub use chain::{Act, Chain, Entry, Head, Id, Use};
pub use collect::{Collector, NotWanted, Release};
pub use peers::{Message, Promise, Tip};
pub use terms::{Terms, TermsError};
