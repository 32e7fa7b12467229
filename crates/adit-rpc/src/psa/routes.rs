//! The service's HTTP.

use super::keeper::Pinning;
use super::record::{Filter, Pin, Record};
use super::shelf::ShelfError;
use crate::entry;
use adit_api::access::Scope;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Longest body: a pin with all its notes.
const MAX_BODY: usize = 256 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The routes below `/psa/v1`, to be merged with the API's.
pub fn router(pinning: Arc<Pinning>) -> Router {
    Router::new()
        .route("/psa/v1/pins", axum::routing::any(all))
        .route("/psa/v1/pins/{id}", axum::routing::any(one))
        .layer(DefaultBodyLimit::disable())
        .with_state(pinning)
}

/// An error as the specification has it.
struct Refusal(StatusCode, &'static str, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({"error": {"reason": self.1, "details": self.2}}))).into_response()
    }
}

impl From<ShelfError> for Refusal {
    fn from(error: ShelfError) -> Self {
        match error {
            ShelfError::Full => {
                Self(StatusCode::INSUFFICIENT_STORAGE, "INSUFFICIENT_FUNDS", error.to_string())
            }
            _ => Self(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", error.to_string()),
        }
    }
}

fn bad(details: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, "BAD_REQUEST", details)
}

async fn all(
    State(pinning): State<Arc<Pinning>>,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let needed = if request.method() == Method::GET { Scope::Read } else { Scope::Run };
    authorize(&pinning, &request, needed)?;
    match *request.method() {
        Method::GET => {
            let Query(pairs) = query.map_err(|error| bad(error.body_text()))?;
            let filter = Filter::parse(&pairs).map_err(bad)?;
            let found = pinning.shelf.select(|record| filter.fits(record));
            let delegates = delegates(&pinning);
            let results: Vec<Value> =
                found.iter().take(filter.limit).map(|record| record.view(&delegates)).collect();
            Ok(axum::Json(json!({"count": found.len(), "results": results})).into_response())
        }
        Method::POST => {
            let pin = read(request).await?;
            accept(pinning, pin, None).await
        }
        _ => Err(no_method()),
    }
}

async fn one(
    State(pinning): State<Arc<Pinning>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let needed = if request.method() == Method::GET { Scope::Read } else { Scope::Run };
    authorize(&pinning, &request, needed)?;
    let unknown = || Refusal(StatusCode::NOT_FOUND, "NOT_FOUND", format!("there is no request {id:.60?}"));
    let record = pinning.shelf.get(&id).ok_or_else(unknown)?;
    match *request.method() {
        Method::GET => Ok(shown(&pinning, StatusCode::OK, &record)),
        Method::POST => {
            let pin = read(request).await?;
            accept(pinning, pin, Some(id)).await
        }
        Method::DELETE => {
            let removed = blocking(move || pinning.remove(&id)).await?;
            if removed { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(no_method()) }
        }
        _ => Err(no_method()),
    }
}

fn no_method() -> Refusal {
    Refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "there is no such method on this route".into(),
    )
}

fn authorize(pinning: &Pinning, request: &Request, needed: Scope) -> Result<(), Refusal> {
    let refuse = |error: crate::error::RpcError| {
        Refusal(
            error.status(),
            if error.status() == StatusCode::UNAUTHORIZED { "UNAUTHORIZED" } else { "FORBIDDEN" },
            error.message().to_owned(),
        )
    };
    pinning.app.guard().check(request.headers()).map_err(|error| refuse(error.into()))?;
    entry::authorize(&pinning.app, request.headers(), needed).map_err(refuse)
}

async fn read(request: Request) -> Result<Pin, Refusal> {
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY);
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(bad(format!("the body broke off, or has more than {MAX_BODY} bytes"))),
        Err(_) => return Err(bad("the body took too long to arrive".into())),
    };
    let pin: Pin =
        serde_json::from_slice(&bytes).map_err(|error| bad(format!("the body is no pin: {error}")))?;
    pin.check().map_err(bad)?;
    Ok(pin)
}

async fn accept(pinning: Arc<Pinning>, pin: Pin, instead_of: Option<String>) -> Result<Response, Refusal> {
    let taken = pinning.clone();
    let record = blocking(move || taken.accept(pin, instead_of.as_deref())).await?;
    Ok(shown(&pinning, StatusCode::ACCEPTED, &record))
}

fn shown(pinning: &Pinning, status: StatusCode, record: &Record) -> Response {
    (status, axum::Json(record.view(&delegates(pinning)))).into_response()
}

/// Where clients send what they want kept: this node.
fn delegates(pinning: &Pinning) -> Vec<String> {
    pinning.app.node().id().addresses.into_iter().take(20).collect()
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, ShelfError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(call).await {
        Ok(done) => Ok(done?),
        Err(error) => {
            Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", error.to_string()))
        }
    }
}
