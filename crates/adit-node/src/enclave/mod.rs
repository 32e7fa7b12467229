//! The enclave process as the node sees it: started, endorsed, given jobs, started again.
//!
//! [`Enclave`] is the handle; one supervised task owns the process and its control channel. A job
//! takes a [`Session`] (one for each slot, opened in advance), runs on it, and gives it back.
//! When the process dies, its sessions end with it: running jobs fail as the host's fault, and the
//! process is started again after a pause that grows with each early death.
//!
//! The node endorses the enclave's job key with its own identity: that, and no more, is what
//! receipts with evidence `none` rest on.

mod process;
mod session;
mod slots;
mod supervisor;

pub use process::{Origin, SpawnError};
pub(crate) use session::{Ended, JobEnd, Order, Purpose, Surroundings};
pub(crate) use slots::{Place, Slots};
pub use supervisor::EnclaveOptions;
pub(crate) use supervisor::{Borrowed, Enclave};
