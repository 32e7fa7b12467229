//! Content: added from streams, read as streams.

mod tree;

use super::App;
use super::extract::{Path, Query, streamed};
use crate::access::{Allowed, needs};
use crate::error::{ApiError, Code, ErrorBody};
use crate::tar::TarError;
use crate::types::{AddQuery, Added, Entry, RangeQuery, StatView};
use adit_store::export::{self, ExportError, Range};
use adit_store::import::{self, ImportError, ImportOptions};
use adit_store::{BackendFailure, BlockSource, BlockStore, Lease, PinOptions, SourceError, StoreError};
use adit_unixfs::IpfsPath;
use adit_unixfs::read::{ReadError, StatKind};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG, RANGE};
use axum::response::{IntoResponse, Response};
use cid::Cid;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

/// How long the first blocks of an answer may take to be found. Later ones only break the answer off, after the
/// network's own patience.
const PATIENCE: Duration = Duration::from_secs(30);
/// Entries of a directory that are listed at once.
const MAX_ENTRIES: usize = 1 << 20;

const OCTETS: &str = "application/octet-stream";
const TAR: &str = "application/x-tar";

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Full { .. } => Code::DiskFull,
            StoreError::TooLarge { .. } => Code::TooLarge,
            StoreError::UnsupportedCid { .. } => Code::BadRequest,
            StoreError::Closed => Code::Unavailable,
            StoreError::Backend(error) => match error.failure {
                BackendFailure::Unreachable => Code::Unavailable,
                BackendFailure::Full => Code::DiskFull,
                BackendFailure::Incomplete => Code::ContentUnavailable,
                BackendFailure::Wrong => Code::BadContent,
                BackendFailure::Refused => Code::HostFailed,
            },
            StoreError::Corrupt { .. } => {
                return ApiError::new(Code::BadContent, error.to_string()).by(crate::Source::Node);
            }
            _ => return ApiError::internal(&error),
        };
        ApiError::new(code, error.to_string())
    }
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Store(error) => error.into(),
            SourceError::Denied(_) => ApiError::new(Code::ContentDenied, error.to_string())
                .hint("the setting deny.files names the lists that say so"),
            SourceError::NotFound(_) | SourceError::Unavailable { .. } => {
                ApiError::new(Code::ContentUnavailable, error.to_string())
                    .hint("check the CID; connect to a node that has it with `adit swarm connect`")
            }
        }
    }
}

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Source(error) => error.into(),
            ExportError::Range { .. } => ApiError::new(Code::BadRequest, error.to_string()),
            ExportError::TooLarge { .. } => ApiError::new(Code::TooLarge, error.to_string()),
            ExportError::Read(read) => {
                let code = match &*read {
                    ReadError::NotFound { .. } => Code::NotFound,
                    ReadError::TooMany { .. } => Code::TooLarge,
                    ReadError::NotADirectory(_) | ReadError::NotAFile(_) | ReadError::Symlink { .. } => {
                        Code::BadRequest
                    }
                    _ => Code::BadContent,
                };
                ApiError::new(code, read.to_string())
            }
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Store(error) => error.into(),
            ImportError::Interrupted => ApiError::new(Code::Unavailable, error.to_string()),
            // The stream is the request's body: its end or its pause is the client's.
            _ => ApiError::new(Code::BadRequest, crate::error::chain(&error)),
        }
    }
}

impl From<TarError> for ApiError {
    fn from(error: TarError) -> Self {
        ApiError::new(Code::BadRequest, crate::error::chain(&error))
    }
}

/// Gives content [`PATIENCE`] to be found.
pub(super) async fn within_patience<T, E>(search: impl Future<Output = Result<T, E>>) -> Result<T, ApiError>
where
    ApiError: From<E>,
{
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(found) => Ok(found?),
        Err(_) => {
            let message = format!("nobody delivered it within {} seconds", PATIENCE.as_secs());
            Err(ApiError::new(Code::ContentUnavailable, message)
                .hint("check the CID; connect to a node that has it with `adit swarm connect`"))
        }
    }
}

pub(super) async fn block_within_patience(source: &dyn BlockSource, cid: &Cid) -> Result<Bytes, ApiError> {
    within_patience(source.block(cid)).await
}

fn parse_path(text: &str) -> Result<IpfsPath, ApiError> {
    text.parse().map_err(|error: adit_unixfs::path::PathError| {
        ApiError::new(Code::BadRequest, error.to_string()).hint("a path is CID or CID/name/name")
    })
}

/// What a path names, with the source to read it from.
async fn find(app: &App, path: &str) -> Result<(Cid, Arc<dyn BlockSource>), ApiError> {
    let path = parse_path(path)?;
    let source = app.node.source();
    let cid = within_patience(export::resolve(&*source, &path)).await?;
    Ok((cid, source))
}

/// Add a file (any body) or a tree (`Content-Type: application/x-tar`, made by `tar c`).
///
/// The content is durable, and pinned unless `pin=false`, when this answers. A tar without an entry for its root
/// whose top level has one entry adds that entry. Scope: run.
#[utoipa::path(
    post, path = "/add", tag = "content", operation_id = "add", security(("token" = ["run"])),
    params(AddQuery),
    request_body(content((Vec<u8> = "application/octet-stream"), (Vec<u8> = "application/x-tar"))),
    responses((status = 200, body = Added), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn add(
    _: Allowed<needs::Run>,
    State(app): State<Arc<App>>,
    Query(query): Query<AddQuery>,
    request: Request,
) -> Result<Json<Added>, ApiError> {
    let profile = match &query.profile {
        Some(name) => name.parse().map_err(|error: adit_unixfs::profile::UnknownProfile| {
            ApiError::new(Code::BadRequest, error.to_string())
        })?,
        None => adit_unixfs::Profile::default(),
    };
    let is_tar = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == TAR);
    let body = StreamReader::new(streamed(request.into_body()));
    let lease = app.repo.lease("add");
    let added = if is_tar {
        tree::import(&lease.store(), body, profile, query.preserve).await?
    } else {
        let options = ImportOptions { layout: profile.into(), ..ImportOptions::default() };
        let imported = import_file(&lease.store(), body, &options).await?;
        Added { cid: imported.root, bytes: imported.content, files: 1, directories: 0 }
    };
    if query.pin.unwrap_or(true) {
        keep(&app, &added.cid, &lease).await?;
    }
    Ok(Json(added))
}

// The next two are boxed as functions of their own because the compiler cannot show that the futures below them are
// `Send` for every lifetime (rust-lang/rust#100013) when a handler awaits them directly.

fn import_file<'a>(
    store: &'a Arc<dyn BlockStore>,
    content: impl AsyncRead + Unpin + Send + 'a,
    options: &'a ImportOptions,
) -> BoxFuture<'a, Result<import::Imported, ImportError>> {
    Box::pin(import::reader(store, content, options))
}

/// Pins what was put under a lease, and lets others find it.
fn keep<'a>(app: &'a App, root: &'a Cid, lease: &'a Lease) -> BoxFuture<'a, Result<(), ApiError>> {
    Box::pin(async move {
        app.repo.pin_leased(root, lease, PinOptions::default()).await?;
        app.node.provide(*root);
        Ok(())
    })
}

/// The bytes of a file, or of a part of it (`offset` and `length`, or a Range header of one range).
///
/// Scope: read.
#[utoipa::path(
    get, path = "/cat/{*path}", tag = "content", operation_id = "cat", security(("token" = ["read"])),
    params(("path" = String, Path, description = "CID, or CID/name/name"), RangeQuery),
    responses(
        (status = 200, description = "The bytes", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "Those of the Range header", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", description = "Error", body = ErrorBody)
    )
)]
pub(super) async fn cat(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    Query(query): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (cid, source) = find(&app, &path).await?;
    let header = headers.get(RANGE).and_then(|range| one_range(range.to_str().ok()?));
    let range = header.unwrap_or(Range { from: query.offset.unwrap_or(0), len: query.length });
    let mut file = within_patience(export::cat(source, &cid, range)).await?;
    // Before the answer begins, so that an error in the first piece is told as what it is.
    let first = within_patience(async { file.content.next().await.transpose() }).await?;
    let first = futures::stream::iter(first.map(Ok));
    let mut response = Body::from_stream(first.chain(file.content)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, OCTETS.parse().expect("a media type is a header value"));
    headers.insert(CONTENT_LENGTH, file.len.into());
    headers.insert(ACCEPT_RANGES, axum::http::HeaderValue::from_static("bytes"));
    headers.insert(ETAG, format!("\"{cid}\"").parse().expect("a CID is printable ASCII"));
    if header.is_some() {
        let last = (range.from + file.len).saturating_sub(1);
        let stated = format!("bytes {}-{last}/{}", range.from, file.size);
        headers.insert(axum::http::header::CONTENT_RANGE, stated.parse().expect("digits are a header value"));
        *response.status_mut() = axum::http::StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// `bytes=A-B` or `bytes=A-`. Anything else is ignored, as RFC 9110 allows, and the whole file is sent.
fn one_range(header: &str) -> Option<Range> {
    let (from, to) = header.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse().ok()?;
    match to {
        "" => Some(Range { from, len: None }),
        to => Some(Range { from, len: Some(to.parse::<u64>().ok()?.checked_sub(from)?.checked_add(1)?) }),
    }
}

/// A file or tree as a tar stream: pipe it into `tar x`.
///
/// Scope: read.
#[utoipa::path(
    get, path = "/get/{*path}", tag = "content", operation_id = "get", security(("token" = ["read"])),
    params(("path" = String, Path, description = "CID, or CID/name/name")),
    responses(
        (status = 200, description = "A tar", body = Vec<u8>, content_type = "application/x-tar"),
        (status = "default", description = "Error", body = ErrorBody)
    )
)]
pub(super) async fn get(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let (cid, source) = find(&app, &path).await?;
    // What is not there at all shall be an error, not a broken stream.
    within_patience(export::stat(&*source, &cid)).await?;
    let name = path.rsplit('/').find(|name| !name.is_empty()).unwrap_or("content").to_owned();
    let stream = crate::tar::archive(source, cid, String::new(), name);
    Ok(([(CONTENT_TYPE, TAR)], Body::from_stream(stream)).into_response())
}

/// The entries of a directory, sorted by name.
///
/// Scope: read.
#[utoipa::path(
    get, path = "/ls/{*path}", tag = "content", operation_id = "ls", security(("token" = ["read"])),
    params(("path" = String, Path, description = "CID, or CID/name/name")),
    responses((status = 200, body = Vec<Entry>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn ls(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
) -> Result<Json<Vec<Entry>>, ApiError> {
    let (cid, source) = find(&app, &path).await?;
    let entries = within_patience(export::ls(&*source, &cid, MAX_ENTRIES)).await?;
    let entries =
        entries.into_iter().map(|entry| Entry { name: entry.name, cid: entry.cid, size: entry.tsize });
    Ok(Json(entries.collect()))
}

/// What stands at a path.
///
/// Scope: read.
#[utoipa::path(
    get, path = "/stat/{*path}", tag = "content", operation_id = "stat", security(("token" = ["read"])),
    params(("path" = String, Path, description = "CID, or CID/name/name")),
    responses((status = 200, body = StatView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn stat(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
) -> Result<Json<StatView>, ApiError> {
    let (cid, source) = find(&app, &path).await?;
    let stat = within_patience(export::stat(&*source, &cid)).await?;
    let (kind, sharded, target) = match stat.kind {
        StatKind::File => ("file", false, None),
        StatKind::Directory { hamt } => ("directory", hamt, None),
        StatKind::Symlink { target } => ("symlink", false, Some(target)),
    };
    Ok(Json(StatView {
        cid,
        kind: kind.to_owned(),
        size: stat.size,
        links: stat.links as u64,
        sharded,
        mode: stat.metadata.mode,
        mtime: stat.metadata.mtime.map(|mtime| mtime.seconds),
        target,
    }))
}

/// One block, as it is hashed: check it against its CID and trust nobody.
///
/// Scope: read.
#[utoipa::path(
    get, path = "/blocks/{cid}", tag = "content", operation_id = "block", security(("token" = ["read"])),
    params(("cid" = String, Path, description = "The block's CID")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/vnd.ipld.raw"),
        (status = "default", description = "Error", body = ErrorBody)
    )
)]
pub(super) async fn block(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(cid): Path<String>,
) -> Result<Response, ApiError> {
    let cid = parse_cid(&cid)?;
    let block = block_within_patience(&*app.node.source(), &cid).await?;
    Ok(([(CONTENT_TYPE, "application/vnd.ipld.raw")], block).into_response())
}

pub(super) fn parse_cid(text: &str) -> Result<Cid, ApiError> {
    text.parse()
        .map_err(|error| ApiError::new(Code::BadRequest, format!("{text:.100?} is not a CID: {error}")))
}

/// A stream of the store's errors as one of I/O errors, which is what bodies carry.
pub(super) fn as_io<T, E: std::error::Error + Send + Sync + 'static>(
    stream: impl futures::Stream<Item = Result<T, E>>,
) -> impl futures::Stream<Item = std::io::Result<T>> {
    stream.map_err(std::io::Error::other)
}
