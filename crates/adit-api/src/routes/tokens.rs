//! Tokens: made, listed, revoked by an administrator.

use super::App;
use super::extract::{JsonBody, Path};
use crate::access::{Allowed, IssuedToken, TokenError, TokenView, needs};
use crate::error::{ApiError, Code, ErrorBody};
use crate::types::IssueBody;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use std::sync::Arc;

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match &error {
            TokenError::Name => ApiError::new(Code::BadRequest, error.to_string()),
            TokenError::TooMany => ApiError::new(Code::Conflict, error.to_string()),
            TokenError::Unknown(_) => ApiError::new(Code::NotFound, error.to_string()),
            TokenError::File { .. } | TokenError::Table { .. } | TokenError::NoRandomness => {
                ApiError::internal(&error)
            }
        }
    }
}

/// Tokens that may call this node, without the tokens themselves. Scope: admin.
#[utoipa::path(
    get, path = "/tokens", tag = "tokens", operation_id = "tokens", security(("token" = ["admin"])),
    responses((status = 200, body = Vec<TokenView>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn list(_: Allowed<needs::Admin>, State(app): State<Arc<App>>) -> Json<Vec<TokenView>> {
    Json(app.tokens.list())
}

/// Make a token. It is shown this once; the node keeps its hash. Scope: admin.
#[utoipa::path(
    post, path = "/tokens", tag = "tokens", operation_id = "issue_token", security(("token" = ["admin"])),
    request_body = IssueBody,
    responses((status = 201, body = IssuedToken), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn issue(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<IssueBody>,
) -> Result<(StatusCode, Json<IssuedToken>), ApiError> {
    let issued = tokio::task::spawn_blocking(move || app.tokens.issue(&body.name, body.scope)).await;
    let issued = issued.map_err(|error| ApiError::internal(&error))??;
    Ok((StatusCode::CREATED, Json(issued)))
}

/// Revoke a token: it stops working at once. Scope: admin.
#[utoipa::path(
    delete, path = "/tokens/{id}", tag = "tokens", operation_id = "revoke_token", security(("token" = ["admin"])),
    params(("id" = String, Path, description = "The token's id, as `GET /tokens` shows it")),
    responses((status = 204), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn revoke(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let revoked = tokio::task::spawn_blocking(move || app.tokens.revoke(&id)).await;
    revoked.map_err(|error| ApiError::internal(&error))??;
    Ok(StatusCode::NO_CONTENT)
}
