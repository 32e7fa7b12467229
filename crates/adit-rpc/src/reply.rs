//! The three shapes of an answer: a value, a stream of values, a stream of bytes.

use crate::error::RpcError;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, TRAILER};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::Value;
use std::io;

const STREAM_ERROR: HeaderName = HeaderName::from_static("x-stream-error");
const CHUNKED_OUTPUT: HeaderName = HeaderName::from_static("x-chunked-output");
const STREAM_OUTPUT: HeaderName = HeaderName::from_static("x-stream-output");
const CONTENT_LENGTH: HeaderName = HeaderName::from_static("x-content-length");
const YES: HeaderValue = HeaderValue::from_static("1");

/// One value.
pub(crate) fn value(value: Value) -> Response {
    axum::Json(value).into_response()
}

/// Values, one a line. An error ends the stream: it is its last value, which Go's clients read, and the trailer, which
/// others do.
pub(crate) fn values(stream: impl Stream<Item = Result<Value, RpcError>> + Send + 'static) -> Response {
    let frames = stream.flat_map(|item| {
        let line = |value: &Value| Ok::<_, io::Error>(Frame::data(Bytes::from(format!("{value}\n"))));
        futures::stream::iter(match item {
            Ok(value) => vec![line(&value)],
            Err(error) => vec![line(&error.value()), Ok(trailer(error.message()))],
        })
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CHUNKED_OUTPUT, YES);
    headers.insert(TRAILER, HeaderValue::from_static("X-Stream-Error"));
    response
}

/// Bytes. An error breaks the stream off, so that nobody takes a part for the whole.
pub(crate) fn bytes(
    kind: &'static str,
    length: Option<u64>,
    stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response {
    let frames = stream.map_ok(Frame::data);
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(STREAM_OUTPUT, YES);
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    response
}

/// Bytes at hand.
pub(crate) fn whole(kind: &'static str, bytes_at_hand: Bytes) -> Response {
    let length = bytes_at_hand.len() as u64;
    bytes(kind, Some(length), futures::stream::iter([Ok(bytes_at_hand)]))
}

fn trailer(message: &str) -> Frame<Bytes> {
    let text: String = message.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).collect();
    let mut trailers = HeaderMap::new();
    trailers.insert(
        STREAM_ERROR,
        HeaderValue::from_str(&text).expect("graphic ASCII and blanks are a header value"),
    );
    Frame::trailers(trailers)
}
