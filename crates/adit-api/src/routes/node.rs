//! The node, its peers and its settings.

use super::App;
use super::extract::{JsonBody, Path};
use crate::access::{Allowed, needs};
use crate::error::{ApiError, Code, ErrorBody};
use crate::types::{
    Check, ConnectBody, Drained, IdView, NodeStatus, NodeView, PeerView, SetBody, SetReply, SettingView,
};
use adit_model::NodeId;
use axum::Json;
use axum::extract::State;
use std::sync::Arc;

/// Who this node is. Scope: read.
#[utoipa::path(
    get, path = "/id", tag = "node", operation_id = "id", security(("token" = ["read"])),
    responses((status = 200, body = IdView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn id(_: Allowed<needs::Read>, State(app): State<Arc<App>>) -> Json<IdView> {
    Json(app.node.id())
}

/// How this node is: jobs, enclave, what it was asked and what it answered over a day and a week. Scope: read.
#[utoipa::path(
    get, path = "/node/status", tag = "node", operation_id = "status", security(("token" = ["read"])),
    responses((status = 200, body = NodeStatus), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn status(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
) -> Result<Json<NodeStatus>, ApiError> {
    app.node.status().await.map(Json)
}

/// Nodes known to run Adit. Scope: read.
#[utoipa::path(
    get, path = "/nodes", tag = "node", operation_id = "nodes", security(("token" = ["read"])),
    responses((status = 200, body = Vec<NodeView>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn nodes(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
) -> Result<Json<Vec<NodeView>>, ApiError> {
    app.node.nodes().await.map(Json)
}

/// One node known to run Adit. Scope: read.
#[utoipa::path(
    get, path = "/nodes/{node}", tag = "node", operation_id = "node", security(("token" = ["read"])),
    params(("node" = String, Path, description = "Peer id")),
    responses((status = 200, body = NodeView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn show(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(node): Path<NodeId>,
) -> Result<Json<NodeView>, ApiError> {
    let known = app.node.nodes().await?.into_iter().find(|known| known.node == node);
    known.map(Json).ok_or_else(|| {
        ApiError::new(Code::NotFound, format!("no node {node} is known to run Adit"))
            .hint("connect to it with `adit swarm connect`, or list the known ones with `adit node ls`")
    })
}

/// What could be wrong with this node, and what to do about it. Scope: read.
#[utoipa::path(
    get, path = "/doctor", tag = "node", operation_id = "doctor", security(("token" = ["read"])),
    responses((status = 200, body = Vec<Check>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn doctor(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
) -> Result<Json<Vec<Check>>, ApiError> {
    app.node.doctor().await.map(Json)
}

/// Take no new jobs from now on, until the next start. Jobs that have begun go on; the answer says how many, and may be
/// asked for again. Scope: admin.
#[utoipa::path(
    post, path = "/drain", tag = "node", operation_id = "drain", security(("token" = ["admin"])),
    responses((status = 200, body = Drained), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn drain(_: Allowed<needs::Admin>, State(app): State<Arc<App>>) -> Json<Drained> {
    Json(Drained { jobs: app.node.drain() })
}

/// Connected peers. Scope: read.
#[utoipa::path(
    get, path = "/swarm/peers", tag = "node", operation_id = "peers", security(("token" = ["read"])),
    responses((status = 200, body = Vec<PeerView>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn peers(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
) -> Result<Json<Vec<PeerView>>, ApiError> {
    app.node.peers().await.map(Json)
}

/// Connect to a peer; gives its peer id. Scope: admin.
#[utoipa::path(
    post, path = "/swarm/connect", tag = "node", operation_id = "connect", security(("token" = ["admin"])),
    request_body = ConnectBody,
    responses((status = 200, body = String), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn connect(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<ConnectBody>,
) -> Result<Json<String>, ApiError> {
    app.node.connect(&body.address).await.map(Json)
}

/// All settings, with where each value came from. Scope: read.
#[utoipa::path(
    get, path = "/config", tag = "node", operation_id = "settings", security(("token" = ["read"])),
    responses((status = 200, body = Vec<SettingView>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn settings(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
) -> Result<Json<Vec<SettingView>>, ApiError> {
    app.node.settings().map(Json)
}

/// One setting. Scope: read.
#[utoipa::path(
    get, path = "/config/{key}", tag = "node", operation_id = "setting", security(("token" = ["read"])),
    params(("key" = String, Path, description = "The setting's name")),
    responses((status = 200, body = SettingView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn setting(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
) -> Result<Json<SettingView>, ApiError> {
    let setting = app.node.settings()?.into_iter().find(|setting| setting.key == key);
    setting.map(Json).ok_or_else(|| {
        ApiError::new(Code::NotFound, "there is no such setting").hint("`adit config show` lists all of them")
    })
}

/// Change a setting in the repository's file; it counts from the next start. Scope: admin.
#[utoipa::path(
    put, path = "/config/{key}", tag = "node", operation_id = "set", security(("token" = ["admin"])),
    params(("key" = String, Path, description = "The setting's name")),
    request_body = SetBody,
    responses((status = 200, body = SetReply), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn set(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    JsonBody(body): JsonBody<SetBody>,
) -> Result<Json<SetReply>, ApiError> {
    tokio::task::spawn_blocking(move || app.node.set(&key, &body.value))
        .await
        .map_err(|error| ApiError::internal(&error))?
        .map(Json)
}
