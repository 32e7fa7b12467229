//! Receipts: shown and checked.
//!
//! A client that does not trust this node fetches the blocks (`GET /blocks/{cid}`) and checks by itself, as `adit
//! receipt verify` does; these routes are for those who trust their own node.

use super::extract::{Path, small_body};
use super::{App, content};
use crate::access::{Allowed, needs};
use crate::error::{ApiError, Code, ErrorBody, chain};
use crate::types::ReceiptView;
use adit_model::{DecodeError, Envelope, EnvelopeCid, Expected, Invocation, Outcome, Signed, verify_job};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Longest envelope that is looked at.
const ENVELOPE_LIMIT: usize = adit_model::MAX_RECORD_BYTES;

/// Show a receipt, checked. With `Accept: application/vnd.ipld.dag-cbor`, its block. Scope: read.
#[utoipa::path(
    get, path = "/receipts/{cid}", tag = "jobs", operation_id = "receipt", security(("token" = ["read"])),
    params(("cid" = String, Path, description = "The receipt envelope's CID")),
    responses(
        (status = 200, content((ReceiptView = "application/json"), (Vec<u8> = "application/vnd.ipld.dag-cbor"))),
        (status = "default", description = "Error", body = ErrorBody)
    )
)]
pub(super) async fn show(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(cid): Path<EnvelopeCid>,
) -> Result<Response, ApiError> {
    let block = content::block_within_patience(&*app.node.source(), &cid.to_cid()).await?;
    if headers.get(ACCEPT).is_some_and(|accept| accept == "application/vnd.ipld.dag-cbor") {
        return Ok(([(CONTENT_TYPE, "application/vnd.ipld.dag-cbor")], block).into_response());
    }
    Ok(Json(check(&app, &block).await?).into_response())
}

/// Check a receipt: its envelope is the body. Invocation and outcome are checked too where they are stored here. Scope: read.
#[utoipa::path(
    post, path = "/receipts/verify", tag = "jobs", operation_id = "verify_receipt", security(("token" = ["read"])),
    request_body(content = Vec<u8>, content_type = "application/vnd.ipld.dag-cbor"),
    responses((status = 200, body = ReceiptView), (status = "default", description = "Error", body = ErrorBody))
)]
pub(super) async fn verify(
    _: Allowed<needs::Read>,
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<ReceiptView>, ApiError> {
    let block = small_body(request, ENVELOPE_LIMIT).await?;
    check(&app, &block).await.map(Json)
}

async fn check(app: &App, block: &[u8]) -> Result<ReceiptView, ApiError> {
    let not_one =
        |error: DecodeError| ApiError::new(Code::BadContent, format!("this is no receipt: {error}"));
    let envelope = Envelope::decode(block).map_err(not_one)?;
    let receipt = envelope
        .peek()
        .map_err(|error| ApiError::new(Code::BadContent, format!("this is no receipt: {}", chain(&error))))?;
    let mut problem = envelope.verify().err().map(|error| chain(&error));
    let mut job_checked = false;
    if problem.is_none() {
        // Only what is at hand: a receipt that one holds is worth checking without the network, too.
        let store = app.repo.blocks();
        let invocation = store.get(&receipt.invocation.to_cid()).await.ok().flatten();
        let outcome = store.get(&receipt.outcome.to_cid()).await.ok().flatten();
        let invocation = invocation.and_then(|block| Signed::<Invocation>::decode(&block).ok());
        let outcome = outcome.and_then(|block| Outcome::decode(&block).ok());
        if let (Some(invocation), Some(outcome)) = (invocation, outcome) {
            job_checked = true;
            problem = verify_job(&envelope, &invocation, &outcome, Expected::default())
                .err()
                .map(|error| chain(&error));
        }
    }
    let endorsement = receipt.evidence.endorsement().body();
    Ok(ReceiptView {
        cid: EnvelopeCid::of_block(block),
        outcome: receipt.outcome,
        invocation: receipt.invocation,
        task: receipt.task,
        host: receipt.host,
        node: endorsement.node,
        time: receipt.time,
        runtime: endorsement.runtime.clone(),
        evidence: receipt.evidence.kind().to_string(),
        valid: problem.is_none(),
        problem,
        job_checked,
    })
}
