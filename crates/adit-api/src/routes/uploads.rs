//! Uploads that are refused before they were read.
//!
//! A server that answers and closes while the client still sends makes the client's system report a broken
//! connection, and the answer is lost. So what a handler left of a refused upload is read on beside the answer, for a
//! while, and thrown away.

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::header::{self, HeaderMap};
use axum::middleware::Next;
use axum::response::Response;
use futures::stream::{self, Stream, StreamExt as _};
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a refused upload is read on. Clients have their answer, and stop, long before.
const LONGEST: Duration = Duration::from_secs(10);

/// Has the request answered, and its body read on if it was refused.
pub async fn answer(request: Request, next: Next) -> Response {
    if !is_upload(request.headers()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let rest = Shared(Arc::new(Mutex::new(body.into_data_stream())));
    let request = Request::from_parts(parts, Body::from_stream(rest.clone().stream()));
    let response = next.run(request).await;
    if !response.status().is_success() {
        tokio::spawn(tokio::time::timeout(LONGEST, rest.discard()));
    }
    response
}

/// Whether the body is of another kind than the JSON that handlers read whole, or refuse, at once.
fn is_upload(headers: &HeaderMap) -> bool {
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    has_body && !is_json
}

/// A body that its handler reads, and what the handler leaves of it.
#[derive(Clone)]
struct Shared(Arc<Mutex<BodyDataStream>>);

impl Shared {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        self.0.lock().poll_next_unpin(cx)
    }

    fn stream(self) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
        stream::poll_fn(move |cx| self.poll(cx))
    }

    async fn discard(self) {
        let mut stream = std::pin::pin!(self.stream());
        while let Some(Ok(_)) = stream.next().await {}
    }
}
