//! A repo: the block store of one node with what decides how long blocks stay.
//!
//! It owns its directory (a lock keeps a second process out), the [`DiskStore`], the pins and the
//! leases. Garbage collection runs when asked; nothing here starts it by itself.

mod ballast;
mod gc;
mod keep;
mod lease;
mod lock;
mod mark;
mod migrate;
mod pin;
mod pins;
mod verify;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod keep_tests;
#[cfg(test)]
mod read_only_tests;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

pub(crate) use self::lease::BlockSet;
use self::{
    ballast::Ballast,
    lease::Leases,
    lock::DirectoryLock,
    pins::{Pins, now},
};
pub use self::{
    gc::{GcError, GcReport},
    lease::Lease,
    lock::{FORMAT, LockError},
    pin::{PinError, PinOptions, PinSummary},
    pins::{Pin, PinKind},
    verify::{Incomplete, OnCorrupt, VerifyReport},
};
use crate::{
    Backend, BlockStore, DiskOptions, DiskStore, StoreError,
    disk::{Medium, OsMedium},
    layered::Layered,
};

/// A repo could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a [`Repo`] behaves.
#[derive(Debug, Clone, Default)]
pub struct RepoOptions {
    pub disk: DiskOptions,
    /// Who else holds blocks.
    pub backend: Option<Arc<dyn Backend>>,
}

/// What a repo holds on its own disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoStat {
    pub format: u32,
    pub blocks: u64,
    /// Bytes that blocks take on the disk, garbage included.
    pub used: u64,
    /// The operator's limit for `used`; `None` for none.
    pub limit: Option<u64>,
    /// What the file system has left, in bytes.
    pub free: u64,
    /// Pins recorded here, those that a backend keeps for us included.
    pub pins: u64,
    /// What is under way and keeps blocks: adds, pins, jobs.
    pub leases: Vec<String>,
}

/// Roots that can be pinned and unpinned at the same time, about.
const PINNING: usize = 64;

/// The node's blocks, pins and leases. Share it in an [`Arc`].
#[derive(Debug)]
pub struct Repo {
    blocks: Layered,
    pins: Arc<Pins>,
    /// Held, one for some of the roots, while what a backend pins is compared with what is recorded here.
    pinning: [tokio::sync::Mutex<()>; PINNING],
    leases: Arc<Leases>,
    medium: Arc<dyn Medium>,
    ballast: Ballast,
    /// One collection or verification at a time.
    upkeep: tokio::sync::Mutex<()>,
    _lock: Option<DirectoryLock>,
}

impl Repo {
    /// Opens the repo in `dir`, or makes one. Blocking: after a crash it reads what was not
    /// indexed yet, well under a second's worth. A repo of an earlier format is upgraded.
    ///
    /// # Errors
    /// [`LockError::InUse`] while another process has it open.
    pub fn open(dir: &Path, options: RepoOptions) -> Result<Self, OpenError> {
        let medium = || -> Result<Arc<dyn Medium>, StoreError> {
            Ok(Arc::new(OsMedium::new(dir).map_err(StoreError::io("make the repo's directory"))?))
        };
        let upgrade = |from| -> Result<(), OpenError> { Ok(migrate::upgrade(&medium()?, from)?) };
        let lock = DirectoryLock::take(dir, upgrade)?;
        Ok(Self::open_on(medium()?, options, Ballast::in_dir(dir), Some(lock))?)
    }

    fn open_on(
        medium: Arc<dyn Medium>,
        options: RepoOptions,
        ballast: Ballast,
        lock: Option<DirectoryLock>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            blocks: Layered {
                disk: Arc::new(DiskStore::open_on(medium.clone(), options.disk)?),
                below: options.backend,
            },
            pins: Arc::new(Pins::open(&medium)?),
            pinning: [const { tokio::sync::Mutex::const_new(()) }; PINNING],
            leases: Arc::default(),
            medium,
            ballast,
            upkeep: tokio::sync::Mutex::new(()),
            _lock: lock,
        })
    }

    /// The block store. Blocks put here without a lease may be collected at any time.
    pub fn blocks(&self) -> Arc<dyn BlockStore> {
        match self.blocks.below {
            None => self.blocks.disk.clone(),
            Some(_) => Arc::new(self.blocks.clone()),
        }
    }

    /// Takes a lease; `label` says in [`RepoStat::leases`] who keeps blocks.
    pub fn lease(&self, label: impl Into<String>) -> Lease {
        Lease::new(self.leases.clone(), self.blocks.clone(), label.into())
    }

    /// Sets the operator's limit for [`RepoStat::used`], in bytes.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.blocks.disk.set_limit(limit.unwrap_or(u64::MAX));
    }

    pub async fn stat(&self) -> Result<RepoStat, StoreError> {
        let limit = self.blocks.disk.limit();
        Ok(RepoStat {
            format: FORMAT,
            blocks: self.blocks.disk.count().await?,
            used: self.blocks.disk.used(),
            limit: (limit != u64::MAX).then_some(limit),
            free: self.medium.free_bytes().map_err(StoreError::io("ask for free space"))?,
            pins: self.read_pins().await?.into_iter().filter(|pin| !pin.is_expired(now())).count() as u64,
            leases: self.leases.labels(),
        })
    }

    /// Writes everything out and stops the store.
    pub async fn close(&self) {
        self.blocks.disk.close().await;
    }
}
