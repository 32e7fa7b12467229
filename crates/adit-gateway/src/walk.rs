//! From a root and a path to what stands there, through UnixFS directories and the links of IPLD documents.

use adit_unixfs::block::{DAG_CBOR, DAG_JSON, DAG_PB, RAW};
use adit_unixfs::codec;
use adit_unixfs::read::{Lookup, LookupStep};
use bytes::Bytes;
use cid::Cid;
use hyper::StatusCode;
use ipld_core::ipld::Ipld;

use crate::blocks::Blocks;
use crate::refusal::Refusal;

/// Where a path leads.
#[derive(Debug, Clone)]
pub struct Found {
    /// What stands there.
    pub cid: Cid,
    /// What each part of the path stands for, the root first and [`Found::cid`] last.
    pub roots: Vec<Cid>,
    /// The blocks that show that the path leads there, in order; the last one's own is not among them.
    pub trail: Vec<(Cid, Bytes)>,
}

/// Follows a path. Symlinks are not followed.
///
/// # Errors
/// 404 where the path leads nowhere, 501 where it ends inside a document, and what blocks that are missing or
/// malformed give.
pub async fn walk(blocks: &Blocks, root: Cid, segments: &[String]) -> Result<Found, Refusal> {
    let mut found = Found { cid: root, roots: vec![root], trail: Vec::new() };
    let mut rest = segments;
    while let Some((name, after)) = rest.split_first() {
        let at = found.cid;
        match at.codec() {
            DAG_PB | RAW => {
                found.cid = below(blocks, at, name, &mut found.trail).await?;
                rest = after;
            }
            DAG_CBOR | DAG_JSON => {
                let bytes = blocks.common(&at).await?;
                let document = codec::decode(at.codec(), &bytes).map_err(|error| {
                    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{at}: {error}"))
                })?;
                found.trail.push((at, bytes));
                (found.cid, rest) = link(&document, rest, at)?;
            }
            _ => return Err(Refusal::not_found(format!("nothing can be below {at}"))),
        }
        found.roots.push(found.cid);
    }
    Ok(found)
}

/// One name in a directory.
async fn below(blocks: &Blocks, at: Cid, name: &str, trail: &mut Vec<(Cid, Bytes)>) -> Result<Cid, Refusal> {
    let mut lookup = Lookup::new(at, name);
    loop {
        let want = lookup.want();
        let bytes = blocks.common(&want).await?;
        let step = lookup.supply(&bytes)?;
        trail.push((want, bytes));
        match step {
            LookupStep::Need(_) => {}
            LookupStep::Found(entry) => return Ok(entry.cid),
            LookupStep::Absent => {
                return Err(Refusal::not_found(format!("no link named {name:?} under {at}")));
            }
        }
    }
}

/// Goes into a document until a link is met.
fn link<'a>(document: &Ipld, segments: &'a [String], at: Cid) -> Result<(Cid, &'a [String]), Refusal> {
    let mut value = document;
    let mut rest = segments;
    while let Some((name, after)) = rest.split_first() {
        let next = match value {
            Ipld::Map(map) => map.get(name),
            Ipld::List(list) => name.parse::<usize>().ok().and_then(|index| list.get(index)),
            _ => None,
        };
        value = next.ok_or_else(|| Refusal::not_found(format!("no link named {name:?} under {at}")))?;
        rest = after;
        if let Ipld::Link(cid) = value {
            return Ok((*cid, rest));
        }
    }
    Err(Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        format!("the path ends inside the document {at}; only what links lead to can be had"),
    ))
}
