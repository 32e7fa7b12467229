//! Why a request gets no content, in HTTP's terms.

use adit_names::NameError;
use adit_store::export::ExportError;
use adit_store::{SourceError, StoreError};
use adit_unixfs::read::ReadError;
use hyper::StatusCode;

/// A status and a sentence for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Refusal {
    /// What is told to programs.
    pub status: StatusCode,
    /// What is told to people.
    pub message: String,
}

impl Refusal {
    /// With a message of its own.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 410: what the operator denies. Which rule says so is nobody else's business.
    pub fn denied() -> Self {
        Self::new(StatusCode::GONE, "this gateway does not serve that")
    }

    /// 406.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, message)
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        let status = match &error {
            SourceError::NotFound(_) => StatusCode::NOT_FOUND,
            SourceError::Unavailable { .. } => StatusCode::GATEWAY_TIMEOUT,
            SourceError::Denied(_) => return Self::denied(),
            SourceError::Store(StoreError::UnsupportedCid { .. }) => StatusCode::BAD_REQUEST,
            SourceError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let status = match &error {
            ReadError::NotFound { .. } | ReadError::NotADirectory(_) | ReadError::Symlink { .. } => {
                StatusCode::NOT_FOUND
            }
            // The blocks are what was asked for, and they are not sound: nothing that asking again would mend.
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ExportError> for Refusal {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Source(error) => error.into(),
            ExportError::Read(error) => (*error).into(),
            ExportError::Range { .. } => Self::new(StatusCode::RANGE_NOT_SATISFIABLE, error.to_string()),
            ExportError::TooLarge { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        }
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        let status = match &error {
            NameError::NotFound(_) | NameError::Unavailable { .. } => StatusCode::GATEWAY_TIMEOUT,
            NameError::Record { .. } | NameError::Value { .. } => StatusCode::BAD_GATEWAY,
            NameError::TooDeep(_) | NameError::Cycle(_) | NameError::TooLong(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
        };
        Self::new(status, error.to_string())
    }
}
