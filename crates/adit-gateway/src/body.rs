//! What is sent: nothing, bytes in memory, or a stream that is pulled as the reader reads.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use hyper::body::{Frame, SizeHint};
use tokio::time::Sleep;

/// Why a stream broke off. The client sees the connection end early; the log says why.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response's content.
pub enum Body {
    /// Bytes that are there.
    Full(Option<Bytes>),
    /// Bytes to come.
    Stream {
        /// Each piece.
        stream: BoxStream<'static, Result<Bytes, BodyError>>,
        /// How many are left, where that is known.
        left: Option<u64>,
        /// When it ends, finished or not.
        deadline: Pin<Box<Sleep>>,
    },
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Body::Full(None)
    }

    /// Bytes in memory.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Body::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    /// A stream of `len` bytes, where that is known, for at most `longest`.
    pub fn stream<E: Into<BodyError>>(
        stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
        len: Option<u64>,
        longest: Duration,
    ) -> Self {
        let stream = stream.map(|item| item.map_err(Into::into)).boxed();
        Body::Stream { stream, left: len, deadline: Box::pin(tokio::time::sleep(longest)) }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Stream { stream, left, deadline } => {
                if deadline.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Some(Err("the answer took longer than is allowed".into())));
                }
                let item = std::task::ready!(stream.poll_next_unpin(context));
                if let Some(Err(error)) = &item {
                    tracing::debug!(%error, "an answer broke off");
                }
                if let (Some(Ok(bytes)), Some(left)) = (&item, left) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Poll::Ready(item.map(|item| item.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::Stream { left: Some(left), .. } => SizeHint::with_exact(*left),
            Body::Stream { left: None, .. } => SizeHint::default(),
        }
    }
}
