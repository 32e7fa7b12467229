//! The node's end of a channel: the same socket, driven by tokio.

use crate::channel::{self, Channel, Frame, Inbox};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::OnceLock,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Sends and receives through `&self`; both are safe to cancel, since a frame goes in one system call.
#[derive(Debug)]
pub struct AsyncChannel {
    /// Watched for frames alone: every frame that the peer reads would otherwise wake us to say that there is room.
    socket: AsyncFd<OwnedFd>,
    /// The same socket, watched for room once a queue was full.
    room: OnceLock<AsyncFd<OwnedFd>>,
}

fn watch(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open, and always is the same one, until it is dropped; nothing here
    // takes it out of the `AsyncFd`.
    unsafe { AsyncFd::register_with_interest(socket, interest) }.map_err(|error| error.into_parts().1)
}

impl AsyncChannel {
    /// Needs a running tokio runtime with its I/O driver.
    pub fn new(channel: Channel) -> io::Result<Self> {
        // No O_NONBLOCK: the flag belongs to the open file, not to us. MSG_DONTWAIT does the same per call.
        let socket = watch(channel.into_socket(), Interest::READABLE)?;
        Ok(AsyncChannel { socket, room: OnceLock::new() })
    }

    /// Sends one frame; waits while the peer's queue is full.
    pub async fn send(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let send = |socket: BorrowedFd<'_>| channel::send(socket, frame, descriptors, libc::MSG_DONTWAIT);
        match send(self.socket.get_ref().as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
        let room = match self.room.get() {
            Some(room) => room,
            None => {
                let made = watch(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?;
                self.room.get_or_init(|| made)
            }
        };
        room.async_io(Interest::WRITABLE, |socket| send(socket.as_fd())).await
    }

    /// The next frame; `None` when the peer is gone.
    pub async fn receive<'a>(&self, inbox: &'a mut Inbox) -> io::Result<Option<Frame<'a>>> {
        let taken = self
            .socket
            .async_io(Interest::READABLE, |socket| channel::take(socket.as_fd(), inbox, libc::MSG_DONTWAIT))
            .await?;
        Ok(taken.map(|taken| taken.into_frame(inbox)))
    }
}

impl AsFd for AsyncChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ends_talk_and_a_full_queue_waits() {
        let (ours, theirs) = Channel::pair().unwrap();
        let ours = AsyncChannel::new(ours).unwrap();
        let echo = std::thread::spawn(move || {
            let mut inbox = Inbox::new();
            let mut count = 0;
            while let Some(frame) = theirs.receive(&mut inbox).unwrap() {
                theirs.send(frame.bytes, &[]).unwrap();
                count += 1;
            }
            count
        });
        let mut inbox = Inbox::new();
        for i in 0..100_u8 {
            ours.send(&[i, 1], &[]).await.unwrap();
            assert_eq!(ours.receive(&mut inbox).await.unwrap().unwrap().bytes, [i, 1]);
        }
        drop(ours);
        assert_eq!(echo.join().unwrap(), 100);
    }

    #[tokio::test]
    async fn a_sender_resumes_when_the_peer_reads() {
        let (ours, theirs) = Channel::pair().unwrap();
        let ours = AsyncChannel::new(ours).unwrap();
        let reader = std::thread::spawn(move || {
            let mut inbox = Inbox::new();
            let mut total = 0;
            while let Some(frame) = theirs.receive(&mut inbox).unwrap() {
                total += frame.bytes.len();
            }
            total
        });
        for _ in 0..64 {
            ours.send(&vec![1; channel::MAX_FRAME], &[]).await.unwrap();
        }
        drop(ours);
        assert_eq!(reader.join().unwrap(), 64 * channel::MAX_FRAME);
    }
}
