//! One end of a `SOCK_SEQPACKET` socket pair, blocking.
//!
//! The enclave and its workers talk to few peers, each from a thread of its own, so blocking calls are the
//! simplest thing that is also the fastest. The node, which has thousands of conversations, uses
//! `AsyncChannel` over the same socket.

use std::{
    io,
    mem::{size_of, zeroed},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

/// Longest frame in bytes. The kernel refuses a packet longer than the sender's buffer (`SO_SNDBUF`, 208 KiB
/// on an untouched Linux) with `EMSGSIZE`; [`Channel`] makes sure of a buffer that a frame always fits into.
pub const MAX_FRAME: usize = 128 << 10;

/// Most descriptors beside one frame.
pub const MAX_DESCRIPTORS: usize = 16;

/// What the kernel adds to a packet before it compares with the buffer, generously.
const PACKET_OVERHEAD: usize = 4 << 10;

/// Space for `MAX_DESCRIPTORS` in one control message: header (16) plus descriptors, rounded up.
const CONTROL_SPACE: usize = 16 + MAX_DESCRIPTORS * size_of::<RawFd>();

/// Ancillary data has to be aligned like its header.
#[repr(C, align(8))]
struct Control([u8; CONTROL_SPACE]);

/// One end of a conversation. Dropping it is how a conversation ends: the peer reads `None`.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// Room for one frame, reused from call to call.
pub struct Inbox {
    buffer: Box<[u8]>,
}

/// A received frame and the descriptors that came with it.
#[derive(Debug)]
pub struct Frame<'a> {
    pub bytes: &'a [u8],
    pub descriptors: Vec<OwnedFd>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Inbox {
    pub fn new() -> Self {
        Inbox { buffer: vec![0; MAX_FRAME].into_boxed_slice() }
    }
}

impl Channel {
    /// Both ends, closed on exec.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let mut ends = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `ends` has room for the two descriptors that the call writes.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
        // SAFETY: the call succeeded, so both descriptors are open and nobody else owns them.
        let [a, b] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
        Ok((Channel::from_socket(a)?, Channel::from_socket(b)?))
    }

    /// Takes over a socket that came from elsewhere: a descriptor inherited at start, or one out of a frame.
    ///
    /// Fails unless it is a Unix `SOCK_SEQPACKET` socket whose buffer takes the longest frame.
    pub fn from_socket(socket: OwnedFd) -> io::Result<Self> {
        let domain = option(&socket, libc::SO_DOMAIN)?;
        let kind = option(&socket, libc::SO_TYPE)?;
        if (domain, kind) != (libc::AF_UNIX, libc::SOCK_SEQPACKET) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a Unix SEQPACKET socket"));
        }
        let needed = MAX_FRAME + PACKET_OVERHEAD;
        if (option(&socket, libc::SO_SNDBUF)? as usize) < needed {
            let wanted = needed as libc::c_int;
            // SAFETY: the pointer and length describe one integer that outlives the call.
            check(unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_SNDBUF,
                    (&raw const wanted).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                )
            })?;
            if (option(&socket, libc::SO_SNDBUF)? as usize) < needed {
                return Err(io::Error::other(
                    "socket buffers are too small for a frame: raise net.core.wmem_max to at least 256 KiB",
                ));
            }
        }
        Ok(Channel { socket })
    }

    /// Takes over one end of a [`pair`](Self::pair) that came in a frame from whoever made it: without the system
    /// calls that a jailed process may not make.
    pub fn from_pair(socket: OwnedFd) -> Self {
        Channel { socket }
    }

    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends one frame; waits while the peer's queue is full.
    pub fn send(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.socket.as_fd(), frame, descriptors, 0)
    }

    /// Sends one frame if there is room for it now, and says whether there was.
    pub fn try_send(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<bool> {
        match send(self.socket.as_fd(), frame, descriptors, libc::MSG_DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// The next frame; `None` when the peer is gone.
    pub fn receive<'a>(&self, inbox: &'a mut Inbox) -> io::Result<Option<Frame<'a>>> {
        let taken = take(self.socket.as_fd(), inbox, 0)?;
        Ok(taken.map(|taken| taken.into_frame(inbox)))
    }

    /// The next frame if one is there already. `WouldBlock` when none is.
    pub fn try_receive<'a>(&self, inbox: &'a mut Inbox) -> io::Result<Option<Frame<'a>>> {
        let taken = take(self.socket.as_fd(), inbox, libc::MSG_DONTWAIT)?;
        Ok(taken.map(|taken| taken.into_frame(inbox)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn option(socket: &OwnedFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to locals of the size given.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length)
    })?;
    Ok(value)
}

pub(crate) fn send(
    socket: BorrowedFd<'_>,
    frame: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: libc::c_int,
) -> io::Result<()> {
    // An empty packet could not be told from the end of the conversation.
    if frame.is_empty() || frame.len() > MAX_FRAME || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "frame empty, too long, or too many descriptors",
        ));
    }
    let mut part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
    let mut control = Control([0; CONTROL_SPACE]);
    // SAFETY: an all-zero msghdr is valid. Every pointer set below is to a local that outlives the call, the
    // control message fits (`CONTROL_SPACE` is for MAX_DESCRIPTORS), and sendmsg writes through none of them.
    unsafe {
        let mut header: libc::msghdr = zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        if !descriptors.is_empty() {
            let bytes = (descriptors.len() * size_of::<RawFd>()) as u32;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE(bytes) as _;
            let item = libc::CMSG_FIRSTHDR(&raw const header);
            (*item).cmsg_level = libc::SOL_SOCKET;
            (*item).cmsg_type = libc::SCM_RIGHTS;
            (*item).cmsg_len = libc::CMSG_LEN(bytes) as _;
            for (i, descriptor) in descriptors.iter().enumerate() {
                let slot = libc::CMSG_DATA(item).cast::<RawFd>().add(i);
                ptr::write_unaligned(slot, descriptor.as_raw_fd());
            }
        }
        retry(|| libc::sendmsg(socket.as_raw_fd(), &raw const header, flags | libc::MSG_NOSIGNAL))?;
    }
    Ok(())
}

/// A frame that lies in an inbox.
pub(crate) struct Taken {
    length: usize,
    descriptors: Vec<OwnedFd>,
}

impl Taken {
    pub(crate) fn into_frame(self, inbox: &Inbox) -> Frame<'_> {
        Frame { bytes: &inbox.buffer[..self.length], descriptors: self.descriptors }
    }
}

pub(crate) fn take(
    socket: BorrowedFd<'_>,
    inbox: &mut Inbox,
    flags: libc::c_int,
) -> io::Result<Option<Taken>> {
    let buffer = &mut inbox.buffer;
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control([0; CONTROL_SPACE]);
    let mut descriptors = Vec::new();
    // SAFETY: as in `send`; the kernel writes at most the lengths given, and each descriptor that it reports in
    // a complete SCM_RIGHTS message is open and ours alone.
    let length = unsafe {
        let mut header: libc::msghdr = zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = size_of::<Control>() as _;
        let flags = flags | libc::MSG_CMSG_CLOEXEC;
        let length = match retry(|| libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags)) {
            // The peer closed with frames of ours unread: gone, like any other end.
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => return Ok(None),
            other => other?,
        };
        let mut item = libc::CMSG_FIRSTHDR(&raw const header);
        while !item.is_null() {
            if (*item).cmsg_level == libc::SOL_SOCKET && (*item).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*item).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for i in 0..bytes / size_of::<RawFd>() {
                    let slot = libc::CMSG_DATA(item).cast::<RawFd>().add(i);
                    descriptors.push(OwnedFd::from_raw_fd(ptr::read_unaligned(slot)));
                }
            }
            item = libc::CMSG_NXTHDR(&raw const header, item);
        }
        if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            // Whatever did arrive is closed again by dropping it.
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame or descriptors cut off"));
        }
        length
    };
    Ok((length > 0).then_some(Taken { length, descriptors }))
}

/// Turns a system call's −1 into the error that it stands for.
pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;
    use std::os::unix::net::UnixStream;

    #[test]
    fn frames_keep_their_borders_and_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let file = memory::sealed(c"test", b"content").unwrap();
        a.send(b"one", &[]).unwrap();
        a.send(b"two", &[file.as_fd()]).unwrap();
        let mut inbox = Inbox::new();
        let frame = b.receive(&mut inbox).unwrap().unwrap();
        assert_eq!((frame.bytes, frame.descriptors.len()), (&b"one"[..], 0));
        let frame = b.receive(&mut inbox).unwrap().unwrap();
        assert_eq!(frame.bytes, b"two");
        assert_eq!(memory::copy_out(frame.descriptors[0].as_fd(), 0, 7).unwrap(), b"content");
        drop(a);
        assert!(b.receive(&mut inbox).unwrap().is_none());
    }

    #[test]
    fn the_longest_frame_with_most_descriptors_passes_and_a_longer_one_does_not() {
        let (a, b) = Channel::pair().unwrap();
        let descriptors = [a.as_fd(); MAX_DESCRIPTORS];
        a.send(&vec![7; MAX_FRAME], &descriptors).unwrap();
        let mut inbox = Inbox::new();
        let frame = b.receive(&mut inbox).unwrap().unwrap();
        assert_eq!((frame.bytes.len(), frame.descriptors.len()), (MAX_FRAME, MAX_DESCRIPTORS));
        assert!(a.send(&vec![7; MAX_FRAME + 1], &[]).is_err());
        assert!(a.send(b"", &[]).is_err());
        assert!(a.send(b"x", &[a.as_fd(); MAX_DESCRIPTORS + 1]).is_err());
    }

    #[test]
    fn a_frame_that_does_not_fit_is_an_error_and_never_a_shortened_frame() {
        let (a, b) = Channel::pair().unwrap();
        let long = vec![1_u8; MAX_FRAME + 100];
        // SAFETY: the pointer and length describe `long`.
        let sent = unsafe { libc::send(a.as_fd().as_raw_fd(), long.as_ptr().cast(), long.len(), 0) };
        assert_eq!(sent as usize, long.len());
        assert_eq!(b.receive(&mut Inbox::new()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn too_many_descriptors_are_an_error_and_do_not_stay_open() {
        let (a, b) = Channel::pair().unwrap();
        let (probe, held) = Channel::pair().unwrap();
        let count = MAX_DESCRIPTORS + 4;
        let mut control = [0_u64; 32];
        let mut byte = 1_u8;
        let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: as in `send`, with a control buffer of 256 bytes for 20 descriptors.
        unsafe {
            let mut header: libc::msghdr = zeroed();
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE((count * 4) as u32) as _;
            let item = libc::CMSG_FIRSTHDR(&raw const header);
            (*item).cmsg_level = libc::SOL_SOCKET;
            (*item).cmsg_type = libc::SCM_RIGHTS;
            (*item).cmsg_len = libc::CMSG_LEN((count * 4) as u32) as _;
            for i in 0..count {
                let slot = libc::CMSG_DATA(item).cast::<RawFd>().add(i);
                ptr::write_unaligned(slot, held.as_fd().as_raw_fd());
            }
            assert_eq!(libc::sendmsg(a.as_fd().as_raw_fd(), &raw const header, 0), 1);
        }
        assert_eq!(b.receive(&mut Inbox::new()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(held);
        // Nobody holds the far end any more, so its near end reads the end of the conversation.
        assert!(probe.receive(&mut Inbox::new()).unwrap().is_none());
    }

    #[test]
    fn other_sockets_are_refused() {
        let (stream, _other) = UnixStream::pair().unwrap();
        assert!(Channel::from_socket(stream.into()).is_err());
    }

    #[test]
    fn trying_neither_waits_nor_loses_frames() {
        let (a, b) = Channel::pair().unwrap();
        let mut inbox = Inbox::new();
        assert_eq!(b.try_receive(&mut inbox).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut sent = 0;
        while a.try_send(&vec![3; MAX_FRAME], &[]).unwrap() {
            sent += 1;
        }
        assert!(sent > 0);
        for _ in 0..sent {
            assert_eq!(b.try_receive(&mut inbox).unwrap().unwrap().bytes.len(), MAX_FRAME);
        }
    }
}
