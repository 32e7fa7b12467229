//! Reading and writing messages at no less than a certain rate.
//!
//! A message occupies budget while it is on its way, so a peer that drips bytes, or takes them in
//! drops, would hold what others need. It gets a grace, then has to keep up a low average; and it
//! may never stop for as long as the grace.

use std::{io, pin::Pin, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep};

use super::{Config, budget::PeerAccount, link::Link};

/// After so many bytes of one message others have their turn on the processor: to encrypt and send a whole one takes
/// milliseconds, and there may be many peers that read fast.
const TURN: usize = 64 << 10;
/// How often the average is looked at after the grace.
const CHECK: Duration = Duration::from_secs(1);

/// Fills `buf`.
pub(crate) async fn read<R: AsyncRead + Unpin>(
    io: &mut R,
    buf: &mut [u8],
    config: &Config,
    link: &Link,
) -> io::Result<()> {
    let mut pace = Pace::new(config, config.drip_grace);
    let mut filled = 0;
    while filled < buf.len() {
        let n = pace.step(io.read(&mut buf[filled..]), io::ErrorKind::UnexpectedEof).await?;
        filled += n;
        link.account.count_received(n);
        link.trickle.fetch_add(n as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Passes over `len` bytes, which count as received but not as a sign of life.
pub(crate) async fn skip<R: AsyncRead + Unpin>(
    io: &mut R,
    len: usize,
    config: &Config,
    link: &Link,
) -> io::Result<()> {
    let mut scratch = vec![0; len.min(16 << 10)];
    let mut pace = Pace::new(config, config.drip_grace);
    let mut rest = len;
    while rest > 0 {
        let to = rest.min(scratch.len());
        let n = pace.step(io.read(&mut scratch[..to]), io::ErrorKind::UnexpectedEof).await?;
        rest -= n;
        link.account.count_received(n);
    }
    Ok(())
}

/// Writes the pieces of one message one after the other, and flushes.
pub(crate) async fn write<W: AsyncWrite + Unpin>(
    io: &mut W,
    pieces: &[Bytes],
    config: &Config,
    account: &PeerAccount,
) -> io::Result<()> {
    let mut pace = Pace::new(config, config.write_timeout);
    let mut turn = 0;
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let n = pace.step(io.write(rest), io::ErrorKind::WriteZero).await?;
            rest = &rest[n..];
            account.count_sent(n);
            turn += n;
            if turn >= TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }
    tokio::time::timeout(config.write_timeout, io.flush()).await?
}

struct Pace {
    started: Instant,
    grace: Duration,
    check: Pin<Box<Sleep>>,
    /// When bytes moved last.
    moved: Instant,
    bytes: usize,
    rate: usize,
}

impl Pace {
    fn new(config: &Config, grace: Duration) -> Self {
        let started = Instant::now();
        let check = Box::pin(tokio::time::sleep_until(started + grace));
        Self { started, grace, check, moved: started, bytes: 0, rate: config.min_message_rate }
    }

    /// One read or write. `nothing` is what zero bytes mean.
    async fn step(
        &mut self,
        io: impl Future<Output = io::Result<usize>>,
        nothing: io::ErrorKind,
    ) -> io::Result<usize> {
        tokio::pin!(io);
        loop {
            tokio::select! {
                biased;
                n = &mut io => {
                    let n = n?;
                    if n == 0 {
                        return Err(nothing.into());
                    }
                    self.bytes += n;
                    self.moved = Instant::now();
                    return Ok(n);
                }
                () = &mut self.check => {
                    let elapsed = self.started.elapsed();
                    let slow = (self.bytes as f64) < self.rate as f64 * elapsed.as_secs_f64();
                    if slow || self.moved.elapsed() >= self.grace {
                        let what = format!("{} bytes in {elapsed:?}", self.bytes);
                        return Err(io::Error::new(io::ErrorKind::TimedOut, what));
                    }
                    self.check.as_mut().reset(Instant::now() + CHECK);
                }
            }
        }
    }
}
