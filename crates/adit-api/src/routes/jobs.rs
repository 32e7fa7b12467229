//! Jobs: start, list, show, follow, wait, result, cancel.

use super::App;
use super::extract::{JsonBody, Path, Query};
use crate::access::{Allowed, needs};
use crate::error::{ApiError, Code, ErrorBody};
use crate::sse;
use crate::types::{Content, JobEventBody, JobId, JobView, JobsQuery, RunBody, RunReply, Started, WaitQuery};
use adit_node::view::JobEvent;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Jobs listed unless asked for otherwise, and at most.
const LIST: (usize, usize) = (100, 1000);
/// Longest wait in one request.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// A comment is sent when nothing has happened for this long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Start a program and do not wait for it.
///
/// Scope: run.
#[utoipa::path(
    post, path = "/jobs", tag = "jobs", operation_id = "start", security(("token" = ["run"])),
    request_body = RunBody,
    responses((status = 202, body = Started), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn start(
    _: Allowed<needs::Run>,
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<RunBody>,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let job = app.node.start(body.into_request(true)).await?;
    Ok((StatusCode::ACCEPTED, Json(Started { job })))
}

/// List jobs, newest first.
///
/// Scope: read.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs", operation_id = "jobs", security(("token" = ["read"])),
    params(JobsQuery),
    responses((status = 200, body = Vec<JobView>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn list(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Query(query): Query<JobsQuery>,
) -> Result<Json<Vec<JobView>>, ApiError> {
    let limit = query.limit.unwrap_or(LIST.0).min(LIST.1);
    app.node.jobs(limit, query.active).await.map(Json)
}

/// Show a job: where it ran, why there, whom else was asked and what they said.
///
/// Scope: read.
#[utoipa::path(
    get, path = "/jobs/{job}", tag = "jobs", operation_id = "job", security(("token" = ["read"])),
    params(("job" = String, Path, description = "The job's CID")),
    responses((status = 200, body = JobView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn show(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(job): Path<JobId>,
) -> Result<Json<JobView>, ApiError> {
    app.node.job(job).await.map(Json)
}

/// Follow a job: its states, whom it was offered to, and what the program writes, as server-sent events.
///
/// Begins with what has happened already and ends with `done`. Scope: read.
#[utoipa::path(
    get, path = "/jobs/{job}/logs", tag = "jobs", operation_id = "logs", security(("token" = ["read"])),
    params(("job" = String, Path, description = "The job's CID")),
    responses(
        (status = 200, description = "Events, each one JSON", body = JobEventBody, content_type = "text/event-stream"),
        (status = "default", description = "Error", body = ErrorBody)
    )
)]
pub(super) async fn logs(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(job): Path<JobId>,
) -> Result<Response, ApiError> {
    events(&app, job, Follower::Watcher).await
}

/// Wait for the end of a job.
///
/// Scope: read.
#[utoipa::path(
    get, path = "/jobs/{job}/wait", tag = "jobs", operation_id = "wait", security(("token" = ["read"])),
    params(("job" = String, Path, description = "The job's CID"), WaitQuery),
    responses(
        (status = 200, body = JobView),
        (status = "default", description = "Error, `timeout` among them", body = ErrorBody)
    )
)]
pub(super) async fn wait(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(job): Path<JobId>,
    Query(query): Query<WaitQuery>,
) -> Result<Json<JobView>, ApiError> {
    let patience = query.timeout_ms.map_or(LONGEST_WAIT, |ms| Duration::from_millis(ms).min(LONGEST_WAIT));
    tokio::time::timeout(patience, app.node.wait(job)).await.map_or_else(
        |_| Err(ApiError::new(Code::Timeout, "the job has not ended yet").hint("wait again; the job goes on")),
        |ended| ended.map(Json),
    )
}

/// What a finished job delivered: output, outcome and receipt.
///
/// Scope: read.
#[utoipa::path(
    get, path = "/jobs/{job}/result", tag = "jobs", operation_id = "result", security(("token" = ["read"])),
    params(("job" = String, Path, description = "The job's CID")),
    responses((status = 200, body = RunReply), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn result(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(job): Path<JobId>,
) -> Result<Json<RunReply>, ApiError> {
    app.node.result(job).await.map(Json)
}

/// Take a job back. One that has ended stays as it is.
///
/// Scope: run.
#[utoipa::path(
    post, path = "/jobs/{job}/cancel", tag = "jobs", operation_id = "cancel", security(("token" = ["run"])),
    params(("job" = String, Path, description = "The job's CID")),
    responses((status = 200, body = JobView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn cancel(
    _: Allowed<needs::Run>,
    State(app): State<Arc<App>>,
    Path(job): Path<JobId>,
) -> Result<Json<JobView>, ApiError> {
    app.node.cancel(job).await.map(Json)
}

impl From<JobEvent> for JobEventBody {
    fn from(event: JobEvent) -> Self {
        match event {
            JobEvent::State(state) => Self::State { state },
            JobEvent::Attempt(index, attempt) => Self::Attempt { index, attempt },
            JobEvent::Log { stream, offset, bytes } => {
                Self::Log { stream, offset, content: Content::from(&*bytes) }
            }
            JobEvent::Skipped { stream, from, to } => Self::Skipped { stream, from, to },
            JobEvent::Done(job) => Self::Done { job },
        }
    }
}

/// What the one who follows a job is to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follower {
    /// Asked for it in this request: without them, nobody waits for it.
    Owner,
    /// Asked for it in this request, and may come back for it with the idempotency key.
    Sharer,
    /// Looks on.
    Watcher,
}

/// Takes a job back when its owner goes away before its end.
struct Ownership {
    app: Arc<App>,
    job: JobId,
    ended: bool,
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (app, job) = (self.app.clone(), self.job);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = app.node.cancel(job).await {
                    tracing::debug!(%job, %error, "a job whose client went away could not be cancelled");
                }
            });
        }
    }
}

/// The events of a job as an answer.
pub(super) async fn events(app: &Arc<App>, job: JobId, follower: Follower) -> Result<Response, ApiError> {
    let owned = follower == Follower::Owner;
    let mut ownership = owned.then(|| Ownership { app: app.clone(), job, ended: false });
    let mut events = app.node.follow(job).await?;
    let stream = async_stream::stream! {
        if follower != Follower::Watcher {
            yield Ok::<Bytes, Infallible>(sse::encode(&JobEventBody::Started { job }));
        }
        loop {
            match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
                Err(_) => yield Ok(sse::KEEP_ALIVE),
                Ok(Some(event)) => {
                    let last = matches!(event, JobEvent::Done(_));
                    if last && let Some(ownership) = &mut ownership {
                        ownership.ended = true;
                    }
                    yield Ok(sse::encode(&event.into()));
                    if last {
                        break;
                    }
                }
                Ok(None) => {
                    let error = ApiError::new(Code::Unavailable, "the node stopped following the job");
                    yield Ok(sse::encode(&JobEventBody::Error { error: error.body().clone() }));
                    break;
                }
            }
        }
    };
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(stream)).into_response())
}
