//! `cat`, `get`, `ls`: UnixFS, read.

use super::{Node, source};
use crate::args::Args;
use crate::error::{RpcError, api};
use crate::path::{resolve_block, within_patience};
use crate::reply;
use adit_store::BlockSource;
use adit_store::export::{self, Range};
use adit_unixfs::read::{Entry, Stat, StatKind};
use axum::response::Response;
use cid::Cid;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;

/// Entries of a directory that are listed at once.
const MAX_ENTRIES: usize = 1 << 20;
/// Entries whose first blocks are looked at, at a time.
const LOOKED_AT: usize = 16;

pub(super) async fn cat(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let paths = args.some("ipfs-path")?;
    let offset = args.number::<u64>("offset")?.or(args.number("o")?).unwrap_or(0);
    let length = args.number::<u64>("length")?.or(args.number("l")?);
    args.ignore(&["progress", "p"]);
    args.done()?;
    let source = source(&node);
    // All are opened before the first byte, so that what is not there is an error and no broken stream.
    let (mut skip, mut left, mut total) = (offset, length, 0);
    let mut parts = Vec::new();
    for path in &paths {
        let cid = resolve_block(&node, path).await?;
        let size = within_patience(async { export::stat(&*source, &cid).await.map_err(api) }).await?;
        if matches!(size.kind, StatKind::Directory { .. }) {
            return Err(RpcError::failed("this dag node is a directory"));
        }
        let from = skip.min(size.size);
        skip -= from;
        let range = Range { from, len: left };
        let open = export::cat(source.clone(), &cid, range);
        let file = within_patience(async { open.await.map_err(api) }).await?;
        left = left.map(|left| left - file.len);
        total += file.len;
        parts.push(file.content);
    }
    if skip > 0 {
        return Err(RpcError::failed("offset was outside the file"));
    }
    let mut content = stream::iter(parts).flatten();
    let first = within_patience(async { content.next().await.transpose().map_err(api) }).await?;
    let content = stream::iter(first.map(Ok)).chain(content).map_err(io::Error::other);
    Ok(reply::bytes("text/plain", Some(total), content))
}

pub(super) async fn get(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let path = args.one("ipfs-path")?;
    args.only("compress", &["false"])?;
    args.only("C", &["false"])?;
    args.ignore(&["archive", "a", "progress", "p", "output", "o", "compression-level", "l"]);
    args.done()?;
    let source = source(&node);
    let cid = resolve_block(&node, &path).await?;
    within_patience(async { export::stat(&*source, &cid).await.map_err(api) }).await?;
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    Ok(reply::bytes("application/x-tar", None, adit_tar::archive(source, cid, name.clone(), name)))
}

pub(super) async fn ls(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let paths = args.some("ipfs-path")?;
    let looked = args.flag("resolve-type", true)? && args.flag("size", true)?;
    let streamed = args.flag("stream", false)? || args.flag("s", false)?;
    args.ignore(&["headers", "v", "long", "l"]);
    args.done()?;
    let source = source(&node);
    let mut listed = Vec::new();
    for path in paths {
        let cid = resolve_block(&node, &path).await?;
        let entries = within_patience(list(&*source, cid)).await?;
        listed.push((path, entries));
    }
    if streamed {
        let links = stream::iter(listed).flat_map(move |(path, entries)| {
            let source = source.clone();
            links(source, entries, looked)
                .map_ok(move |link| json!({"Objects": [{"Hash": path.clone(), "Links": [link]}]}))
        });
        return Ok(reply::values(links));
    }
    let mut objects = Vec::new();
    for (path, entries) in listed {
        let links: Vec<Value> = links(source.clone(), entries, looked).try_collect().await?;
        objects.push(json!({"Hash": path, "Links": links}));
    }
    Ok(reply::value(json!({ "Objects": objects })))
}

/// The entries of a directory; of a file, none.
async fn list(source: &dyn BlockSource, cid: Cid) -> Result<Vec<Entry>, RpcError> {
    match export::stat(source, &cid).await.map_err(api)?.kind {
        StatKind::Directory { .. } => export::ls(source, &cid, MAX_ENTRIES).await.map_err(api),
        _ => Ok(Vec::new()),
    }
}

fn links(
    source: Arc<dyn BlockSource>,
    entries: Vec<Entry>,
    looked: bool,
) -> impl futures::Stream<Item = Result<Value, RpcError>> + Send {
    stream::iter(entries)
        .map(move |entry| {
            let source = source.clone();
            async move {
                let stat = match looked {
                    true => Some(export::stat(&*source, &entry.cid).await.map_err(api)?),
                    false => None,
                };
                Ok(link(&entry, stat))
            }
        })
        .buffered(LOOKED_AT)
        .boxed()
}

/// Kinds as UnixFS numbers them; 0 where nobody looked.
fn link(entry: &Entry, stat: Option<Stat>) -> Value {
    let (kind, size, target) = match &stat {
        None => (0, 0, ""),
        Some(stat) => match &stat.kind {
            StatKind::Directory { .. } => (1, 0, ""),
            StatKind::File => (2, stat.size, ""),
            StatKind::Symlink { target } => (4, 0, target.as_str()),
        },
    };
    let mut link = json!({
        "Name": entry.name, "Hash": entry.cid.to_string(), "Size": size, "Type": kind, "Target": target,
    });
    if let Some(mode) = stat.and_then(|stat| stat.metadata.mode) {
        link["Mode"] = mode.into();
    }
    link
}
