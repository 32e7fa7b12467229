//! Writing below one directory and nowhere else: every step is relative to an open directory,
//! nothing is followed, nothing that exists is replaced.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use adit_unixfs::data::Metadata;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens, mkdirat, openat,
    symlinkat, utimensat,
};

/// An open directory to write into.
#[derive(Debug)]
pub(crate) struct Place {
    directory: OwnedFd,
}

impl Place {
    /// The directory that was named by the user, made if it is not there. A symlink to a
    /// directory is fine here, and only here.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match mkdirat(CWD, path, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self { directory: openat(CWD, path, flags, Mode::empty())? })
    }

    /// The directory in which the user named a file.
    pub(crate) fn parent_of(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = openat(CWD, parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        Ok(Self { directory })
    }

    /// A directory in this one, which may be there already, but not as a symlink.
    pub(crate) fn directory(&self, name: &str) -> io::Result<Self> {
        match mkdirat(&self.directory, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self { directory: openat(&self.directory, name, flags, Mode::empty())? })
    }

    /// A new file.
    pub(crate) fn file(&self, name: impl rustix::path::Arg) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(openat(&self.directory, name, flags, Mode::from_raw_mode(0o666))?.into())
    }

    /// A new symlink.
    pub(crate) fn symlink(&self, name: &str, target: &str, metadata: Metadata) -> io::Result<()> {
        symlinkat(target, &self.directory, name)?;
        if let Some(times) = timestamps(metadata) {
            utimensat(&self.directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    pub(crate) fn set_metadata(&self, metadata: Metadata) -> io::Result<()> {
        set_metadata(&self.directory, metadata)
    }
}

/// Applies mode and mtime. Set-user-id and its kin come from a stranger and are dropped; the
/// owner keeps access.
pub(crate) fn set_metadata(file: impl AsFd, metadata: Metadata) -> io::Result<()> {
    if let Some(mode) = metadata.mode {
        fchmod(&file, Mode::from_raw_mode(mode & 0o777 | 0o600))?;
    }
    if let Some(times) = timestamps(metadata) {
        futimens(&file, &times)?;
    }
    Ok(())
}

fn timestamps(metadata: Metadata) -> Option<Timestamps> {
    let mtime = metadata.mtime?;
    Some(Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
    })
}

/// Whether a symlink `depth` directories below the top stays inside, whatever other such links
/// its path goes through: it may climb first, not above the top, and then only go down.
pub(crate) fn stays_inside(target: &str, depth: usize) -> bool {
    if target.starts_with('/') {
        return false;
    }
    let mut parts = target.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
    let mut climbed = 0;
    while parts.next_if_eq(&"..").is_some() {
        climbed += 1;
    }
    climbed <= depth && parts.all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_that_stay_inside_are_made() {
        for (target, depth) in [("a", 0), ("a/b", 0), ("./a", 0), ("../a", 1), ("../../a/b", 2), ("..", 1)] {
            assert!(stays_inside(target, depth), "{target} at {depth}");
        }
        // The last one would escape through `a/link` -> `..`.
        for (target, depth) in [("/etc/passwd", 5), ("..", 0), ("../a", 0), ("../../a", 1), ("a/link/..", 3)]
        {
            assert!(!stays_inside(target, depth), "{target} at {depth}");
        }
    }
}
