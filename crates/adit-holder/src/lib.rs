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
//! Above that stands the [`Desk`], which answers those who want a key: it hands out nonces, [`weigh`]s a wish by itself
//! (every signature, the evidence, the owner's policy), and only then asks the holder for a slot. It opens its share
//! when the slot is given, and seals it to the enclave's key for that one job.
//!
//! This crate opens no socket and looks at no clock.
//!
//! Start reading at `holder.rs` for the log and `wish.rs` for who is given anything; `protocol.rs` has what is said to a
//! holder, `wire.rs` the bytes that holders send each other, `keep.rs` those on the disk.

mod desk;
mod grants;
mod group;
mod holder;
mod keep;
mod marks;
mod nonces;
pub mod protocol;
mod wire;
mod wish;

pub use desk::{Answer, Ask, Desk, Owners, Standing, Ticket, Turn};
pub use grants::PolicyHeads;
pub use group::Object;
pub use holder::{Effect, Holder, HolderError, Input, MOST_PACKET_BYTES, Refusal, Reservation, Words};
pub use keep::KeepError;
pub use marks::Mark;
pub use nonces::Nonces;
pub use wire::Distrust;
pub use wish::{Good, Grounds, Objection, manifest_cid, weigh};

pub use adit_release::{Chain, Entry, Head, Id, Terms, Use};
