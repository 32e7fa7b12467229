//! IPNS names: publishing, resolving, and the keys.

use super::App;
use super::extract::{JsonBody, Path, Query};
use crate::access::{Allowed, needs};
use crate::error::{ApiError, Code, ErrorBody, chain};
use crate::types::{KeyView, NewKeyBody, PublishBody, PublishedName, ResolveQuery, ResolvedName};
use adit_names::NameError;
use adit_node::names::{KeyError, PublishError, ResolveError};
use axum::Json;
use axum::extract::State;
use std::sync::Arc;

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        let code = match &error {
            NameError::NotFound(_) => Code::NotFound,
            NameError::Unavailable { .. } => Code::Unavailable,
            NameError::Record { .. }
            | NameError::Value { .. }
            | NameError::TooDeep(_)
            | NameError::Cycle(_)
            | NameError::TooLong(_) => Code::BadContent,
        };
        ApiError::new(code, chain(&error)).by(crate::Source::Network)
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let text = chain(&error);
        match error {
            KeyError::Name(_) => ApiError::new(Code::BadRequest, text),
            KeyError::Exists(_) => ApiError::new(Code::Conflict, text),
            KeyError::Missing(_) => {
                ApiError::new(Code::NotFound, text).hint("`adit key ls` lists them, `adit key new` makes one")
            }
            KeyError::Full => ApiError::new(Code::TooLarge, text),
            KeyError::File(_) => ApiError::internal(&error),
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Key(error) => error.into(),
            PublishError::Names(error) => (*error).into(),
            PublishError::Value { .. } | PublishError::Lifetime | PublishError::Record(_) => {
                ApiError::new(Code::BadRequest, chain(&error))
            }
            PublishError::Disk(_) => ApiError::internal(&error),
        }
    }
}

impl From<ResolveError> for ApiError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Names(error) => error.into(),
            ResolveError::Name { .. } => ApiError::new(Code::BadRequest, chain(&error))
                .hint("a name is a key such as k51… or 12D3KooW…, or a domain"),
        }
    }
}

/// Publish a path under one of the node's keys, and renew it from now on. Durable, and the network told, when this
/// answers. Scope: admin.
#[utoipa::path(
    post, path = "/name/publish", tag = "names", operation_id = "publish_name", security(("token" = ["admin"])),
    request_body = PublishBody,
    responses((status = 200, body = PublishedName), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn publish(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<PublishBody>,
) -> Result<Json<PublishedName>, ApiError> {
    app.node.publish_name(body).await.map(Json)
}

/// What a name stands for: a key or a domain, with or without a path behind it. Scope: read.
#[utoipa::path(
    get, path = "/name/resolve/{*name}", tag = "names", operation_id = "resolve_name",
    security(("token" = ["read"])),
    params(("name" = String, Path, description = "A key or domain, and a path below it"), ResolveQuery),
    responses((status = 200, body = ResolvedName), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn resolve(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<ResolveQuery>,
) -> Result<Json<ResolvedName>, ApiError> {
    let path = app.node.resolve_name(&name, query.one_step).await?;
    Ok(Json(ResolvedName { path }))
}

/// The keys that names can be published under; the keys themselves stay where they are. Scope: read.
#[utoipa::path(
    get, path = "/keys", tag = "names", operation_id = "keys", security(("token" = ["read"])),
    responses((status = 200, body = Vec<KeyView>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn keys(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
) -> Result<Json<Vec<KeyView>>, ApiError> {
    app.node.keys().await.map(Json)
}

/// Make a key. Durable when this answers. Scope: admin.
#[utoipa::path(
    post, path = "/keys", tag = "names", operation_id = "new_key", security(("token" = ["admin"])),
    request_body = NewKeyBody,
    responses((status = 200, body = KeyView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn new_key(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<NewKeyBody>,
) -> Result<Json<KeyView>, ApiError> {
    app.node.new_key(&body.key).await.map(Json)
}
