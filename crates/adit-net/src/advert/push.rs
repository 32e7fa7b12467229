//! One stream's worth of advertisements: `(unsigned varint length, signed block)*`, then the end.

use std::{io, sync::Arc, sync::atomic::Ordering::Relaxed, time::Instant};

use futures::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};

use super::{Advert, AdvertBook, AdvertError, MAX_ADVERTISEMENT, Outcome, unix_now};
use crate::metrics::{Count, Metrics};

/// Advertisements in one push. A longer list is the DHT's and gossip's to spread.
pub(super) const MAX_PUSHED: usize = 256;

pub(super) async fn send(mut stream: Stream, adverts: Vec<Advert>) -> io::Result<()> {
    let mut out = Vec::with_capacity(adverts.iter().map(|a| a.block().len() + 4).sum());
    for advert in adverts.iter().take(MAX_PUSHED) {
        let mut space = unsigned_varint::encode::usize_buffer();
        out.extend_from_slice(unsigned_varint::encode::usize(advert.block().len(), &mut space));
        out.extend_from_slice(advert.block());
    }
    stream.write_all(&out).await?;
    stream.close().await
}

/// Reads until the end, the first malformed one, or too many. Runs in the connection's task, so
/// that checking signatures holds up nobody else.
pub(super) async fn receive(
    mut stream: Stream,
    from: PeerId,
    book: Arc<AdvertBook>,
    metrics: Arc<Metrics>,
) -> Vec<Advert> {
    let mut news = Vec::new();
    for _ in 0..MAX_PUSHED {
        let block = match read_one(&mut stream).await {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%from, %error, "advertisements ended early");
                break;
            }
        };
        match book.consider(&block, from, unix_now(), Instant::now()) {
            Ok(Outcome::News(advert)) => {
                metrics.adverts_accepted.one();
                news.push(advert);
            }
            Ok(Outcome::Known | Outcome::Full) => {}
            Err(error) => {
                metrics.adverts_rejected.fetch_add(1, Relaxed);
                tracing::debug!(%from, %error, "refused an advertisement");
                // Expired ones happen to honest peers; whoever sends garbage is not listened to.
                if !matches!(error, AdvertError::Time) {
                    break;
                }
            }
        }
        // 256 signature checks in a row would hold this connection's other streams for 15 ms.
        tokio::task::yield_now().await;
    }
    news
}

async fn read_one(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match unsigned_varint::aio::read_usize(&mut *stream).await {
        Ok(length) => length,
        Err(unsigned_varint::io::ReadError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    if length > MAX_ADVERTISEMENT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes are over the limit")));
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    Ok(Some(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bounded_before_anything_is_allocated() {
        let read = |bytes: &[u8]| futures::executor::block_on(read_one(&mut futures::io::Cursor::new(bytes)));
        assert_eq!(read(&[3, 1, 2, 3]).unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(read(&[]).unwrap(), None);
        assert!(read(&[3, 1]).is_err());
        assert!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
        assert!(read(&[0x81, 0x40]).is_err(), "8193 bytes");
    }
}
