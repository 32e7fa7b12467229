//! A few megabytes that are thrown overboard when the disk is full, so that garbage collection
//! can commit the deletions that make room.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

const LEN: u64 = 8 << 20;

#[derive(Debug)]
pub(crate) struct Ballast {
    path: Option<PathBuf>,
}

impl Ballast {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        let ballast = Self { path: Some(dir.join("ballast")) };
        ballast.load();
        ballast
    }

    /// For a repo that has no directory.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { path: None }
    }

    /// Takes the space, if there is any to take. Not having it is no failure: it may be needed
    /// never, and is taken again after each collection.
    pub(crate) fn load(&self) {
        let Some(path) = &self.path else { return };
        let taken = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, LEN)?));
        if let Err(error) = taken {
            tracing::debug!(%error, "no ballast");
        }
    }

    /// Gives the space back.
    pub(crate) fn drop_overboard(&self) {
        if let Some(path) = &self.path {
            // Gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}
