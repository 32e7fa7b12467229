//! A disk that is soon full: a tmpfs of a given size, for one thread and the processes that it starts.
//!
//! It is mounted in a mount namespace of the thread's own, so nobody else sees it, and the kernel removes it with the
//! last process that does, however the test ends.

use anyhow::{Context, Result};
use std::{ffi::CString, io, os::unix::ffi::OsStrExt, path::Path, ptr};

/// Runs `work` on a thread of its own with an empty folder that holds so many bytes. `None`, and nothing was run, where
/// mounting is not permitted.
pub fn on_a_small_disk<T: Send>(
    bytes: u64,
    work: impl FnOnce(&Path) -> Result<T> + Send,
) -> Result<Option<T>> {
    let folder = tempfile::Builder::new().prefix("adit-small-disk-").tempdir()?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<Option<T>> {
            match mount(folder.path(), bytes) {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(None),
                mounted => {
                    mounted.context("cannot mount a tmpfs")?;
                    work(folder.path()).map(Some)
                }
            }
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Mounts a tmpfs that only the calling thread and its children see.
fn mount(folder: &Path, bytes: u64) -> io::Result<()> {
    let check = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let options = CString::new(format!("size={bytes},mode=755"))?;
    let (none, flags) = (ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: system calls with pointers to texts that live until they return, or null where it is allowed.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        check(libc::mount(none, c"/".as_ptr(), none, flags, ptr::null()))?;
        let kind = c"tmpfs".as_ptr();
        check(libc::mount(kind, folder.as_ptr(), kind, 0, options.as_ptr().cast()))
    }
}
