//! `POST /run`: the route that matters for speed. A program goes in, its output and receipt come back.

use super::App;
use super::extract::JsonBody;
use super::jobs::{Follower, events};
use crate::access::{Allowed, needs};
use crate::error::{ApiError, ErrorBody};
use crate::types::{JobEventBody, Plan, RunBody, RunReply};
use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, HeaderMap};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Instant;

/// Run a program and wait for its end.
///
/// With `Accept: text/event-stream` the answer is the stream of the job's events instead, its output among them, as
/// they happen. A client that goes away takes its job back, unless it sent an idempotency key. Scope: run.
#[utoipa::path(
    post, path = "/run", tag = "run", operation_id = "run", security(("token" = ["run"])),
    request_body = RunBody,
    responses(
        (status = 200, description = "The program ended, whatever its exit code",
            content((RunReply = "application/json"), (JobEventBody = "text/event-stream"))),
        (status = "default", description = "It did not run to an outcome", body = ErrorBody)
    )
)]
pub(super) async fn run(
    _: Allowed<needs::Run>,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RunBody>,
) -> Result<Response, ApiError> {
    let wants_events =
        headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"));
    if wants_events {
        let follower = if body.idempotency_key.is_some() { Follower::Sharer } else { Follower::Owner };
        let job = app.node.start(body.into_request(true)).await?;
        return events(&app, job, follower).await;
    }
    let began = Instant::now();
    let reply = app.node.run(body.into_request(false)).await?;
    app.metrics.ran(began.elapsed());
    Ok(Json(reply).into_response())
}

/// Find out where a program would run, and why, without running it.
///
/// Scope: run (candidates are asked for bids).
#[utoipa::path(
    post, path = "/run/plan", tag = "run", operation_id = "plan", security(("token" = ["run"])),
    request_body = RunBody,
    responses((status = 200, body = Plan), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn plan(
    _: Allowed<needs::Run>,
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<RunBody>,
) -> Result<Json<Plan>, ApiError> {
    app.node.plan(body.into_request(false)).await.map(Json)
}
