//! A typed client of the API: what `adit` itself uses, over http and https.
//!
//! Start at [`Client::new`]; every method is one route. Connections are kept, so the second call costs one round trip.

mod content;
mod jobs;
mod node;
mod transport;

pub use content::{ByteStream, PathError, tar_of_path};
pub use jobs::Events;

use crate::error::ErrorBody;
use crate::sse::SseError;
use axum::http::header::{AUTHORIZATION, HeaderValue};
use axum::http::uri::InvalidUri;
use axum::http::{Method, Request, Response, Uri};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::Path;

/// Longest JSON answer that is taken: a thousand jobs with their attempts.
const ANSWER_LIMIT: usize = 64 << 20;
/// Longest error body that is taken.
const ERROR_LIMIT: usize = 1 << 20;

pub(crate) type SendBody = UnsyncBoxBody<Bytes, io::Error>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0:?} is not the URL of an API: http://HOST:PORT or https://HOST")]
    Url(String, #[source] Option<InvalidUri>),
    #[error("a token has only visible ASCII characters")]
    Token,
    #[error("nobody answers at {url}")]
    Unreachable {
        url: String,
        #[source]
        source: hyper_util::client::legacy::Error,
    },
    #[error("{0}")]
    Api(Box<ErrorBody>),
    #[error("the answer of the server is not one of this API ({0})")]
    Protocol(String),
    #[error("the connection broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Events(#[from] SseError),
    #[error("the answer cannot be read")]
    Json(#[from] serde_json::Error),
}

impl ClientError {
    /// What the server said, when it was the server that refused.
    pub fn api(&self) -> Option<&ErrorBody> {
        match self {
            Self::Api(body) => Some(body),
            _ => None,
        }
    }

    /// Whether nothing listens there: the daemon is not running.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { source, .. } if source.is_connect())
    }
}

/// A client of one node. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    base: String,
    authorization: Option<HeaderValue>,
    http: transport::Http,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the node at `url` (`http://127.0.0.1:4713`). Nothing is sent yet.
    pub fn new(url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let base = url.trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|error| ClientError::Url(url.to_owned(), Some(error)))?;
        let known = matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
        if !known || uri.query().is_some() {
            return Err(ClientError::Url(url.to_owned(), None));
        }
        let authorization = token
            .map(|token| {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()
            .map_err(|_: axum::http::header::InvalidHeaderValue| ClientError::Token)?;
        Ok(Self { base: base.to_owned(), authorization, http: transport::http() })
    }

    /// The token of the node whose repository is in `dir`, if this user may read it.
    pub fn local_token(dir: &Path) -> Option<String> {
        std::fs::read_to_string(dir.join("api.token")).ok().map(|text| text.trim().to_owned())
    }

    /// The URL that calls go to.
    pub fn url(&self) -> &str {
        &self.base
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(axum::http::HeaderName, &'static str)],
        body: SendBody,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(body).map_err(|error| ClientError::Protocol(error.to_string()))?;
        let sent = self.http.request(request).await;
        let response = sent.map_err(|source| ClientError::Unreachable { url: self.base.clone(), source })?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    async fn fetch<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        read_json(self.send(method, path, &[], empty()).await?).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body)?;
        read_json(self.send(method, path, &[JSON], full(body)).await?).await
    }
}

const JSON: (axum::http::HeaderName, &str) = (axum::http::header::CONTENT_TYPE, "application/json");

fn empty() -> SendBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn full(bytes: Vec<u8>) -> SendBody {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

async fn collect(response: Response<Incoming>, limit: usize) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), limit).collect().await;
    body.map(|body| body.to_bytes()).map_err(ClientError::Broken)
}

async fn read_json<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    Ok(serde_json::from_slice(&collect(response, ANSWER_LIMIT).await?)?)
}

/// The error that a response with an error status carries.
async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match collect(response, ERROR_LIMIT).await {
        Ok(body) => match serde_json::from_slice(&body) {
            Ok(body) => ClientError::Api(Box::new(body)),
            Err(_) => ClientError::Protocol(format!("status {status} without an error of ours")),
        },
        Err(error) => error,
    }
}

/// A path segment or query value, percent-encoded.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A path of several segments, each percent-encoded.
fn encode_path(path: &str) -> String {
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

/// A query string of the parameters that are there, `?` included.
fn query(parameters: &[(&str, Option<String>)]) -> String {
    let mut out = String::new();
    for (name, value) in parameters {
        if let Some(value) = value {
            out.push(if out.is_empty() { '?' } else { '&' });
            out.push_str(name);
            out.push('=');
            out.push_str(&encode(value));
        }
    }
    out
}
