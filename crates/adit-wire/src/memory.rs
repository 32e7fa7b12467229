//! Memory files: how blocks, machine code and outputs cross a process border without being copied through
//! the socket.
//!
//! Who may write is decided by the kernel (`memfd_create` seals), not by good manners:
//!
//! | kind | maker | other side |
//! |---|---|---|
//! | [`sealed`] | wrote it once | reads; nobody ever writes again |
//! | [`scratch`] | reads copies | writes; the length is fixed |
//! | [`Slots`] | writes through its mapping | reads; `F_SEAL_FUTURE_WRITE` refuses every other writer |

use crate::channel::check;
use std::{
    ffi::CStr,
    fs::File,
    io::{self, Write},
    mem::zeroed,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr, slice,
};

/// Absent from some libc versions; `linux/fcntl.h`.
const F_SEAL_FUTURE_WRITE: libc::c_int = 0x10;

fn create(name: &CStr, length: u64) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_NOEXEC_SEAL;
    // SAFETY: `name` is a C string; a successful call returns a descriptor that nobody else owns.
    let file = unsafe { File::from_raw_fd(check(libc::memfd_create(name.as_ptr(), flags))?) };
    file.set_len(length)?;
    Ok(file)
}

fn seal(file: &File, seals: libc::c_int) -> io::Result<()> {
    // SAFETY: F_ADD_SEALS takes an integer and touches no memory of ours.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// Bytes that nobody can change any more: modules, machine code, output blocks. `name` shows in `/proc`.
pub fn sealed(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = Growing::new(name)?;
    file.append(bytes)?;
    file.seal()
}

/// A memory file that is written piece by piece and then [`sealed`](Growing::seal).
#[derive(Debug)]
pub struct Growing {
    file: File,
    length: u64,
}

impl Growing {
    pub fn new(name: &CStr) -> io::Result<Self> {
        Ok(Growing { file: create(name, 0)?, length: 0 })
    }

    /// Bytes so far, and so where the next piece will begin.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// From here on nobody can change it.
    pub fn seal(self) -> io::Result<OwnedFd> {
        seal(&self.file, libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL)?;
        Ok(self.file.into())
    }
}

/// Fails unless the file is one that [`sealed`] could have made and is exactly `length` bytes long. Afterwards
/// it can be mapped and read in place: nobody can change or shorten it.
pub fn require_sealed(file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
    // SAFETY: F_GET_SEALS takes no argument.
    let seals = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) })?;
    let wanted = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK;
    if seals & wanted != wanted {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "memory file is not sealed"));
    }
    if self::length(file)? != length {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "memory file has another length than announced",
        ));
    }
    Ok(())
}

/// How many bytes a file has.
pub fn length(file: BorrowedFd<'_>) -> io::Result<u64> {
    // The system call itself: glibc's `fstat` asks `newfstatat`, which takes paths too and which no jail allows.
    // SAFETY: an all-zero stat is valid; on 64-bit Linux the kernel's layout is libc's, and it outlives the call.
    let stat = unsafe {
        let mut stat: libc::stat = zeroed();
        check(libc::syscall(libc::SYS_fstat, file.as_raw_fd(), &raw mut stat) as libc::c_int)?;
        stat
    };
    Ok(stat.st_size as u64)
}

/// A memory file of fixed length that the other side may write. Never hash or parse it in place: copy first
/// ([`copy_out`]), or what was hashed need not be what is used.
pub fn scratch(name: &CStr, length: u64) -> io::Result<OwnedFd> {
    let file = create(name, length)?;
    seal(&file, libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL)?;
    Ok(file.into())
}

/// Gives the pages of a [`scratch`] file back to the system; it reads as zeros afterwards.
pub fn clear(file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let length = libc::off_t::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: integers only.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, length) }).map(drop)
}

/// The slots that blocks are handed over in. The maker writes; every later mapping is read-only, which
/// `F_SEAL_FUTURE_WRITE` enforces in the kernel, whatever the other side tries. (The same seal forbids punching
/// holes, so pages once written stay until the file is dropped.)
pub struct Slots {
    mapping: Mapping,
    slot_size: usize,
    file: OwnedFd,
}

impl Slots {
    /// `slots` × `slot_size` bytes, of which only those ever written take memory.
    pub fn create(slots: usize, slot_size: usize) -> io::Result<Self> {
        let length = slots.checked_mul(slot_size).filter(|length| *length > 0);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let file = create(c"blocks", length as u64)?;
        let mapping = Mapping::of(file.as_fd(), length, libc::PROT_READ | libc::PROT_WRITE)?;
        seal(&file, F_SEAL_FUTURE_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL)?;
        Ok(Slots { mapping, slot_size, file: file.into() })
    }

    /// What to send to the reader.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub fn count(&self) -> usize {
        self.mapping.length / self.slot_size
    }

    pub fn slot_size(&self) -> usize {
        self.slot_size
    }

    /// The slot's memory; `None` if there is no such slot. The reader can look at any time, and may see a block
    /// half written: it was told of it by nobody, so that is its own loss, never ours.
    pub fn slot(&mut self, slot: usize) -> Option<&mut [u8]> {
        if slot >= self.count() {
            return None;
        }
        // SAFETY: inside the mapping, which is writable here and lives as long as `self`; `&mut self` makes this
        // the only reference to it in the process that may write.
        Some(unsafe {
            let start = self.mapping.start.add(slot * self.slot_size);
            slice::from_raw_parts_mut(start, self.slot_size)
        })
    }
}

/// A shared mapping, unmapped on drop.
pub struct Mapping {
    start: *mut u8,
    length: usize,
}

// SAFETY: plain memory that belongs to no thread; access goes through `&self` and `&mut self`.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` only reads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes. The caller knows that the file is at least that long and cannot shrink
    /// (it is sealed): touching memory beyond the end of a file kills the process.
    pub fn read_only(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        Self::of(file, length, libc::PROT_READ)
    }

    fn of(file: BorrowedFd<'_>, length: usize, protection: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { start: start.cast(), length })
    }

    /// The bytes. In shared slots the maker of the file writes a range only before it announces that range.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped, readable, and lives as long as `self`.
        unsafe { slice::from_raw_parts(self.start, self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `of` mapped, and nobody can hold a reference into it any more.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// A private copy of `length` bytes at `offset`, safe to hash and parse. Works on any file; the file's own
/// position does not move. Fails with `UnexpectedEof` when the file is shorter.
pub fn copy_out(file: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    // How long the file is was the other side's word: refuse before allocating for what cannot be there.
    if self::length(file)? < offset.saturating_add(length as u64) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = vec![0; length];
    read_at(file, &mut bytes, offset)?;
    Ok(bytes)
}

/// Reads exactly `into.len()` bytes at `offset`; the file's own position does not move.
pub fn read_at(file: BorrowedFd<'_>, into: &mut [u8], mut offset: u64) -> io::Result<()> {
    let mut rest = into;
    while !rest.is_empty() {
        let at = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the pointer and length describe `rest`, which nobody else can touch.
        let got = unsafe { libc::pread(file.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len(), at) };
        match got {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got if got > 0 => {
                rest = &mut rest[got as usize..];
                offset += got as u64;
            }
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_sealed_file_cannot_be_changed_and_an_open_one_is_not_taken_for_sealed() {
        let file = sealed(c"test", b"machine code").unwrap();
        require_sealed(file.as_fd(), 12).unwrap();
        assert!(require_sealed(file.as_fd(), 11).is_err());
        let writable = File::from(file.try_clone().unwrap());
        assert!(writable.write_all_at(b"x", 0).is_err());
        assert!(writable.set_len(1).is_err());
        assert!(require_sealed(scratch(c"open", 12).unwrap().as_fd(), 12).is_err());
    }

    #[test]
    fn slots_are_read_only_for_everyone_but_their_maker() {
        let mut slots = Slots::create(2, 4096).unwrap();
        slots.slot(1).unwrap()[..3].copy_from_slice(b"abc");
        assert!(slots.slot(2).is_none());
        assert!(Mapping::of(slots.file(), 8192, libc::PROT_READ | libc::PROT_WRITE).is_err());
        assert!(File::from(slots.file().try_clone_to_owned().unwrap()).write_all_at(b"x", 0).is_err());
        let reader = Mapping::read_only(slots.file(), 8192).unwrap();
        assert_eq!(&reader.bytes()[4096..4099], b"abc");
    }

    #[test]
    fn copying_out_refuses_what_is_not_there() {
        let file = scratch(c"out", 10).unwrap();
        assert_eq!(copy_out(file.as_fd(), 4, 6).unwrap(), [0; 6]);
        assert!(copy_out(file.as_fd(), 4, 7).is_err());
        assert!(copy_out(file.as_fd(), u64::MAX, 7).is_err());
        let mut into = [0; 4];
        read_at(file.as_fd(), &mut into, 6).unwrap();
        assert!(read_at(file.as_fd(), &mut into, 7).is_err());
        assert!(read_at(file.as_fd(), &mut into, u64::MAX).is_err());
    }

    #[test]
    fn clearing_keeps_the_length() {
        let file = scratch(c"out", 8192).unwrap();
        File::from(file.try_clone().unwrap()).write_all_at(b"secret", 100).unwrap();
        clear(file.as_fd(), 8192).unwrap();
        assert_eq!(copy_out(file.as_fd(), 100, 6).unwrap(), [0; 6]);
    }
}
