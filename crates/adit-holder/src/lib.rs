//! A holder of key shares: what it keeps on its disk, what it signs, and what it believes of other holders.
//!
//! The rules by which a slot is given to one invocation only are [`adit_release`]'s. They hold only if whoever drives
//! them checks signatures and makes durable what he is told to before he says anything. That is what this crate does:
//! a [`Holder`] has a key, a database and any number of objects; [`Holder::turn`] takes what arrived, checks who said it,
//! lets the rules decide, syncs once for everything together, and only then hands back what is to be sent.
//!
//! Every entry of a log and every start of a holder carries its holder's own signature, also when somebody else passes
//! it on. So a log that witnesses keep is as good as the holder's own, and two entries that follow the same one prove
//! that a holder lied.
//!
//! This crate opens no socket, looks at no clock, and does not decide who may have a share: policies and evidence are
//! judged before [`Input::Reserve`] and [`Input::Commit`]. It never opens a share.
//!
//! Start reading at `holder.rs`; `wire.rs` has the bytes that holders send each other, `keep.rs` those on the disk.

mod grants;
mod group;
mod holder;
mod keep;
mod marks;
mod wire;

pub use grants::PolicyHeads;
pub use group::Object;
pub use holder::{Effect, Holder, HolderError, Input, MOST_PACKET_BYTES, Refusal, Reservation, Words};
pub use keep::KeepError;
pub use marks::Mark;
pub use wire::Distrust;

pub use adit_release::{Chain, Entry, Head, Id, Terms, Use};
