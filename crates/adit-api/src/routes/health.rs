//! For supervisors and monitoring.

use super::App;
use crate::access::{Allowed, needs};
use crate::error::{ApiError, ErrorBody};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use std::sync::Arc;

/// Whether the process answers at all. Needs no token.
#[utoipa::path(get, path = "/livez", tag = "health", operation_id = "livez", responses((status = 200, body = String)))]
pub(super) async fn livez() -> &'static str {
    "alive\n"
}

/// Whether the node can take requests: the network listens, the enclave answers. Needs no token.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "readyz",
    responses((status = 200, body = String), (status = 503, description = "Not now, and why", body = ErrorBody))
)]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    app.node.ready().map(|()| "ready\n")
}

/// Figures in the text format of Prometheus. Scope: read.
#[utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "metrics", security(("token" = ["read"])),
    responses((status = 200, body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
) -> ([(HeaderName, &'static str); 1], String) {
    // Both parts end with the format's end mark, which may stand only once.
    let mut text = app.node.metrics();
    if let Some(without_end) = text.strip_suffix("# EOF\n") {
        text.truncate(without_end.len());
    }
    text.push_str(&app.metrics.text());
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
