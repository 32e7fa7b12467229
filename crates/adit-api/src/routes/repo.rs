//! Pins, the block store, and CARs.

use super::App;
use super::content::{as_io, block_within_patience, parse_cid};
use super::extract::{Path, Query, streamed};
use crate::access::{Allowed, needs};
use crate::error::{ApiError, Code, ErrorBody, chain};
use crate::types::{
    BackendView, CidText, Collected, ImportQuery, Imported, IncompletePin, PinQuery, PinView, Pinned,
    RepoView, UnpinQuery, Verified, VerifyQuery,
};
use adit_node::replicas::{KEPT_PREFIX, kept_for};
use adit_store::car::{self, CarImportError};
use adit_store::{KeeperStat, OnCorrupt, PinError, PinKind, PinOptions, Repo, StoreError, VerifyReport};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio_util::io::StreamReader;

/// Longest name of a pin.
const MAX_PIN_NAME: usize = 200;
const CAR: &str = "application/vnd.ipld.car";

impl From<PinError> for ApiError {
    fn from(error: PinError) -> Self {
        match error {
            PinError::Source(error) => error.into(),
            PinError::Store(error) => error.into(),
            PinError::Links { .. } => ApiError::new(Code::BadContent, error.to_string()),
            PinError::TooManyBlocks { .. } => ApiError::new(Code::TooLarge, error.to_string()),
        }
    }
}

impl From<CarImportError> for ApiError {
    fn from(error: CarImportError) -> Self {
        match error {
            CarImportError::Store(error) => error.into(),
            CarImportError::Car(_) => ApiError::new(Code::BadContent, chain(&error)),
            CarImportError::Read(_) => ApiError::new(Code::BadRequest, chain(&error)),
        }
    }
}

/// Take in a CAR (version 1). Every block is checked; the roots are pinned unless `pin=false`.
///
/// Durable when this answers. Scope: run.
#[utoipa::path(
    post, path = "/dag/import", tag = "repo", operation_id = "import", security(("token" = ["run"])),
    params(ImportQuery),
    request_body(content = Vec<u8>, content_type = "application/vnd.ipld.car"),
    responses((status = 200, body = Imported), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn import(
    _: Allowed<needs::Run>,
    State(app): State<Arc<App>>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Json<Imported>, ApiError> {
    let lease = app.repo.lease("dag import");
    let body = StreamReader::new(streamed(request.into_body()));
    let imported = car::import(&*lease.store(), body).await?;
    if query.pin.unwrap_or(true) {
        // A CAR may leave out blocks that its roots need. A pin is a whole, so those have to come from elsewhere:
        // from this node's store or the network, or there is no pin.
        let source = app.node.source();
        for root in &imported.roots {
            app.repo.pin(root, &*source, PinOptions::default()).await?;
            app.node.provide(*root);
        }
    }
    let roots = imported.roots.into_iter().map(CidText).collect();
    Ok(Json(Imported { roots, blocks: imported.blocks, bytes: imported.bytes }))
}

/// Everything below a root as a CAR (version 1), depth first, every block once.
///
/// Scope: read.
#[utoipa::path(
    get, path = "/dag/export/{cid}", tag = "repo", operation_id = "export", security(("token" = ["read"])),
    params(("cid" = String, Path, description = "The root")),
    responses(
        (status = 200, description = "A CAR", body = Vec<u8>, content_type = "application/vnd.ipld.car"),
        (status = "default", description = "Error", body = ErrorBody)
    )
)]
pub(super) async fn export(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(cid): Path<String>,
) -> Result<Response, ApiError> {
    let cid = parse_cid(&cid)?;
    let source = app.node.source();
    // What is not there at all shall be an error, not a broken stream.
    block_within_patience(&*source, &cid).await?;
    let body = Body::from_stream(as_io(car::export(source, vec![cid])));
    Ok(([(CONTENT_TYPE, CAR)], body).into_response())
}

/// Pins: what the node keeps until told otherwise, or until the pin's time is over. Scope: read.
#[utoipa::path(
    get, path = "/pins", tag = "repo", operation_id = "pins", security(("token" = ["read"])),
    responses((status = 200, body = Vec<PinView>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn pins(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
) -> Result<Json<Vec<PinView>>, ApiError> {
    let pins = app.repo.pins().await?;
    Ok(Json(pins.into_iter().map(|pin| view(&app, pin)).collect()))
}

fn view(app: &App, pin: adit_store::Pin) -> PinView {
    let kept_for = kept_for(&pin.name).map(str::to_owned);
    let replicas = if kept_for.is_none() { app.node.replicas(&pin.cid) } else { None };
    PinView {
        cid: pin.cid,
        direct: pin.kind == PinKind::Direct,
        name: pin.name,
        created: pin.created,
        expires: pin.expires,
        kept_for,
        replicas,
    }
}

/// The pins of one root, and where its copies are. Scope: read.
#[utoipa::path(
    get, path = "/pins/{cid}", tag = "repo", operation_id = "pins_of", security(("token" = ["read"])),
    params(("cid" = String, Path, description = "The root")),
    responses((status = 200, body = Vec<PinView>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn pins_of(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(cid): Path<String>,
) -> Result<Json<Vec<PinView>>, ApiError> {
    let cid = parse_cid(&cid)?;
    let pins = app.repo.pins_of(&cid).await?;
    if pins.is_empty() {
        return Err(not_pinned(&cid));
    }
    Ok(Json(pins.into_iter().map(|pin| view(&app, pin)).collect()))
}

fn not_pinned(cid: &cid::Cid) -> ApiError {
    ApiError::new(Code::NotFound, format!("{cid} is not pinned")).hint("`adit pin ls` lists the pins")
}

/// Keep a root and everything below it. What is missing is fetched first; the pin is there when this answers.
///
/// With `replicas`, copies are placed on other nodes too, and kept at that number from then on; this answers when they are
/// placed, or when everybody who could be asked has been. Scope: run.
#[utoipa::path(
    put, path = "/pins/{cid}", tag = "repo", operation_id = "pin", security(("token" = ["run"])),
    params(("cid" = String, Path, description = "The root"), PinQuery),
    responses((status = 200, body = Pinned), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn pin(
    _: Allowed<needs::Run>,
    State(app): State<Arc<App>>,
    Path(cid): Path<String>,
    Query(query): Query<PinQuery>,
) -> Result<Json<Pinned>, ApiError> {
    let cid = parse_cid(&cid)?;
    let name = query.name.unwrap_or_default();
    if name.len() > MAX_PIN_NAME {
        return Err(ApiError::new(
            Code::BadRequest,
            format!("a pin's name has at most {MAX_PIN_NAME} bytes"),
        ));
    }
    if name.starts_with(KEPT_PREFIX) {
        let message = format!("names that begin with {KEPT_PREFIX} are those of pins for other nodes");
        return Err(ApiError::new(Code::BadRequest, message));
    }
    let source = app.node.source();
    block_within_patience(&*source, &cid).await?;
    let summary = app.repo.pin(&cid, &*source, PinOptions { name, ..PinOptions::default() }).await?;
    app.node.provide(cid);
    let (blocks, fetched, bytes_fetched) = (summary.blocks, summary.fetched, summary.bytes_fetched);
    let replicas = match query.replicas {
        Some(copies) => Some(app.node.replicate(cid, copies).await?),
        None => None,
    };
    Ok(Json(Pinned { cid, blocks, fetched, bytes_fetched, replicas }))
}

/// Remove the pin of this name, or all pins of a root; how many there were. With the last one, copies on other nodes are
/// let go. Scope: admin.
#[utoipa::path(
    delete, path = "/pins/{cid}", tag = "repo", operation_id = "unpin", security(("token" = ["admin"])),
    params(("cid" = String, Path, description = "The root"), UnpinQuery),
    responses((status = 200, body = usize), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn unpin(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    Path(cid): Path<String>,
    Query(query): Query<UnpinQuery>,
) -> Result<Json<usize>, ApiError> {
    let cid = parse_cid(&cid)?;
    let removed = app.repo.unpin(&cid, query.name.as_deref()).await?;
    app.node.unpinned();
    if removed == 0 { Err(not_pinned(&cid)) } else { Ok(Json(removed)) }
}

/// How full the repository is. Scope: read.
#[utoipa::path(
    get, path = "/repo", tag = "repo", operation_id = "repo", security(("token" = ["read"])),
    responses((status = 200, body = RepoView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn stat(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
) -> Result<Json<RepoView>, ApiError> {
    let stat = app.repo.stat().await?;
    Ok(Json(RepoView {
        format: stat.format,
        blocks: stat.blocks,
        used: stat.used,
        limit: stat.limit,
        free: stat.free,
        pins: stat.pins,
        leases: stat.leases,
        backend: app.repo.backend_stat().await.map(backend_view),
    }))
}

fn backend_view((name, stat): (String, Result<Option<KeeperStat>, StoreError>)) -> BackendView {
    let (stat, error) = match stat {
        Ok(stat) => (stat, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let of = |which: fn(&KeeperStat) -> u64| stat.as_ref().map(which);
    BackendView {
        name,
        error,
        blocks: of(|stat| stat.blocks),
        used: of(|stat| stat.used),
        limit: stat.as_ref().and_then(|stat| stat.limit),
        pins: of(|stat| stat.pins),
    }
}

/// Remove what neither a pin nor a promised result keeps. Adds and jobs under way are safe. Scope: admin.
#[utoipa::path(
    post, path = "/repo/gc", tag = "repo", operation_id = "gc", security(("token" = ["admin"])),
    responses((status = 200, body = Collected), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn gc(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
) -> Result<Json<Collected>, ApiError> {
    app.node.gc().await.map(Json)
}

/// Read and hash every block, and walk every pin. Scope: admin.
#[utoipa::path(
    post, path = "/repo/verify", tag = "repo", operation_id = "verify", security(("token" = ["admin"])),
    params(VerifyQuery),
    responses((status = 200, body = Verified), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn verify(
    _: Allowed<needs::Admin>,
    State(app): State<Arc<App>>,
    Query(query): Query<VerifyQuery>,
) -> Result<Json<Verified>, ApiError> {
    let on_corrupt = if query.drop_corrupt { OnCorrupt::Drop } else { OnCorrupt::Report };
    let report = examine(&app.repo, on_corrupt).await?;
    Ok(Json(Verified {
        blocks: report.blocks,
        bytes: report.bytes,
        corrupt: report.corrupt.into_iter().map(CidText).collect(),
        dropped: report.dropped,
        incomplete: report
            .incomplete
            .into_iter()
            .map(|hole| IncompletePin { cid: hole.root, reason: hole.reason })
            .collect(),
    }))
}

/// Boxed as a function of its own because the compiler cannot show that the future is `Send` for every lifetime
/// (rust-lang/rust#100013) when a handler awaits it directly.
fn examine(repo: &Repo, on_corrupt: OnCorrupt) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
    Box::pin(repo.verify(on_corrupt))
}
