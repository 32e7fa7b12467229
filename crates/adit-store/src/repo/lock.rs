//! The repo's directory: who has it open, and which format it is in.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::disk::sync_dir;

/// The format this code writes. Repos of earlier ones are upgraded when they are opened; see `migrate.rs`.
pub const FORMAT: u32 = 2;

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
    ///
    /// A repo of an earlier format is marked first, so that programs of that format refuse it from here on, and
    /// `upgrade` is called with the number of that format. When that returns well the mark is taken away; until then
    /// each opening calls it again.
    pub(crate) fn take<E: From<LockError>>(
        dir: &Path,
        upgrade: impl FnOnce(u32) -> Result<(), E>,
    ) -> Result<Self, E> {
        let lock = Self::lock(dir)?;
        let from = match read_format(dir)? {
            Some(Format { number: FORMAT, from: None }) => return Ok(lock),
            None => None,
            Some(Format { number: FORMAT, from: Some(from) }) => Some(from),
            Some(Format { number, .. }) => {
                write_format(dir, Format { number: FORMAT, from: Some(number) })?;
                Some(number)
            }
        };
        if let Some(from) = from {
            tracing::info!(path = %dir.display(), from, to = FORMAT, "upgrading the repo");
            upgrade(from)?;
        }
        write_format(dir, Format { number: FORMAT, from: None })?;
        Ok(lock)
    }

    fn lock(dir: &Path) -> Result<Self, LockError> {
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
        Ok(Self { _file: file })
    }
}

/// What the `format` file says: `adit-store 2`, or `adit-store 2 from 1` during an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    number: u32,
    /// The format that some of its files may still have.
    from: Option<u32>,
}

impl Format {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix(PREFIX)?.split_ascii_whitespace();
        let number = words.next()?.parse().ok().filter(|number| *number > 0)?;
        let from = match (words.next(), words.next(), words.next()) {
            (None, ..) => None,
            (Some("from"), Some(from), None) => Some(from.parse().ok().filter(|n| (1..number).contains(n))?),
            _ => return None,
        };
        Some(Format { number, from })
    }
}

/// `None` in a directory that is no repo yet.
fn read_format(dir: &Path) -> Result<Option<Format>, LockError> {
    let text = match fs::read_to_string(dir.join(VERSION)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LockError::Io { step: "read the format", path: dir.to_owned(), source }),
    };
    match Format::parse(&text) {
        Some(Format { number, .. }) if number > FORMAT => {
            Err(LockError::Newer { path: dir.to_owned(), found: number })
        }
        Some(format) if format.from.is_none() || format.number == FORMAT => Ok(Some(format)),
        // An upgrade to a format between that one and ours was interrupted: what began there goes on from there.
        Some(Format { from, .. }) => Ok(from.map(|number| Format { number, from: None })),
        None => Err(LockError::NotARepo { path: dir.to_owned(), found: text }),
    }
}

fn write_format(dir: &Path, format: Format) -> Result<(), LockError> {
    let write = || {
        let fresh = dir.join("format.new");
        let mut file = File::create(&fresh)?;
        match format.from {
            None => writeln!(file, "{PREFIX}{}", format.number)?,
            Some(from) => writeln!(file, "{PREFIX}{} from {from}", format.number)?,
        }
        file.sync_all()?;
        fs::rename(fresh, dir.join(VERSION))?;
        sync_dir(dir)
    };
    write().map_err(|source| LockError::Io { step: "write the format", path: dir.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_read_as_written_and_nothing_else_is_one() {
        let plain = |number| Some(Format { number, from: None });
        assert_eq!(Format::parse("adit-store 1\n"), plain(1));
        assert_eq!(Format::parse("adit-store 2 from 1\n"), Some(Format { number: 2, from: Some(1) }));
        for text in [
            "",
            "adit-store",
            "adit-store \n",
            "adit-store 0\n",
            "adit-store -1\n",
            "adit-store 4294967296\n",
            "adit-store 2 from 2\n",
            "adit-store 2 from 0\n",
            "adit-store 2 from\n",
            "adit-store 2 since 1\n",
            "adit-store 2 from 1 again\n",
            "other-store 2\n",
        ] {
            assert_eq!(Format::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_upgrade_that_was_interrupted_is_done_again_and_keeps_older_programs_out() {
        let dir = tempfile::tempdir().unwrap();
        let format = || fs::read_to_string(dir.path().join(VERSION)).unwrap();
        let never = |_| -> Result<(), LockError> { panic!("there is nothing to upgrade") };
        drop(DirectoryLock::take(dir.path(), never).unwrap());
        assert_eq!(format(), format!("adit-store {FORMAT}\n"));
        fs::write(dir.path().join(VERSION), "adit-store 1\n").unwrap();
        for _ in 0..2 {
            let failed = DirectoryLock::take(dir.path(), |from| {
                assert_eq!(from, 1);
                // What a program of format 1 would find is no number to it.
                assert_eq!(format(), format!("adit-store {FORMAT} from 1\n"));
                Err(LockError::NotARepo { path: PathBuf::new(), found: "a full disk, say".into() })
            });
            assert!(failed.is_err());
        }
        drop(DirectoryLock::take(dir.path(), |_| Ok::<_, LockError>(())).unwrap());
        assert_eq!(format(), format!("adit-store {FORMAT}\n"));
        drop(DirectoryLock::take(dir.path(), never).unwrap());
    }
}
