//! Errors as callers see them: `{code, message, hint, source}` as JSON, with codes that stay.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, for programs. Codes are never renamed; new ones may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request cannot be understood, or breaks a rule; the message says which.
    BadRequest,
    /// No token, or one that is not known.
    Unauthorized,
    /// The token does not allow this.
    ForbiddenScope,
    /// The Host header names somebody else.
    ForbiddenHost,
    /// The Origin header names a page that may not call.
    ForbiddenOrigin,
    /// No such route, job, peer, setting or path.
    NotFound,
    /// The content is not here, and nobody delivered it.
    ContentUnavailable,
    /// This node's operator does not want it served or used.
    ContentDenied,
    /// The content is there and is not what the request needs, or not what its CID says.
    BadContent,
    /// What is asked for contradicts the present state.
    Conflict,
    /// A body, path or count is over its limit.
    TooLarge,
    /// It took too long.
    Timeout,
    /// The node has too much to do; the same request may work later.
    Busy,
    /// Nobody accepted the job; the job's attempts say why.
    NoHost,
    /// A host promised and did not deliver.
    HostFailed,
    /// The enclave is not running.
    EnclaveDown,
    /// The disk is full, or its allowance.
    DiskFull,
    /// The job was cancelled.
    Cancelled,
    /// Version 1 names this, and this release does not do it.
    NotImplemented,
    /// The node is stopping or has not started yet.
    Unavailable,
    /// A defect of the node.
    Internal,
}

impl Code {
    /// The HTTP status that goes with the code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::ForbiddenScope | Self::ForbiddenHost | Self::ForbiddenOrigin => StatusCode::FORBIDDEN,
            Self::NotFound | Self::ContentUnavailable => StatusCode::NOT_FOUND,
            Self::ContentDenied => StatusCode::GONE,
            Self::BadContent => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict | Self::Cancelled => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Busy | Self::NoHost | Self::EnclaveDown | Self::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::HostFailed => StatusCode::BAD_GATEWAY,
            Self::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Where the fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The request.
    Requester,
    /// The network: content or peers that could not be reached.
    Network,
    /// The host that ran the job.
    Host,
    /// The node that was asked.
    Node,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong, for people.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whose fault it is.
    pub source: Source,
}

impl std::fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

// By hand, because `thiserror` would take the field `source` for a cause.
impl std::error::Error for ErrorBody {}

/// An [`ErrorBody`] on its way out. Boxed, because the happy path carries it in every `Result`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ApiError(Box<ErrorBody>);

impl ApiError {
    /// An error whose source is the one that its code usually has.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let source = match code {
            Code::ContentUnavailable | Code::NoHost => Source::Network,
            Code::HostFailed => Source::Host,
            Code::Busy
            | Code::EnclaveDown
            | Code::DiskFull
            | Code::Unavailable
            | Code::Internal
            | Code::Timeout => Source::Node,
            _ => Source::Requester,
        };
        Self(Box::new(ErrorBody { code, message: message.into(), hint: None, source }))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says that somebody else than usual is at fault.
    #[must_use]
    pub fn by(mut self, source: Source) -> Self {
        self.0.source = source;
        self
    }

    /// A defect: the chain of causes goes into the log and, shortened to its first line, to the caller.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let message = chain(error);
        tracing::error!(error = message, "a request failed for a reason of our own");
        Self::new(Code::Internal, message)
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The body, as it is sent.
    pub fn body(&self) -> &ErrorBody {
        &self.0
    }
}

/// An error and its causes in one line, each only once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.0.code.status(), axum::Json(&*self.0)).into_response();
        if self.0.code == Code::Unauthorized {
            let challenge = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
