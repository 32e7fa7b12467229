//! Errors as Kubo's clients read them: `{"Message", "Code", "Type": "error"}`.

use adit_api::{ApiError, Code};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct RpcError {
    status: StatusCode,
    /// go-ipfs-cmds' kinds: 0 any, 1 the request is wrong, 4 forbidden.
    kind: u8,
    message: String,
}

impl RpcError {
    /// The request is wrong.
    pub(crate) fn client(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: 1, message: message.into() }
    }

    /// The request is fine, and could not be done.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: 0, message: message.into() }
    }

    /// There is no such command. Kubo's clients take every 404 for this, so nothing else is one.
    pub(crate) fn no_command(name: &str) -> Self {
        let message = format!("command {name:.100?} is not served by Adit");
        Self { status: StatusCode::NOT_FOUND, kind: 1, message }
    }

    pub(crate) fn method() -> Self {
        let message = "only POST is allowed".to_owned();
        Self { status: StatusCode::METHOD_NOT_ALLOWED, kind: 1, message }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// As it stands in a body, also at the end of a stream of values.
    pub(crate) fn value(&self) -> Value {
        json!({"Message": self.message, "Code": self.kind, "Type": "error"})
    }
}

impl From<ApiError> for RpcError {
    fn from(error: ApiError) -> Self {
        let message = match &error.body().hint {
            Some(hint) if matches!(error.code(), Code::Unauthorized | Code::ForbiddenHost) => {
                format!("{error}: {hint}")
            }
            _ => error.to_string(),
        };
        match error.code() {
            Code::BadRequest | Code::TooLarge => Self::client(message),
            code @ (Code::Unauthorized
            | Code::ForbiddenScope
            | Code::ForbiddenHost
            | Code::ForbiddenOrigin) => Self { status: code.status(), kind: 4, message },
            _ => Self::failed(message),
        }
    }
}

/// Any error that the API has words for.
pub(crate) fn api<E>(error: E) -> RpcError
where
    ApiError: From<E>,
{
    ApiError::from(error).into()
}

impl IntoResponse for RpcError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.value())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer, Basic realm=\"adit\"");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
