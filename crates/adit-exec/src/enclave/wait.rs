//! Waiting for several descriptors and a deadline at once, without ticks.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Instant,
};

/// Waits until one of `sources` can be read (or has ended), or until `deadline`. Says which can be read: none of
/// them means that the deadline has come.
pub(super) fn readable<const N: usize>(
    sources: [BorrowedFd<'_>; N],
    deadline: Instant,
) -> io::Result<[bool; N]> {
    poll(sources, libc::POLLIN, deadline)
}

/// Waits until `sink` takes another frame. False means that the deadline has come.
pub(super) fn writable(sink: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    poll([sink], libc::POLLOUT, deadline).map(|[ready]| ready)
}

fn poll<const N: usize>(
    sources: [BorrowedFd<'_>; N],
    events: libc::c_short,
    deadline: Instant,
) -> io::Result<[bool; N]> {
    let mut entries = sources.map(|source| libc::pollfd { fd: source.as_raw_fd(), events, revents: 0 });
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = libc::timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        // SAFETY: `entries` and `timeout` outlive the call; a null signal mask leaves signals alone.
        let count = unsafe {
            libc::ppoll(entries.as_mut_ptr(), N as libc::nfds_t, &raw const timeout, std::ptr::null())
        };
        if count >= 0 {
            return Ok(entries.map(|entry| entry.revents != 0));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
