//! `block/*`.

use super::{Node, pin, source};
use crate::args::Args;
use crate::error::{RpcError, api};
use crate::multipart::Files;
use crate::path::{block, parse_cid, resolve_block};
use crate::reply;
use adit_store::{MAX_BLOCK_LEN, PinKind, PinOptions};
use adit_unixfs::Block;
use adit_unixfs::block::{DAG_CBOR, DAG_JSON, DAG_PB, RAW};
use axum::extract::Request;
use axum::response::Response;
use futures::stream;
use serde_json::json;

/// Blocks that Kubo takes without `allow-big-block`.
const BIG: usize = 2 << 20;

pub(super) async fn get(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let path = args.one("cid")?;
    args.done()?;
    let source = source(&node);
    let cid = resolve_block(&node, &path).await?;
    Ok(reply::whole("application/octet-stream", block(&*source, &cid).await?))
}

pub(super) async fn stat(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let path = args.one("cid")?;
    args.done()?;
    let source = source(&node);
    let cid = resolve_block(&node, &path).await?;
    let size = block(&*source, &cid).await?.len();
    Ok(reply::value(json!({"Key": cid.to_string(), "Size": size})))
}

/// A codec by its name or number.
pub(super) fn codec(name: &str) -> Result<u64, RpcError> {
    Ok(match name {
        "raw" | "0x55" => RAW,
        "dag-pb" | "protobuf" | "0x70" => DAG_PB,
        "dag-cbor" | "cbor" | "0x71" => DAG_CBOR,
        "dag-json" | "0x0129" | "0x129" => DAG_JSON,
        other => return Err(RpcError::client(format!("codec {other:.40?} is not supported here"))),
    })
}

/// The only hash that is supported.
pub(super) fn only_sha2_256(args: &mut Args, name: &str) -> Result<(), RpcError> {
    args.only(name, &["sha2-256", "0x12"])
}

pub(super) async fn put(node: Node, mut args: Args, request: Request) -> Result<Response, RpcError> {
    only_sha2_256(&mut args, "mhtype")?;
    args.only("mhlen", &["-1", "32"])?;
    let pin = args.flag("pin", false)?;
    // Kubo's client sends the default with every request; kubo-rpc-client has an older name for it.
    let format = args.text("format")?.or(args.text("f")?);
    let named = args.text("cid-codec")?;
    args.only("version", &["1"])?;
    args.flag("allow-big-block", false)?;
    args.done()?;
    let (codec, v0) = match (format.as_deref(), named.as_deref()) {
        (Some("v0"), _) => (DAG_PB, true),
        (Some("") | None, named) => (codec(named.filter(|name| !name.is_empty()).unwrap_or("raw"))?, false),
        (Some(format), _) => (codec(format)?, false),
    };
    let mut files = Files::of(request)?;
    let lease = node.repo().lease("block put");
    let mut put = Vec::new();
    while files.next().await?.is_some() {
        let data = files.whole(BIG.min(MAX_BLOCK_LEN)).await?;
        let size = data.len();
        let block = if v0 { Block::new_v0(data) } else { Block::new(codec, data) };
        let cid = block.cid;
        lease.store().put(vec![block]).await.map_err(api)?;
        put.push((cid, size));
        if put.len() > MAX_FILES {
            return Err(RpcError::client(format!("more than {MAX_FILES} blocks in one request")));
        }
    }
    if put.is_empty() {
        return Err(RpcError::client("file argument \"data\" is required"));
    }
    lease.store().sync().await.map_err(api)?;
    for (cid, _) in put.iter().filter(|_| pin) {
        let source = source(&node);
        node.repo().pin(cid, &*source, PinOptions::default()).await.map_err(api)?;
        node.node().provide(*cid);
    }
    let rows = put.into_iter().map(|(cid, size)| Ok(json!({"Key": cid.to_string(), "Size": size})));
    Ok(reply::values(stream::iter(rows.collect::<Vec<_>>())))
}

/// Blocks of one request, at most.
const MAX_FILES: usize = 10_000;

pub(super) async fn rm(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let force = args.flag("force", false)? || args.flag("f", false)?;
    let quiet = args.flag("quiet", false)? || args.flag("q", false)?;
    let cids = args.some("cid")?.iter().map(|text| parse_cid(text)).collect::<Result<Vec<_>, _>>()?;
    args.done()?;
    let kept = pin::covering(&node, &cids).await?;
    let mut rows = Vec::new();
    for cid in cids {
        let failed = match kept.get(&cid.hash().to_bytes()) {
            Some(by) => Some(format!("pinned: {by}")),
            None => {
                let blocks = node.repo().blocks();
                match blocks.has(&cid).await.map_err(api)? {
                    true => blocks.delete(&cid).await.err().map(|error| error.to_string()),
                    false if force => None,
                    false => {
                        Some(format!("block was not found locally (offline): ipld: could not find {cid}"))
                    }
                }
            }
        };
        match failed {
            Some(error) => rows.push(Ok(json!({"Hash": cid.to_string(), "Error": error}))),
            None if quiet => {}
            None => rows.push(Ok(json!({"Hash": cid.to_string()}))),
        }
    }
    node.repo().blocks().sync().await.map_err(api)?;
    Ok(reply::values(stream::iter(rows)))
}

/// How a pin is named in answers.
pub(super) fn kind_name(kind: PinKind) -> &'static str {
    match kind {
        PinKind::Recursive => "recursive",
        PinKind::Direct => "direct",
    }
}
