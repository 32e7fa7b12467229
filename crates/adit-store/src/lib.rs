//! Blocks on disk and in memory: what a node keeps, for how long, and how files get in and out.
//!
//! Start reading at [`BlockStore`] and [`BlockSource`], the two traits that every crate above
//! programs against; [`MemoryStore`] is the shortest implementation and shows what they mean.

mod blocks;
mod disk;
mod error;
mod key;
mod memory;
mod repo;
#[cfg(test)]
mod suite;

pub use adit_unixfs::Block;
pub use blocks::{BlockSource, BlockStore, Location, MAX_BLOCK_LEN};
pub use disk::{DiskOptions, DiskStore};
pub use error::{SourceError, StoreError};
pub use memory::MemoryStore;
pub use repo::{
    FORMAT, GcError, GcReport, Incomplete, Lease, LockError, OnCorrupt, OpenError, Pin, PinError, PinKind,
    PinOptions, PinSummary, Repo, RepoOptions, RepoStat, VerifyReport,
};
