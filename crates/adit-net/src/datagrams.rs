//! Room for datagrams: what the kernel keeps of what arrives while this process does something else.
//!
//! QUIC's sockets are libp2p's and get what the system gives to everybody, 208 KiB on most: two or three of the batches in
//! which a fast peer's packets come. When another process has the processor for a moment the rest is lost, sent again,
//! and taken for a sign of a narrow path. So they are asked for more; the system's `net.core.rmem_max` has the last word.

use std::fs;
use std::io;
use std::mem::size_of;

use libp2p::{Multiaddr, multiaddr::Protocol};

/// A burst of a connection's whole window, a third of it.
const ROOM: libc::c_int = 4 << 20;

/// Gives the sockets behind a QUIC listener's address their room.
pub(crate) fn make_room(listener: &Multiaddr) {
    let port = listener.iter().find_map(|part| match part {
        Protocol::Udp(port) => Some(port),
        _ => None,
    });
    let Some(port) = port else { return };
    match sockets_at(port) {
        Ok(sockets) => sockets.into_iter().for_each(widen),
        Err(error) => tracing::debug!(%error, "cannot list open sockets"),
    }
}

/// This process's UDP sockets bound to a port. Numbers, not handles: others own them.
fn sockets_at(port: u16) -> io::Result<Vec<libc::c_int>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if option(number, libc::SO_TYPE) == Some(libc::SOCK_DGRAM) && bound_to(number) == Some(port) {
            found.push(number);
        }
    }
    Ok(found)
}

/// Asks for more room, never for less. A socket that was closed meanwhile, or its number given to another, is no harm:
/// the question has no effect on anything but a socket's buffer.
fn widen(socket: libc::c_int) {
    // The kernel answers with twice of what was asked for.
    if option(socket, libc::SO_RCVBUF).is_some_and(|room| room < ROOM) {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        let value = ROOM;
        // SAFETY: the kernel reads `length` bytes, which is what `value` has.
        let failed = unsafe {
            let value = (&raw const value).cast();
            libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, value, length)
        };
        if failed != 0 {
            tracing::debug!(error = %io::Error::last_os_error(), "a socket keeps its room");
        }
    }
}

fn option(socket: libc::c_int, name: libc::c_int) -> Option<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is what `value` has.
    let failed =
        unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    (failed == 0).then_some(value)
}

fn bound_to(socket: libc::c_int) -> Option<u16> {
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is what `address` has.
    let failed = unsafe { libc::getsockname(socket, (&raw mut address).cast(), &raw mut length) };
    let family = libc::c_int::from(address.sin6_family);
    // The port stands at the same place in IPv4's and IPv6's.
    let internet = family == libc::AF_INET || family == libc::AF_INET6;
    (failed == 0 && internet).then(|| u16::from_be(address.sin6_port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_socket_of_a_listener_gets_room_and_no_other_does() {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0")).unwrap();
        let stream = TcpListener::bind("127.0.0.1:0").unwrap();
        let room = |socket: &dyn AsRawFd| option(socket.as_raw_fd(), libc::SO_RCVBUF).unwrap();
        let before = (room(&ours), room(&other));
        let most: libc::c_int =
            fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap().trim().parse().unwrap();
        let port = ours.local_addr().unwrap().port();
        assert_eq!(sockets_at(port).unwrap(), [ours.as_raw_fd()]);
        make_room(&format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().unwrap());
        assert_eq!(room(&ours), before.0.max(2 * ROOM.min(most)));
        assert_eq!(room(&other), before.1);
        assert_eq!(option(stream.as_raw_fd(), libc::SO_TYPE), Some(libc::SOCK_STREAM));
        assert!(!sockets_at(stream.local_addr().unwrap().port()).unwrap().contains(&stream.as_raw_fd()));
    }
}
