//! The DHT: who has content, where peers are.

use super::App;
use super::content::parse_cid;
use super::extract::{JsonBody, Path, Query};
use crate::access::{Allowed, needs};
use crate::error::{ApiError, Code, ErrorBody};
use crate::types::{Located, ProvideBody, Provided, ProvidersQuery};
use adit_node::{MOST_PROVIDERS, RoutingError};
use axum::Json;
use axum::extract::State;
use std::sync::Arc;

/// Providers looked for when the request does not say.
const PROVIDERS: u32 = 20;

impl From<RoutingError> for ApiError {
    fn from(error: RoutingError) -> Self {
        let text = crate::error::chain(&error);
        match error {
            RoutingError::PeerId { .. } => ApiError::new(Code::BadRequest, text)
                .hint("a peer id looks like 12D3KooW… or Qm…; a multiaddress ends in one"),
            RoutingError::Unknown(_) => ApiError::new(Code::NotFound, text)
                .hint("a peer that is no DHT server is known only to those it is connected with"),
            RoutingError::NotHere(_) => {
                ApiError::new(Code::NotFound, text).hint("add it, or fetch it with `adit pin add`")
            }
            RoutingError::Store(error) => error.into(),
            RoutingError::Lookup(adit_net::LookupError::Busy) => ApiError::new(Code::Busy, text),
            RoutingError::Lookup(adit_net::LookupError::Closed(_)) => ApiError::new(Code::Unavailable, text),
            RoutingError::Lookup(adit_net::LookupError::Refused) => ApiError::new(Code::Conflict, text),
            RoutingError::Provide(adit_net::ProvideError::Full(_)) => ApiError::new(Code::TooLarge, text),
            RoutingError::Provide(_) => ApiError::internal(&error),
        }
    }
}

/// Peers that announced this content, this node among them. May take half a minute. Scope: read.
#[utoipa::path(
    get, path = "/routing/providers/{cid}", tag = "routing", operation_id = "find_providers",
    security(("token" = ["read"])),
    params(("cid" = String, Path, description = "The content"), ProvidersQuery),
    responses((status = 200, body = Vec<Located>), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn find_providers(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(cid): Path<String>,
    Query(query): Query<ProvidersQuery>,
) -> Result<Json<Vec<Located>>, ApiError> {
    let num = query.num.unwrap_or(PROVIDERS) as usize;
    if !(1..=MOST_PROVIDERS).contains(&num) {
        return Err(ApiError::new(Code::BadRequest, format!("`num` is 1 to {MOST_PROVIDERS}, not {num}")));
    }
    app.node.find_providers(&parse_cid(&cid)?, num).await.map(Json)
}

/// Where a peer is. May take half a minute. Scope: read.
#[utoipa::path(
    get, path = "/routing/peers/{peer}", tag = "routing", operation_id = "find_peer",
    security(("token" = ["read"])),
    params(("peer" = String, Path, description = "Peer id")),
    responses((status = 200, body = Located), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn find_peer(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    Path(peer): Path<String>,
) -> Result<Json<Located>, ApiError> {
    app.node.find_peer(&peer).await.map(Json)
}

/// Announce content that is here, now and every 22 hours from now on. Answers when others have been told. Scope: run.
#[utoipa::path(
    post, path = "/routing/provide", tag = "routing", operation_id = "provide", security(("token" = ["run"])),
    request_body = ProvideBody,
    responses((status = 200, body = Provided), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn provide(
    _: Allowed<needs::Run>,
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<ProvideBody>,
) -> Result<Json<Provided>, ApiError> {
    let cid = parse_cid(&body.cid)?;
    let heard = app.node.provide_now(cid).await?;
    Ok(Json(Provided { cid: cid.to_string(), heard }))
}
