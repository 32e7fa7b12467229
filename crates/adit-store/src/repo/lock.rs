//! The repo's directory: who has it open, and which format it is in.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::disk::sync_dir;

/// The format this code writes. Format 1 is the first; each later one will know how to read its
/// predecessor.
pub const FORMAT: u32 = 1;

const LOCK: &str = "lock";
const VERSION: &str = "format";
const PREFIX: &str = "adit-store ";

/// The directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{path} is in use by another process{}; stop that node first", holder(*.pid))]
    InUse { path: PathBuf, pid: Option<u32> },

    #[error("{path} is a repo of format {found}; this program reads format {FORMAT}: use a newer one")]
    Newer { path: PathBuf, found: u32 },

    #[error("{path} does not look like a repo: its `format` file says {found:?}")]
    NotARepo { path: PathBuf, found: String },

    #[error("cannot {step} in {path}: {source}")]
    Io {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// Exclusive use of a repo's directory, for as long as it lives.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the directory, making it if needed, and checks its format.
    pub(crate) fn take(dir: &Path) -> Result<Self, LockError> {
        let failed = |step| move |source| LockError::Io { step, path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(failed("make the directory"))?;
        let mut options = OpenOptions::new();
        let path = dir.join(LOCK);
        let mut file = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(failed("open the lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // Only for the message: the holder may be anybody by now.
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                return Err(LockError::InUse { path: dir.to_owned(), pid: pid.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let write_pid = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        // The pid is for messages only; a full disk must not keep anybody out.
        let _ = write_pid(&mut file);
        check_format(dir)?;
        Ok(Self { _file: file })
    }
}

fn check_format(dir: &Path) -> Result<(), LockError> {
    let failed = |step| move |source| LockError::Io { step, path: dir.to_owned(), source };
    let path = dir.join(VERSION);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let found = text.strip_prefix(PREFIX).and_then(|version| version.trim().parse::<u32>().ok());
            match found {
                Some(FORMAT) => Ok(()),
                Some(found) if found > FORMAT => Err(LockError::Newer { path: dir.to_owned(), found }),
                _ => Err(LockError::NotARepo { path: dir.to_owned(), found: text }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let write = || {
                let fresh = dir.join("format.new");
                let mut file = File::create(&fresh)?;
                writeln!(file, "{PREFIX}{FORMAT}")?;
                file.sync_all()?;
                fs::rename(fresh, path)?;
                sync_dir(dir)
            };
            write().map_err(failed("write the format"))
        }
        Err(source) => Err(failed("read the format")(source)),
    }
}
