//! Blocks on disk and in memory: what a node keeps, for how long, and how files get in and out.
//!
//! - [`BlockStore`] and [`BlockSource`] are the two traits that every crate above programs
//!   against. [`MemoryStore`] is the shortest implementation and shows what they mean;
//!   [`DiskStore`] is the one that nodes use. Both pass the same tests.
//! - [`Repo`] owns a directory: the store, the pins, the leases that keep adds and jobs under way
//!   safe from garbage collection, collection itself, and verification.
//! - [`Backend`] is what may lie below a repo: a Kubo or a gateway that holds blocks as well.
//! - [`import`] turns files and trees into blocks, [`export`] turns them back, [`car`] moves
//!   them as CAR files. These take any source, so they work across the network.
//!
//! What this crate never does: speak to a network, decide what to fetch or to keep, serve a
//! block whose bytes are not the CID's, or answer `sync` before the disk has. Start reading at
//! `blocks.rs`, then `disk/mod.rs`; `docs/store.md` has the byte layout and the invariants.

mod backend;
mod blocks;
pub mod car;
mod disk;
mod error;
pub mod export;
pub mod import;
mod key;
mod layered;
mod memory;
mod repo;
#[cfg(test)]
mod suite;

pub use adit_unixfs::Block;
pub use backend::{
    Backend, BackendError, BackendFailure, BlockStream, Keeper, KeeperReport, KeeperStat, Kept,
};
pub use blocks::{BlockSource, BlockStore, Location, MAX_BLOCK_LEN};
pub use disk::{DiskOptions, DiskStore};
pub use error::{SourceError, StoreError};
pub use memory::MemoryStore;
pub use repo::{
    FORMAT, GcError, GcReport, Incomplete, Lease, LockError, OnCorrupt, OpenError, Pin, PinError, PinKind,
    PinOptions, PinSummary, Repo, RepoOptions, RepoStat, VerifyReport,
};
