//! Trees of files in one stream: POSIX tar (ustar with pax extended headers), as `tar c` and `tar x` know it.
//!
//! This is how `add` takes directories and `get` gives them. Only files, directories and symbolic links travel;
//! devices, hard links and sparse files are refused by name. Paths are relative, without `..`, on both ways: what is
//! read here can be joined to a directory without leaving it, *except* through a symbolic link that an earlier entry
//! made, which whoever unpacks must not follow (see [`unpack`]).

mod archive;
mod read;
mod unpack;
mod write;

pub use archive::archive;
pub use read::Reader;
pub use unpack::{UnpackError, unpack};
pub use write::{END, header, padding};

/// Longest path, in bytes.
pub const MAX_PATH: usize = 4096;
/// Most components in a path.
pub const MAX_DEPTH: usize = 256;
/// Most bytes of one pax header.
const MAX_PAX: usize = 64 << 10;
/// Size of a tar block.
const BLOCK: usize = 512;

/// One file, directory or symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative, `/`-separated, without `.` and `..`; empty for the root itself.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// UNIX permission bits.
    pub mode: u32,
    /// Modification time in Unix seconds.
    pub mtime: i64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file of so many bytes, which follow.
    File { size: u64 },
    /// A directory.
    Directory,
    /// A symbolic link and where it leads.
    Symlink { target: String },
}

/// Why bytes are not a tree that can be taken.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("the stream broke off")]
    Io(#[from] std::io::Error),
    #[error("not a tar stream: {0}")]
    Malformed(&'static str),
    #[error("the path {path:?} {why}")]
    Path { path: String, why: &'static str },
    #[error("{path:?} is a {kind}, and only files, directories and symbolic links can be taken")]
    Kind { path: String, kind: &'static str },
}

/// The path in the form of [`Entry::path`], or why it has none.
fn clean_path(raw: &str) -> Result<String, TarError> {
    let wrong = |why| Err(TarError::Path { path: raw.chars().take(100).collect(), why });
    if raw.len() > MAX_PATH {
        return wrong("is too long");
    }
    if raw.starts_with('/') {
        return wrong("is absolute");
    }
    let mut names = Vec::new();
    for name in raw.split('/') {
        match name {
            "" | "." => {}
            ".." => return wrong("contains `..`"),
            name if name.contains('\0') => return wrong("contains a zero byte"),
            name if name.len() > 255 => return wrong("has too long a name in it"),
            name => names.push(name),
        }
    }
    if names.len() > MAX_DEPTH {
        return wrong("is too deep");
    }
    Ok(names.join("/"))
}

#[cfg(test)]
mod tests;
