//! What an entry of a directory is, and how it is opened without surprises.

use std::{
    fmt,
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use adit_unixfs::data::{Metadata as NodeMetadata, Mtime};
use rustix::fs::OFlags;

use super::Preserve;

/// Something that has no place in UnixFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub path: PathBuf,
    pub reason: Reason,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Pipe,
    Socket,
    Device,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::Device => "device",
        })
    }
}

/// The kinds of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Special(Reason),
}

impl Kind {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Symlink
        } else if kind.is_fifo() {
            Self::Special(Reason::Pipe)
        } else if kind.is_socket() {
            Self::Special(Reason::Socket)
        } else {
            Self::Special(Reason::Device)
        }
    }
}

/// Opens a regular file. Should somebody have put a symlink or a pipe in its place since it was
/// looked at, this fails instead of following or waiting.
pub(crate) fn open_file(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a regular file")),
    }
}

/// What goes into the node.
pub(crate) fn node_metadata(metadata: &Metadata, preserve: Preserve) -> NodeMetadata {
    NodeMetadata {
        mode: preserve.mode.then(|| metadata.mode() & 0o7777),
        mtime: preserve.mtime.then(|| Mtime {
            seconds: metadata.mtime(),
            nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
        }),
    }
}
