//! `refs`, `refs/local`, `resolve`.

use super::{Node, source};
use crate::args::Args;
use crate::error::{RpcError, api};
use crate::path::{block, parse_cid, resolve as resolve_path, resolve_block};
use crate::reply;
use adit_unixfs::links;
use axum::response::Response;
use cid::Cid;
use futures::TryStreamExt;
use serde_json::json;
use std::collections::HashSet;

/// Links that one walk tells, at most.
const MAX_REFS: usize = 1 << 24;

pub(super) async fn refs(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let paths = args.some("ipfs-path")?;
    let unique = args.flag("unique", false)? || args.flag("u", false)?;
    let recursive = args.flag("recursive", false)? || args.flag("r", false)?;
    let edges = args.flag("edges", false)? || args.flag("e", false)?;
    let format = args.text("format")?.filter(|format| !format.is_empty() && format != "<dst>");
    let depth = args.number::<i64>("max-depth")?.unwrap_or(-1);
    args.done()?;
    if format.is_some() && edges {
        return Err(RpcError::client("using format argument with edges is not allowed"));
    }
    if format.as_ref().is_some_and(|format| format.contains("<linkname>")) {
        return Err(RpcError::client("option \"format\" does not support <linkname> here"));
    }
    let depth = if recursive { depth } else { 1 };
    let mut roots = Vec::new();
    for path in &paths {
        roots.push(resolve_block(&node, path).await?);
    }
    let source = source(&node);
    Ok(reply::values(async_stream::try_stream! {
        // Each block is walked once, whatever its depth; with a bound for the depth that would lose some.
        let mut told = HashSet::new();
        let mut walked: HashSet<(Cid, i64)> = HashSet::new();
        let mut count = 0;
        let mut stack: Vec<(Cid, i64)> = roots.into_iter().rev().map(|root| (root, 0)).collect();
        while let Some((cid, level)) = stack.pop() {
            if depth >= 0 && level >= depth {
                continue;
            }
            let data = block(&*source, &cid).await?;
            let below = links(&cid, &data).map_err(|error| RpcError::failed(format!("{cid}: {error}")))?;
            source.prefetch(&below[..below.len().min(32)]);
            let before = stack.len();
            for child in below {
                count += 1;
                if count > MAX_REFS {
                    Err(RpcError::failed("too many references"))?;
                }
                if !unique || told.insert(child) {
                    let text = match (&format, edges) {
                        (_, true) => format!("{cid} -> {child}"),
                        (Some(format), _) => format.replace("<src>", &cid.to_string()).replace("<dst>", &child.to_string()),
                        (None, false) => child.to_string(),
                    };
                    yield json!({"Ref": text, "Err": ""});
                }
                let key = (child, if depth < 0 { 0 } else { level + 1 });
                if walked.insert(key) {
                    stack.push((child, level + 1));
                }
            }
            stack[before..].reverse();
        }
    }))
}

pub(super) async fn local(node: Node, mut args: Args) -> Result<Response, RpcError> {
    // `ipfs refs local` sends the options of `ipfs refs` too.
    args.only("format", &["<dst>", ""])?;
    args.ignore(&["edges", "unique", "recursive", "max-depth"]);
    args.done()?;
    Ok(reply::values(async_stream::try_stream! {
        let blocks = node.repo().blocks();
        let mut all = blocks.list();
        while let Some((cid, _)) = all.try_next().await.map_err(api)? {
            // The store goes by hashes; Kubo tells each block as a raw one too.
            let raw = Cid::new_v1(adit_unixfs::block::RAW, *cid.hash());
            yield json!({"Ref": raw.to_string(), "Err": ""});
        }
    }))
}

pub(super) async fn resolve(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let path = args.one("name")?;
    args.ignore(&["recursive", "r", "dht-record-count", "dht-timeout"]);
    args.done()?;
    let bare = path.strip_prefix("/ipfs/").unwrap_or(&path);
    if !bare.contains('/') {
        return Ok(reply::value(json!({"Path": format!("/ipfs/{}", parse_cid(bare)?)})));
    }
    let resolved = resolve_path(&node, &path).await?;
    let mut text = format!("/ipfs/{}", resolved.cid);
    for name in resolved.rest {
        text.push('/');
        text.push_str(&name);
    }
    Ok(reply::value(json!({ "Path": text })))
}
