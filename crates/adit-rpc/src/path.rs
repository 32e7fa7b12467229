//! Paths as arguments: `CID/…`, `/ipfs/CID/…`, `/ipld/CID/…`, `/ipns/NAME/…`, through directories and through IPLD
//! values.

use crate::commands::Node as Served;
use crate::error::{RpcError, api};
use adit_api::{ApiError, Code};
use adit_store::BlockSource;
use adit_store::export;
use adit_unixfs::block::{DAG_PB, RAW};
use adit_unixfs::codec;
use adit_unixfs::node::Node;
use adit_unixfs::{IpfsPath, limits};
use bytes::Bytes;
use cid::Cid;
use ipld_core::ipld::Ipld;
use std::time::Duration;

/// How long the blocks on the way to an answer may take to be found.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Blocks that one path may lead through.
const MAX_BLOCKS: usize = limits::PATH_SEGMENTS;

/// What a path names.
pub(crate) struct Resolved {
    /// The last block on the way.
    pub(crate) cid: Cid,
    /// What is left of the path, inside that block.
    pub(crate) rest: Vec<String>,
}

/// A block, if somebody delivers it in time.
pub(crate) async fn block(source: &dyn BlockSource, cid: &Cid) -> Result<Bytes, RpcError> {
    within_patience(async { source.block(cid).await.map_err(api) }).await
}

pub(crate) async fn within_patience<T>(
    search: impl Future<Output = Result<T, RpcError>>,
) -> Result<T, RpcError> {
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(found) => found,
        Err(_) => {
            let message = format!("nobody delivered it within {} seconds", PATIENCE.as_secs());
            Err(ApiError::new(Code::ContentUnavailable, message).into())
        }
    }
}

pub(crate) fn parse_cid(text: &str) -> Result<Cid, RpcError> {
    let bare = text.strip_prefix("/ipfs/").or_else(|| text.strip_prefix("/ipld/")).unwrap_or(text);
    bare.parse().map_err(|error| RpcError::client(format!("invalid path {text:.100?}: {error}")))
}

fn parse(text: &str) -> Result<(IpfsPath, bool), RpcError> {
    let (text, raw) = match text.strip_prefix("/ipld/") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let path =
        text.parse().map_err(|error| RpcError::client(format!("invalid path {text:.100?}: {error}")))?;
    Ok((path, raw))
}

/// Follows a path to a block and to what stands in it; a name first to what it stands for.
pub(crate) async fn resolve(node: &Served, text: &str) -> Result<Resolved, RpcError> {
    let named;
    let text = match text.strip_prefix("/ipns/") {
        None => text,
        Some(name) => {
            named = within_patience(async { Ok(node.node().resolve_name(name, false).await?) }).await?;
            &named
        }
    };
    let (path, raw) = parse(text)?;
    within_patience(walk(&*node.node().source(), path, raw)).await
}

/// Follows a path to a block.
pub(crate) async fn resolve_block(node: &Served, text: &str) -> Result<Cid, RpcError> {
    let resolved = resolve(node, text).await?;
    match resolved.rest.first() {
        None => Ok(resolved.cid),
        Some(name) => Err(RpcError::failed(format!("no link named {name:?} under {}", resolved.cid))),
    }
}

async fn walk(source: &dyn BlockSource, path: IpfsPath, raw: bool) -> Result<Resolved, RpcError> {
    let mut cid = path.root;
    let mut rest = path.segments;
    for _ in 0..=MAX_BLOCKS {
        if rest.is_empty() || cid.codec() == RAW {
            return Ok(Resolved { cid, rest });
        }
        let data = source.block(&cid).await.map_err(api)?;
        let unixfs = matches!(Node::parse(&cid, &data), Ok(Node::Directory(_) | Node::Shard(_)));
        if cid.codec() == DAG_PB && unixfs && !raw {
            let step = IpfsPath { root: cid, segments: vec![rest.remove(0)] };
            cid = export::resolve(source, &step).await.map_err(api)?;
            continue;
        }
        let value =
            codec::decode(cid.codec(), &data).map_err(|error| RpcError::failed(format!("{cid}: {error}")))?;
        match inside(&value, &rest) {
            Inside::Link { target, used } => {
                cid = target;
                rest.drain(..used);
            }
            Inside::Value => return Ok(Resolved { cid, rest }),
            Inside::Absent(name) => {
                return Err(RpcError::failed(format!("no link named {name:?} under {cid}")));
            }
        }
    }
    Err(RpcError::failed("the path leads through too many blocks"))
}

enum Inside {
    Link { target: Cid, used: usize },
    Value,
    Absent(String),
}

fn inside(value: &Ipld, path: &[String]) -> Inside {
    let mut at = value;
    for (used, name) in path.iter().enumerate() {
        match child(at, name) {
            Some(Ipld::Link(target)) => return Inside::Link { target: *target, used: used + 1 },
            Some(below) => at = below,
            None => return Inside::Absent(name.clone()),
        }
    }
    Inside::Value
}

fn child<'a>(value: &'a Ipld, name: &str) -> Option<&'a Ipld> {
    match value {
        Ipld::Map(map) => map.get(name),
        Ipld::List(list) => list.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// The value at the end of a path.
pub(crate) fn value_at(value: Ipld, path: &[String]) -> Option<Ipld> {
    path.iter().try_fold(value, |value, name| child(&value, name).cloned())
}
