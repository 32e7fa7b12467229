//! `repo/*`.

use super::Node;
use crate::args::Args;
use crate::error::{RpcError, api};
use crate::reply;
use adit_store::{FORMAT, OnCorrupt, Repo, StoreError, VerifyReport};
use axum::response::Response;
use futures::future::BoxFuture;
use futures::stream;
use serde_json::json;

pub(super) async fn stat(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let size_only = args.flag("size-only", false)?;
    args.ignore(&["human", "H"]);
    args.done()?;
    let stat = node.repo().stat().await.map_err(api)?;
    let limit = stat.limit.unwrap_or_else(|| stat.used.saturating_add(stat.free));
    Ok(reply::value(json!({
        "RepoSize": stat.used,
        "StorageMax": limit,
        "NumObjects": if size_only { 0 } else { stat.blocks },
        // Where it lies is nobody's business who asks over HTTP.
        "RepoPath": "",
        "Version": format!("adit-repo@{}", stat.format),
    })))
}

pub(super) async fn version(_: Node, mut args: Args) -> Result<Response, RpcError> {
    args.ignore(&["quiet", "q"]);
    args.done()?;
    Ok(reply::value(json!({ "Version": FORMAT.to_string() })))
}

/// The keys of what was removed are not kept, so none is listed; clients take this for what it is, a collection that
/// went well.
pub(super) async fn gc(node: Node, mut args: Args) -> Result<Response, RpcError> {
    args.ignore(&["quiet", "q", "stream-errors", "silent"]);
    args.done()?;
    node.node().gc().await?;
    Ok(reply::values(stream::empty()))
}

pub(super) async fn verify(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let drop = args.flag("drop", false)?;
    args.only("heal", &["false"])?;
    args.ignore(&["quiet", "q", "heal-timeout"]);
    args.done()?;
    let on_corrupt = if drop { OnCorrupt::Drop } else { OnCorrupt::Report };
    Ok(reply::values(async_stream::try_stream! {
        let report = examine(node.repo(), on_corrupt).await.map_err(api)?;
        for cid in &report.corrupt {
            yield json!({"Msg": format!("block {cid} was corrupt"), "Progress": 0});
        }
        yield json!({"Msg": "", "Progress": report.blocks});
        if !report.corrupt.is_empty() && !drop {
            Err(RpcError::failed("verify complete, some blocks were corrupt"))?;
        }
        yield json!({"Msg": "verify complete, all blocks validated.", "Progress": 0});
    }))
}

fn examine(repo: &Repo, on_corrupt: OnCorrupt) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
    Box::pin(repo.verify(on_corrupt))
}
