//! What the disk store asks of a file system, as a trait: the real one is [`OsMedium`], and the
//! crash tests put a simulated one under the same code.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::Database;
use rustix::fs::{FallocateFlags, OFlags, fallocate, fdatasync, statvfs};

/// A directory of segment files and small databases.
pub(crate) trait Medium: Debug + Send + Sync + 'static {
    /// Makes an empty segment whose name survives a crash from here on.
    fn create_segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens a segment for reading.
    fn open_segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens a segment for appending and punching holes as well.
    fn change_segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>>;
    /// Removes a segment. Its return after a crash would do no harm.
    fn remove_segment(&self, number: u32) -> io::Result<()>;
    fn list_segments(&self) -> io::Result<Vec<u32>>;

    /// Opens or makes the database `name`, with `cache` bytes of page cache.
    fn open_database(&self, name: &str, cache: usize) -> Result<Database, redb::Error>;
    /// Puts a database that cannot be read out of the way, so that the next open makes it anew.
    fn set_database_aside(&self, name: &str) -> io::Result<()>;

    /// What the file system has left for us, in bytes.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One segment file.
pub(crate) trait SegmentFile: Debug + Send + Sync {
    /// Writes whole pages at a page boundary.
    fn write_pages(&self, pages: &[u8], offset: u64) -> io::Result<()>;
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Reads exactly `len` bytes into memory of their own.
    fn read_at(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
    /// Reads only what is in memory already; `false` where the disk would have to be waited for.
    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> bool;
    /// Everything written before is durable when this returns.
    fn sync(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// Bytes the file takes on the disk, holes not counted.
    fn allocated(&self) -> io::Result<u64>;
    /// Gives the space of a page-aligned range back; it reads as zeros afterwards.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
    /// The open file, where there is one to hand to another process.
    fn file(&self) -> Option<Arc<File>>;
}

/// The operating system's file system.
#[derive(Debug)]
pub(crate) struct OsMedium {
    dir: PathBuf,
    segments: PathBuf,
}

/// Direct writes pay off for big flushes only; small ones stay in the page cache, where their
/// reader finds them.
const DIRECT_FROM: usize = 256 << 10;

impl OsMedium {
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let segments = dir.join("segments");
        fs::create_dir_all(&segments)?;
        sync_dir(dir)?;
        Ok(Self { dir: dir.to_owned(), segments })
    }

    fn path(&self, number: u32) -> PathBuf {
        self.segments.join(format!("{number:08x}.seg"))
    }
}

/// Up to `len` bytes of a file, fewer only where it ends before. They are read into memory that nobody filled with zeros
/// first, which for blocks of a megabyte costs as much as reading them does.
pub(crate) fn read_at(file: &File, len: usize, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // A capacity may be larger than what was asked for.
    bytes.truncate(len);
    Ok(bytes)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

impl Medium for OsMedium {
    fn create_segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(number))?;
        sync_dir(&self.segments)?;
        self.change_segment(number)
    }

    fn change_segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>> {
        let path = self.path(number);
        let cached = OpenOptions::new().write(true).open(&path)?;
        // Not every file system takes O_DIRECT; without it everything goes through the cache.
        let direct =
            OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(&path).ok();
        let read = Arc::new(File::open(&path)?);
        Ok(Arc::new(OsSegment { read, write: Some(Writers { cached, direct }) }))
    }

    fn open_segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>> {
        let read = Arc::new(File::open(self.path(number))?);
        Ok(Arc::new(OsSegment { read, write: None }))
    }

    fn remove_segment(&self, number: u32) -> io::Result<()> {
        fs::remove_file(self.path(number))
    }

    fn list_segments(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.segments)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|n| n.strip_suffix(".seg"));
            if let Some(number) = number.and_then(|n| u32::from_str_radix(n, 16).ok()) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn open_database(&self, name: &str, cache: usize) -> Result<Database, redb::Error> {
        let path = self.dir.join(name);
        if !path.exists() {
            // A database whose making was interrupted would not open, so it gets its name last.
            let fresh = self.dir.join(format!("{name}.new"));
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(redb::StorageError::from(error).into());
                }
                _ => {}
            }
            drop(Database::create(&fresh)?);
            let name_it = || {
                File::open(&fresh)?.sync_all()?;
                fs::rename(&fresh, &path)?;
                sync_dir(&self.dir)
            };
            name_it().map_err(redb::StorageError::from)?;
        }
        Ok(Database::builder().set_cache_size(cache).create(&path)?)
    }

    fn set_database_aside(&self, name: &str) -> io::Result<()> {
        fs::rename(self.dir.join(name), self.dir.join(format!("{name}.broken")))?;
        sync_dir(&self.dir)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = statvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct OsSegment {
    read: Arc<File>,
    /// Only the segment that is being changed is open for writing.
    write: Option<Writers>,
}

#[derive(Debug)]
struct Writers {
    cached: File,
    direct: Option<File>,
}

impl SegmentFile for OsSegment {
    fn write_pages(&self, pages: &[u8], offset: u64) -> io::Result<()> {
        let writers = self.write.as_ref().ok_or(io::ErrorKind::ReadOnlyFilesystem)?;
        match &writers.direct {
            Some(direct) if pages.len() >= DIRECT_FROM => direct.write_all_at(pages, offset),
            _ => writers.cached.write_all_at(pages, offset),
        }
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.read_exact_at(buf, offset)
    }

    fn read_at(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        let bytes = read_at(&self.read, len, offset)?;
        if bytes.len() == len { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> bool {
        let wanted = buf.len();
        let slices = &mut [io::IoSliceMut::new(buf)];
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        rustix::io::preadv2(&self.read, slices, offset, flags).is_ok_and(|read| read == wanted)
    }

    fn sync(&self) -> io::Result<()> {
        match &self.write {
            Some(writers) => Ok(fdatasync(&writers.cached)?),
            None => Ok(fdatasync(&self.read)?),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.read.metadata()?.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.read.metadata()?.blocks() * 512)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match &self.write {
            Some(writers) => Ok(fallocate(&writers.cached, flags, offset, len)?),
            None => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(self.read.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_gives_what_was_asked_for_or_what_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        for (len, offset) in [(0, 0), (1, 99_999), (70_000, 11), (100_000, 0)] {
            assert_eq!(read_at(&file, len, offset as u64).unwrap(), content[offset..offset + len]);
        }
        assert_eq!(read_at(&file, 100, 99_990).unwrap(), content[99_990..]);
        assert!(read_at(&file, 100, 200_000).unwrap().is_empty());
        let segment = OsSegment { read: Arc::new(file), write: None };
        assert_eq!(segment.read_at(7, 3).unwrap(), content[3..10]);
        let short = segment.read_at(11, 99_990).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }
}
