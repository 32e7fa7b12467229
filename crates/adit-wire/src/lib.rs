//! How the processes of one node talk to each other: node ↔ enclave, enclave ↔ worker.
//!
//! Two things cross a process border here. *Frames* are small and go through a [`Channel`], a Unix
//! `SOCK_SEQPACKET` socket: one frame is one packet, so there is no length prefix to get wrong, no partial
//! read, and the kernel keeps file descriptors together with the frame that they belong to. *Bytes in bulk*
//! (blocks, machine code, outputs) stay in files and memory files ([`memory`]), and only descriptors travel.
//!
//! The messages between node and enclave are [`control`] (one channel for the enclave's life) and
//! [`session`] (one channel for each job slot, one job at a time). A worker that serves an HTTP function talks to the
//! node directly, by [`http`]. Their codec is strict: unknown tags,
//! trailing bytes, too many items, too long strings and a wrong number of descriptors are all refused, since
//! each side counts the other as possibly compromised. Records (Task, Invocation, Receipt…) travel as the bytes
//! that they were signed or named as; this crate never looks into them.
//!
//! What it never does: open a network socket, start a process, or touch a path.
//!
//! Start reading at [`session`], which tells a job's story, then [`channel`].

#[cfg(feature = "async")]
mod async_channel;
pub mod channel;
pub mod codec;
pub mod control;
pub mod http;
pub mod memory;
pub mod session;

#[cfg(feature = "async")]
pub use async_channel::AsyncChannel;
pub use channel::{Channel, Frame, Inbox, MAX_DESCRIPTORS, MAX_FRAME};
pub use codec::{DecodeError, Message};
