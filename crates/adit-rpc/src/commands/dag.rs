//! `dag/*`.

use super::block::{codec as codec_of, only_sha2_256};
use super::{Node, source};
use crate::args::Args;
use crate::error::{RpcError, api};
use crate::multipart::Files;
use crate::path::{self, block, resolve_block};
use crate::reply;
use adit_store::car::{self, CarImported};
use adit_store::{BlockStore, PinOptions, car::CarImportError};
use adit_unixfs::{Block, codec, limits, links};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use cid::Cid;
use futures::future::BoxFuture;
use futures::{TryStreamExt, stream};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;

/// Blocks that one walk counts, at most.
const MAX_BLOCKS: usize = 1 << 24;
/// Values or CARs of one request, at most.
const MAX_FILES: usize = 10_000;

fn link(cid: &Cid) -> Value {
    json!({"/": cid.to_string()})
}

pub(super) async fn get(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let text = args.one("ref")?;
    let output = codec_of(&args.text("output-codec")?.unwrap_or_else(|| "dag-json".to_owned()))?;
    args.done()?;
    let source = source(&node);
    let resolved = path::resolve(&node, &text).await?;
    let data = block(&*source, &resolved.cid).await?;
    let refuse = |error: codec::CodecError| RpcError::failed(format!("{}: {error}", resolved.cid));
    let value = codec::decode(resolved.cid.codec(), &data).map_err(refuse)?;
    let value = path::value_at(value, &resolved.rest)
        .ok_or_else(|| RpcError::failed(format!("no such value in {}", resolved.cid)))?;
    let bytes = codec::encode(output, &value).map_err(refuse)?;
    Ok(reply::whole("text/plain", Bytes::from(bytes)))
}

pub(super) async fn put(node: Node, mut args: Args, request: Request) -> Result<Response, RpcError> {
    let store_codec = codec_of(&args.text("store-codec")?.unwrap_or_else(|| "dag-cbor".to_owned()))?;
    let input_codec = codec_of(&args.text("input-codec")?.unwrap_or_else(|| "dag-json".to_owned()))?;
    let pin = args.flag("pin", false)?;
    only_sha2_256(&mut args, "hash")?;
    args.flag("allow-big-block", false)?;
    args.done()?;
    let mut files = Files::of(request)?;
    let lease = node.repo().lease("dag put");
    let mut roots = Vec::new();
    while files.next().await?.is_some() {
        let data = files.whole(limits::BLOCK).await?;
        let value = codec::decode(input_codec, &data).map_err(|error| RpcError::failed(error.to_string()))?;
        let bytes =
            codec::encode(store_codec, &value).map_err(|error| RpcError::failed(error.to_string()))?;
        let block = Block::new(store_codec, bytes);
        roots.push(block.cid);
        lease.store().put(vec![block]).await.map_err(api)?;
        if roots.len() > MAX_FILES {
            return Err(RpcError::client(format!("more than {MAX_FILES} values in one request")));
        }
    }
    if roots.is_empty() {
        return Err(RpcError::client("file argument \"object data\" is required"));
    }
    lease.store().sync().await.map_err(api)?;
    for root in roots.iter().filter(|_| pin) {
        let source = source(&node);
        node.repo().pin(root, &*source, PinOptions::default()).await.map_err(api)?;
        node.node().provide(*root);
    }
    let rows = roots.iter().map(|root| Ok(json!({"Cid": link(root)}))).collect::<Vec<_>>();
    Ok(reply::values(stream::iter(rows)))
}

pub(super) async fn resolve(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let text = args.one("ref")?;
    args.done()?;
    let resolved = path::resolve(&node, &text).await?;
    Ok(reply::value(json!({"Cid": link(&resolved.cid), "RemPath": resolved.rest.join("/")})))
}

pub(super) async fn export(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let text = args.one("root")?;
    args.ignore(&["progress", "p"]);
    args.done()?;
    let source = source(&node);
    let cid = path::parse_cid(&text)?;
    block(&*source, &cid).await?;
    let stream = car::export(source, vec![cid]).map_err(io::Error::other);
    Ok(reply::bytes("application/vnd.ipld.car", None, stream))
}

pub(super) async fn import(node: Node, mut args: Args, request: Request) -> Result<Response, RpcError> {
    let pin = args.flag("pin-roots", true)?;
    let stats = args.flag("stats", false)?;
    args.ignore(&["silent", "allow-big-block", "fast-provide-root", "fast-provide-dag", "fast-provide-wait"]);
    args.done()?;
    let mut files = Files::of(request)?;
    let lease = node.repo().lease("dag import");
    let store = lease.store();
    let (mut roots, mut blocks, mut bytes, mut cars) = (Vec::new(), 0, 0, 0);
    while files.next().await?.is_some() {
        let imported = take_in(&store, &mut files).await.map_err(api)?;
        blocks += imported.blocks;
        bytes += imported.bytes;
        cars += 1;
        for root in imported.roots {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        if cars > MAX_FILES || roots.len() > MAX_FILES {
            return Err(RpcError::client(format!("more than {MAX_FILES} CARs or roots in one request")));
        }
    }
    if cars == 0 {
        return Err(RpcError::client("file argument \"path\" is required"));
    }
    Ok(reply::values(async_stream::try_stream! {
        // Kept until the roots are pinned.
        let _lease = lease;
        for root in roots.into_iter().filter(|_| pin) {
            let source = source(&node);
            let pinned = keep(&node, &root, &*source).await;
            let message = pinned.err().map(|error| error.message().to_owned()).unwrap_or_default();
            yield json!({"Root": {"Cid": link(&root), "PinErrorMsg": message}});
        }
        if stats {
            yield json!({"Stats": {"BlockCount": blocks, "BlockBytesCount": bytes}});
        }
    }))
}

// Boxed as functions of their own because the compiler cannot show their futures to be `Send` for every lifetime
// (rust-lang/rust#100013).

fn take_in<'a>(
    store: &'a Arc<dyn BlockStore>,
    files: &'a mut Files,
) -> BoxFuture<'a, Result<CarImported, CarImportError>> {
    Box::pin(async move { car::import(&**store, files.content()).await })
}

fn keep<'a>(
    node: &'a Node,
    root: &'a Cid,
    source: &'a dyn adit_store::BlockSource,
) -> BoxFuture<'a, Result<(), RpcError>> {
    Box::pin(async move {
        node.repo().pin(root, source, PinOptions::default()).await.map_err(api)?;
        node.node().provide(*root);
        Ok(())
    })
}

pub(super) async fn stat(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let paths = args.some("root")?;
    args.ignore(&["progress", "p"]);
    args.done()?;
    let source = source(&node);
    let mut seen_anywhere = HashSet::new();
    let (mut unique, mut total, mut redundant) = (0u64, 0u64, 0u64);
    let mut rows = Vec::new();
    for path in &paths {
        let root = resolve_block(&node, path).await?;
        let (mut seen, mut stack) = (HashSet::from([root]), vec![root]);
        let (mut size, mut count) = (0u64, 0u64);
        while let Some(cid) = stack.pop() {
            let data = block(&*source, &cid).await?;
            let len = data.len() as u64;
            (size, count, redundant) = (size + len, count + 1, redundant + len);
            if seen_anywhere.insert(cid) {
                (unique, total) = (unique + 1, total + len);
            }
            let below = links(&cid, &data).map_err(|error| RpcError::failed(format!("{cid}: {error}")))?;
            source.prefetch(&below[..below.len().min(32)]);
            stack.extend(below.into_iter().rev().filter(|child| seen.insert(*child)));
            if seen_anywhere.len() > MAX_BLOCKS || seen.len() > MAX_BLOCKS {
                return Err(RpcError::failed("the DAG has too many blocks to count"));
            }
        }
        rows.push(json!({"Cid": root.to_string(), "Size": size, "NumBlocks": count}));
    }
    let ratio = if total == 0 { 0.0 } else { redundant as f64 / total as f64 };
    Ok(reply::values(stream::iter([Ok(json!({
        "UniqueBlocks": unique, "TotalSize": total, "SharedSize": redundant - total, "Ratio": ratio,
        "DagStats": rows,
    }))])))
}
