//! Reading requests: axum's extractors, with our errors, limits and patience.

use super::{BODY_TIMEOUT, JSON_LIMIT};
use crate::error::{ApiError, Code};
use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use futures::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use std::io;

/// A JSON body: declared as JSON, at most [`JSON_LIMIT`] bytes, within [`BODY_TIMEOUT`].
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        // Also keeps pages from sending it without asking first: browsers let forms send other types only.
        let json = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if !json {
            return Err(ApiError::new(
                Code::BadRequest,
                "the body must be sent as `Content-Type: application/json`",
            ));
        }
        let bytes = small_body(request, JSON_LIMIT).await?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::new(Code::BadRequest, format!("the body is not what this route takes: {error}"))
        })?;
        Ok(Self(value))
    }
}

/// A whole body of at most `limit` bytes, within [`BODY_TIMEOUT`].
pub(super) async fn small_body(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(Code::TooLarge, format!("the body has more than {limit} bytes"));
    let stated = request.headers().get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|len| len > limit as u64) {
        return Err(too_large());
    }
    let body = axum::body::to_bytes(request.into_body(), limit);
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let over =
                std::error::Error::source(&error).is_some_and(|e| e.is::<http_body_util::LengthLimitError>());
            Err(if over { too_large() } else { ApiError::new(Code::BadRequest, "the body broke off") })
        }
        Err(_) => {
            Err(ApiError::new(Code::Timeout, "the body took too long to arrive").by(crate::Source::Requester))
        }
    }
}

/// A body of any length as a stream that fails when it pauses for longer than [`BODY_TIMEOUT`].
pub fn streamed(body: Body) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
    let stream = futures::stream::unfold(body.into_data_stream(), |mut chunks| async move {
        let item = match tokio::time::timeout(BODY_TIMEOUT, chunks.next()).await {
            Ok(None) => return None,
            Ok(Some(chunk)) => chunk.map_err(io::Error::other),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        Some((item, chunks))
    });
    Box::pin(stream)
}

/// Path parameters.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(super) struct Path<T>(pub(super) T);

/// Query parameters.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(super) struct Query<T>(pub(super) T);

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        ApiError::new(Code::BadRequest, rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        ApiError::new(Code::BadRequest, rejection.body_text())
    }
}
