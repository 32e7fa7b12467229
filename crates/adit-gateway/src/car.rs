//! CARs: a path's blocks, then as much of what stands there as was asked for.

use std::collections::HashSet;

use adit_store::BlockSource;
use adit_unixfs::block::{DAG_PB, RAW, identity_data};
use adit_unixfs::car::{header as car_header, section_prefix};
use adit_unixfs::links;
use adit_unixfs::node::{Node, Slot};
use bytes::Bytes;
use cid::Cid;
use hyper::header;
use hyper::{Method, Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::answer::{Ask, Gateway, Keep, describe, not_modified, set};
use crate::ask::{Format, short};
use crate::blocks::Blocks;
use crate::body::{Body, BodyError};
use crate::file::named;
use crate::limits;
use crate::refusal::Refusal;
use crate::walk::Found;

/// How much of the DAG below the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Block,
    Entity,
    All,
}

/// `entity-bytes`: from and to (inclusive), negative from the end; `None` is the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: i64,
    to: Option<i64>,
}

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once(':')?;
        let from = from.parse().ok()?;
        let to = if to == "*" { None } else { Some(to.parse().ok()?) };
        let backwards = matches!(to, Some(to) if (from >= 0) == (to >= 0) && to < from);
        (!backwards).then_some(Self { from, to })
    }

    /// As bytes of a file of `size`: the first, and the one after the last.
    fn of(self, size: u64) -> (u64, u64) {
        let at = |offset: i64| match offset {
            0.. => offset.unsigned_abs().min(size),
            _ => size.saturating_sub(offset.unsigned_abs()),
        };
        let to = match self.to {
            None => size,
            Some(to @ 0..) => to.unsigned_abs().saturating_add(1).min(size),
            Some(to) => (size + 1).saturating_sub(to.unsigned_abs()).min(size),
        };
        (at(self.from), to)
    }
}

struct Wish {
    scope: Scope,
    span: Option<Span>,
    duplicates: bool,
}

impl Wish {
    fn of(ask: &Ask) -> Result<Self, Refusal> {
        let query = &ask.query;
        let [version, order, duplicates] = &query.car;
        let or_accept = |own: &Option<String>, key: &str| {
            own.clone().or_else(|| ask.parameters.get(key).map(str::to_owned))
        };
        if let Some(version) = or_accept(version, "version").filter(|version| version != "1") {
            return Err(Refusal::bad(format!(
                "CAR version {:?} is not served; version 1 is",
                short(&version)
            )));
        }
        match or_accept(order, "order").as_deref() {
            None | Some("dfs" | "unk") => {}
            Some(other) => return Err(Refusal::bad(format!("order {:?} is unknown", short(other)))),
        }
        let duplicates = match or_accept(duplicates, "dups").as_deref() {
            None | Some("n") => false,
            Some("y") => true,
            Some(other) => return Err(Refusal::bad(format!("dups is y or n, not {:?}", short(other)))),
        };
        let span = match &query.entity_bytes {
            None => None,
            Some(text) => Some(
                Span::parse(text)
                    .ok_or_else(|| Refusal::bad(format!("entity-bytes {:?} is not FROM:TO", short(text))))?,
            ),
        };
        let scope = match query.dag_scope.as_deref() {
            None if span.is_some() => Scope::Entity,
            None | Some("all") => Scope::All,
            Some("entity") => Scope::Entity,
            Some("block") => Scope::Block,
            Some(other) => {
                return Err(Refusal::bad(format!(
                    "dag-scope is block, entity or all, not {:?}",
                    short(other)
                )));
            }
        };
        Ok(Self { scope, span: span.filter(|_| scope == Scope::Entity), duplicates })
    }
}

impl Gateway {
    /// A CAR of a path and what stands there.
    pub(crate) async fn car(&self, ask: &Ask, found: Found) -> Result<Response<Body>, Refusal> {
        let wish = Wish::of(ask)?;
        let mut response = Response::new(Body::empty());
        let mut hash = Sha256::new();
        hash.update(ask.content_path());
        hash.update(format!("{:?}{:?}{}", wish.scope, wish.span, wish.duplicates));
        let hash = data_encoding::BASE32_NOPAD.encode(&hash.finalize()[..10]).to_lowercase();
        let known =
            describe(&mut response, ask, &found, &format!("W/\"{}.car.{hash}\"", found.cid), Keep::Content)?;
        let duplicates = if wish.duplicates { "y" } else { "n" };
        let media = format!("{}; version=1; order=dfs; dups={duplicates}", Format::Car.media());
        set(&mut response, header::CONTENT_TYPE, &media);
        set(&mut response, header::ACCEPT_RANGES, "none");
        let own = match ask.segments.last() {
            Some(name) => format!("{}_{name}.car", ask.root),
            None => format!("{}.car", found.cid),
        };
        if let Some(disposition) = named(ask, "attachment", Some(&own)) {
            set(&mut response, header::CONTENT_DISPOSITION, &disposition);
        }
        if known {
            return Ok(not_modified(response));
        }
        // What is missing at the top is an answer; further down, it is a connection that ends early.
        let first = ask.blocks.common(&found.cid).await?;
        let start = match wish.scope {
            Scope::Block => Part::Only,
            Scope::All => Part::All,
            Scope::Entity => entity(&found.cid, &first, wish.span)?,
        };
        if ask.method == Method::HEAD {
            return Ok(response);
        }
        let stream = sections(ask.blocks.clone(), found, start, wish.duplicates);
        *response.body_mut() = Body::stream(stream, None, self.0.settings.longest);
        *response.status_mut() = StatusCode::OK;
        Ok(response)
    }
}

/// What is wanted of a block and below it.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// The block.
    Only,
    /// Everything.
    All,
    /// A file's part that begins at `start` and has `size` bytes, as far as it lies within `from..to`.
    File { start: u64, size: u64, from: u64, to: u64 },
    /// A directory's blocks, without its entries.
    Shards,
}

/// What an entity is: a file's blocks, a directory's, or one document.
fn entity(cid: &Cid, block: &[u8], span: Option<Span>) -> Result<Part, Refusal> {
    if !matches!(cid.codec(), RAW | DAG_PB) {
        return Ok(Part::Only);
    }
    Ok(match Node::parse(cid, block) {
        Ok(Node::File(file)) => {
            let (from, to) = span.map_or((0, file.size), |span| span.of(file.size));
            Part::File { start: 0, size: file.size, from, to }
        }
        Ok(Node::Shard(_)) => Part::Shards,
        // A directory in one block, a symlink, or dag-pb that is no file: the block is all there is.
        _ => Part::Only,
    })
}

fn sections(
    blocks: Blocks,
    found: Found,
    start: Part,
    duplicates: bool,
) -> impl futures::Stream<Item = Result<Bytes, BodyError>> + Send + 'static {
    async_stream::try_stream! {
        yield Bytes::from(car_header(&[found.cid]));
        // 16 bytes of each hash: enough to tell blocks apart, little enough for millions of them.
        let mut seen: HashSet<[u8; 16]> = HashSet::new();
        let mut is_new = |cid: &Cid| duplicates || seen.insert(mark(cid));
        for (cid, bytes) in &found.trail {
            if identity_data(cid).is_none() && is_new(cid) {
                yield section_prefix(cid, bytes.len()).into();
                yield bytes.clone();
            }
        }
        let mut pending = vec![(found.cid, start)];
        let mut count = 0u64;
        while let Some((cid, part)) = pending.pop() {
            let inline = identity_data(&cid).is_some();
            if !inline && !is_new(&cid) {
                continue;
            }
            count += 1;
            if count > limits::CAR_BLOCKS {
                Err(BodyError::from("the DAG has more blocks than one CAR may have"))?;
            }
            let bytes = blocks.block(&cid).await.map_err(BodyError::from)?;
            let before = pending.len();
            below(&cid, &bytes, part, &mut pending)?;
            if pending.len() > limits::PENDING {
                Err(BodyError::from("the DAG is too wide for one CAR"))?;
            }
            pending[before..].reverse();
            let ahead: Vec<Cid> = pending[before..].iter().rev().take(32).map(|(cid, _)| *cid).collect();
            blocks.prefetch(&ahead);
            if !inline {
                yield section_prefix(&cid, bytes.len()).into();
                yield bytes;
            }
        }
    }
}

fn mark(cid: &Cid) -> [u8; 16] {
    let mut mark = [0; 16];
    let digest = cid.hash().digest();
    let len = digest.len().min(16);
    mark[..len].copy_from_slice(&digest[..len]);
    mark
}

/// Puts what is wanted below a block behind the others, in the order of its links.
fn below(cid: &Cid, bytes: &[u8], part: Part, pending: &mut Vec<(Cid, Part)>) -> Result<(), BodyError> {
    match part {
        Part::Only => {}
        // Below a codec that we do not know there may be anything; nobody could verify that it is all there.
        Part::All => {
            pending.extend(links(cid, bytes).unwrap_or_default().into_iter().map(|cid| (cid, Part::All)))
        }
        Part::Shards => {
            if let Node::Shard(shard) = Node::parse(cid, bytes)? {
                let shards = shard.slots.iter().filter_map(|(_, slot)| match slot {
                    Slot::Shard(cid) => Some((*cid, Part::Shards)),
                    Slot::Entry(_) => None,
                });
                pending.extend(shards);
            }
        }
        Part::File { start, size, from, to } => {
            let Node::File(file) = Node::parse(cid, bytes)? else {
                return Err("a part of the file is no file".into());
            };
            if file.size != size {
                return Err("a part of the file has another size than its parent states".into());
            }
            let mut at = start + file.content.len() as u64;
            for child in &file.children {
                let end = at + child.size;
                if at < to && end > from {
                    pending.push((child.cid, Part::File { start: at, size: child.size, from, to }));
                }
                at = end;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_bytes_are_counted_from_either_end() {
        let of = |text: &str| Span::parse(text).map(|span| span.of(1026));
        assert_eq!(of("0:*"), Some((0, 1026)));
        assert_eq!(of("512:1023"), Some((512, 1024)));
        assert_eq!(of("512:-256"), Some((512, 771)));
        assert_eq!(of("-5:*"), Some((1021, 1026)));
        assert_eq!(of("-9999:-3"), Some((0, 1024)));
        assert_eq!(of("0:0"), Some((0, 1)));
        assert_eq!(of("5000:6000"), Some((1026, 1026)));
        for wrong in ["", "5", "a:b", "5:4", "-3:-5", "*:5", "0:99999999999999999999"] {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
    }
}
