//! HTTP functions: publishing programs, and what they have cost.

use super::App;
use super::extract::{JsonBody, Query};
use crate::access::{Allowed, needs};
use crate::error::{ApiError, ErrorBody};
use crate::types::{FunctionQuery, FunctionView, PublishFunctionBody};
use axum::Json;
use axum::extract::State;
use std::sync::Arc;

/// Serve a program by HTTP from now on, also after a restart. Its code is fetched if need be, compiled and pinned.
/// Durable when this answers. Scope: admin.
#[utoipa::path(
    post, path = "/functions", tag = "functions", operation_id = "publish_function",
    security(("token" = ["admin"])), request_body = PublishFunctionBody,
    responses((status = 200, body = FunctionView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn publish(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<PublishFunctionBody>,
) -> Result<Json<FunctionView>, ApiError> {
    app.node.publish_function(body).await.map(Json)
}

/// What is served, and what each has cost since the node started. Scope: read.
#[utoipa::path(
    get, path = "/functions", tag = "functions", operation_id = "functions", security(("token" = ["read"])),
    responses((status = 200, body = Vec<FunctionView>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn list(_: Allowed<needs::Read>, State(app): State<Arc<App>>) -> Json<Vec<FunctionView>> {
    Json(app.node.functions())
}

/// Serve a program no more. Durable when this answers. Scope: admin.
#[utoipa::path(
    delete, path = "/functions", tag = "functions", operation_id = "unpublish_function",
    security(("token" = ["admin"])), params(FunctionQuery),
    responses((status = 200, body = FunctionView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn remove(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    Query(query): Query<FunctionQuery>,
) -> Result<Json<FunctionView>, ApiError> {
    app.node.unpublish_function(&query.path).await.map(Json)
}
