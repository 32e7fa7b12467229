//! What the two ends of a job stream hold.
//!
//! Reading and writing happen in the calling task, straight on the connection's stream. Both
//! `send` and `recv` are cancel-safe: a message is queued whole or not at all, and a partly read
//! frame waits in the receiver for the next call.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite};
use libp2p::{PeerId, Stream, StreamProtocol};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    MAX_MESSAGE,
    budget::{Place, Room},
    wire::{self, Decoded, Frame, FrameError},
};
use crate::metrics::{Count, Metrics};

/// Bytes that `feed` lets queue before it writes. One message may lie on top of it.
const SEND_QUEUE: usize = 256 * 1024;
/// Buffers that a big message has grown beyond this are given back.
const KEEP_BUFFER: usize = 64 * 1024;
/// Read at least this much at once: one read takes a small message with its header.
const READ_CHUNK: usize = 4 * 1024;
/// A buffer grows at most by this much before bytes have come to fill it.
const READ_STEP: usize = 256 * 1024;
/// Incomplete messages beyond this size count against the byte budgets.
const ROOM_FROM: usize = 64 * 1024;

/// Reading from or writing to a job stream failed. The stream is of no use afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The peer dropped the stream, or vanished, before ending it.
    #[error("the peer dropped the stream")]
    Reset,
    /// The peer did not take the stream.
    #[error("the peer refused the stream: {0}")]
    Refused(String),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] FrameError),
    /// A message to send is over [`MAX_MESSAGE`].
    #[error("a message of {0} bytes is over the limit of {MAX_MESSAGE}")]
    TooLong(usize),
    /// Nothing came for this many seconds.
    #[error("nothing came for {0} s")]
    Idle(u64),
    /// A message did not get through, in or out, within this many seconds.
    #[error("no progress within {0} s")]
    Stalled(u64),
    /// `finish` was called before.
    #[error("the sending side is finished")]
    Finished,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Connection(String),
}

impl StreamError {
    fn io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::WriteZero
            | io::ErrorKind::UnexpectedEof => Self::Reset,
            _ => Self::Connection(error.to_string()),
        }
    }
}

/// How long to wait for a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) idle: Duration,
    pub(super) stall: Duration,
}

/// What both halves share. The lock is held for single polls only.
struct Io {
    stream: Mutex<Stream>,
    peer: PeerId,
    place: Place,
    metrics: Arc<Metrics>,
}

/// A job stream: framed messages of at most [`MAX_MESSAGE`] bytes, both ways. Dropping it without
/// [`JobStream::finish`] resets it, and the peer's `recv` fails.
#[derive(Debug)]
pub struct JobStream {
    protocol: StreamProtocol,
    // In this order: the receiver goes first, so that the sender's drop knows it is the last.
    receiver: JobReceiver,
    sender: JobSender,
}

/// The sending half.
pub struct JobSender {
    io: Arc<Io>,
    queue: BytesMut,
    stall: Duration,
    state: Sending,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// The end is queued but may not be on the wire yet.
    Ending,
    Finished,
    Failed(StreamError),
}

/// The receiving half.
pub struct JobReceiver {
    io: Arc<Io>,
    buffer: BytesMut,
    room: Option<Room>,
    idle: Duration,
    stall: Duration,
    /// Time spent waiting for the next frame to begin, or for the begun one to become whole.
    waited: Duration,
    done: Option<Result<(), StreamError>>,
}

impl JobStream {
    pub(super) fn new(
        stream: Stream,
        protocol: StreamProtocol,
        peer: PeerId,
        place: Place,
        patience: Patience,
        metrics: Arc<Metrics>,
    ) -> Self {
        let io = Arc::new(Io { stream: Mutex::new(stream), peer, place, metrics });
        let receiver = JobReceiver {
            io: Arc::clone(&io),
            buffer: BytesMut::new(),
            room: None,
            idle: patience.idle,
            stall: patience.stall,
            waited: Duration::ZERO,
            done: None,
        };
        let sender = JobSender { io, queue: BytesMut::new(), stall: patience.stall, state: Sending::Open };
        Self { protocol, receiver, sender }
    }

    /// Which of the protocols it was opened for.
    pub(crate) fn protocol(&self) -> &StreamProtocol {
        &self.protocol
    }

    /// The node at the other end.
    pub fn peer(&self) -> PeerId {
        self.sender.io.peer
    }

    /// See [`JobSender::send`].
    pub async fn send(&mut self, message: &[u8]) -> Result<(), StreamError> {
        self.sender.send(message).await
    }

    /// See [`JobReceiver::recv`].
    pub async fn recv(&mut self) -> Result<Option<Bytes>, StreamError> {
        self.receiver.recv().await
    }

    /// See [`JobSender::finish`].
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        self.sender.finish().await
    }

    /// See [`JobReceiver::set_idle`].
    pub fn set_idle(&mut self, idle: Duration) {
        self.receiver.set_idle(idle);
    }

    /// Both halves, for two tasks. The stream is reset when both are gone without a `finish`.
    pub fn split(self) -> (JobSender, JobReceiver) {
        (self.sender, self.receiver)
    }
}

impl JobSender {
    /// The node at the other end.
    pub fn peer(&self) -> PeerId {
        self.io.peer
    }

    /// Sends one message and waits until the connection has taken it. Waits while the peer does
    /// not read. Cancelled, the message is still queued whole and goes out with the next call.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), StreamError> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Queues one message, writing first when more than 256 KiB are queued. Call
    /// [`Self::flush`] when nothing more follows at once.
    pub async fn feed(&mut self, message: &[u8]) -> Result<(), StreamError> {
        match &self.state {
            Sending::Open => {}
            Sending::Ending | Sending::Finished => return Err(StreamError::Finished),
            Sending::Failed(error) => return Err(error.clone()),
        }
        if message.len() > MAX_MESSAGE {
            return Err(StreamError::TooLong(message.len()));
        }
        if self.queue.len() >= SEND_QUEUE {
            self.write_out().await?;
        }
        wire::put_message(&mut self.queue, message);
        self.io.metrics.job_messages_out.one();
        self.io.place.answer();
        Ok(())
    }

    /// Waits until the connection has taken everything queued.
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        if let Sending::Failed(error) = &self.state {
            return Err(error.clone());
        }
        self.write_out().await?;
        let io = Arc::clone(&self.io);
        self.progress(poll_fn(move |cx| Pin::new(&mut *io.stream.lock()).poll_flush(cx))).await
    }

    /// Ends our direction: the peer's `recv` returns `None` after the last message. We can still
    /// receive. Calling it again is allowed.
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        match &self.state {
            Sending::Open => {
                wire::put_end(&mut self.queue);
                self.state = Sending::Ending;
            }
            Sending::Ending => {}
            Sending::Finished => return Ok(()),
            Sending::Failed(error) => return Err(error.clone()),
        }
        self.flush().await?;
        let io = Arc::clone(&self.io);
        self.progress(poll_fn(move |cx| Pin::new(&mut *io.stream.lock()).poll_close(cx))).await?;
        self.state = Sending::Finished;
        Ok(())
    }

    async fn write_out(&mut self) -> Result<(), StreamError> {
        while !self.queue.is_empty() {
            let io = Arc::clone(&self.io);
            let queue = &self.queue;
            let write = poll_fn(move |cx| Pin::new(&mut *io.stream.lock()).poll_write(cx, queue));
            let written = match timeout(self.stall, write).await {
                Ok(Ok(0)) => return Err(self.fail(StreamError::Reset)),
                Ok(Ok(n)) => n,
                Ok(Err(error)) => return Err(self.fail(StreamError::io(&error))),
                Err(_) => return Err(self.fail(StreamError::Stalled(self.stall.as_secs()))),
            };
            self.queue.advance(written);
        }
        if self.queue.capacity() > KEEP_BUFFER {
            self.queue = BytesMut::new();
        }
        Ok(())
    }

    async fn progress(&mut self, io: impl Future<Output = io::Result<()>>) -> Result<(), StreamError> {
        match timeout(self.stall, io).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.fail(StreamError::io(&error))),
            Err(_) => Err(self.fail(StreamError::Stalled(self.stall.as_secs()))),
        }
    }

    fn fail(&mut self, error: StreamError) -> StreamError {
        self.queue = BytesMut::new();
        self.state = Sending::Failed(error.clone());
        error
    }
}

impl Drop for JobSender {
    fn drop(&mut self) {
        let receiver_lives = Arc::strong_count(&self.io) > 1;
        if receiver_lives && self.state != Sending::Finished {
            // The peer must learn that nothing more comes. A close without the end frame means
            // just that; where it can't be queued at once, dropping the receiver resets.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut *self.io.stream.lock()).poll_close(&mut cx);
        }
    }
}

impl JobReceiver {
    /// The node at the other end.
    pub fn peer(&self) -> PeerId {
        self.io.peer
    }

    /// How long `recv` waits for a message to begin. From the configuration unless set here.
    pub fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
    }

    /// The next message; `None` once the peer has finished. Cancel-safe.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, StreamError> {
        match &self.done {
            Some(Ok(())) => return Ok(None),
            Some(Err(error)) => return Err(error.clone()),
            None => {}
        }
        let result = self.next().await;
        match &result {
            Ok(Some(_)) => return result,
            Ok(None) => self.done = Some(Ok(())),
            Err(error) => self.done = Some(Err(error.clone())),
        }
        self.buffer = BytesMut::new();
        self.room = None;
        result
    }

    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        loop {
            match wire::decode(&mut self.buffer)? {
                Decoded::Frame(Frame::Message(message)) => {
                    self.room = None;
                    self.waited = Duration::ZERO;
                    if self.buffer.is_empty() && self.buffer.capacity() > KEEP_BUFFER {
                        self.buffer = BytesMut::new();
                    }
                    self.io.metrics.job_messages_in.one();
                    return Ok(Some(message));
                }
                Decoded::Frame(Frame::End) => return Ok(None),
                Decoded::Frame(Frame::Refused(reason)) => return Err(StreamError::Refused(reason)),
                Decoded::Need { missing, size } => {
                    if size > ROOM_FROM && self.room.is_none() {
                        let room = timeout(self.stall, self.io.place.room(size)).await;
                        self.room = Some(room.map_err(|_| StreamError::Stalled(self.stall.as_secs()))?);
                    }
                    self.fill(missing).await?;
                }
            }
        }
    }

    /// Reads at least one byte, and none beyond `missing` unless that is little.
    async fn fill(&mut self, missing: usize) -> Result<(), StreamError> {
        let begun = !self.buffer.is_empty();
        // An incomplete message for which we have waited as long as that is a slow drip.
        let limit = if begun { self.stall } else { self.idle };
        let left = limit.saturating_sub(self.waited);
        // Grow with what has come, so that a header alone allocates little.
        let step = missing.min(self.buffer.len().clamp(READ_CHUNK, READ_STEP)).max(READ_CHUNK);
        let filled = self.buffer.len();
        let waiting = Waiting { since: Instant::now(), sum: &mut self.waited };
        let (io, buffer) = (&self.io, &mut self.buffer);
        let read = timeout(
            left,
            poll_fn(|cx| {
                buffer.resize(filled + step, 0);
                let read = Pin::new(&mut *io.stream.lock()).poll_read(cx, &mut buffer[filled..]);
                let n = if let Poll::Ready(Ok(n)) = read { n } else { 0 };
                buffer.truncate(filled + n);
                read
            }),
        )
        .await;
        drop(waiting);
        match read {
            Ok(Ok(0)) => Err(StreamError::Reset),
            Ok(Ok(_)) => {
                if !begun {
                    self.waited = Duration::ZERO;
                }
                Ok(())
            }
            Ok(Err(error)) => Err(StreamError::io(&error)),
            Err(_) if begun => Err(StreamError::Stalled(limit.as_secs())),
            Err(_) => Err(StreamError::Idle(limit.as_secs())),
        }
    }
}

/// Adds up waiting time even when the wait is cancelled, so that a caller which polls `recv` in a
/// `select!` does not start the clock anew each time.
struct Waiting<'a> {
    since: Instant,
    sum: &'a mut Duration,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.sum += self.since.elapsed();
    }
}

impl fmt::Debug for JobSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = self.queue.len();
        f.debug_struct("JobSender").field("peer", &self.io.peer).field("queued", &queued).finish()
    }
}

impl fmt::Debug for JobReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buffered = self.buffer.len();
        f.debug_struct("JobReceiver").field("peer", &self.io.peer).field("buffered", &buffered).finish()
    }
}
