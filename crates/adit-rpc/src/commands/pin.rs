//! `pin/*`. In Kubo a root has one pin with one name; here it may have several, and `pin/rm` removes all of them but
//! those of the pinning service, which belong to their requests, and those that are kept for other nodes.

use super::block::kind_name;
use super::{Node, source};
use crate::args::Args;
use crate::error::{RpcError, api};
use crate::path::{block, resolve_block};
use crate::psa::PIN_PREFIX;
use crate::reply;
use adit_api::types::KEPT_PREFIX;
use adit_store::{BlockStore, Pin, PinKind, PinOptions};
use adit_unixfs::links;
use axum::response::Response;
use cid::Cid;
use futures::stream;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Longest name of a pin, which is Kubo's.
const MAX_NAME: usize = 255;
/// How often a client that wants progress hears of it.
const PROGRESS: Duration = Duration::from_millis(500);
/// Blocks that are looked through for indirect pins, at most.
const MAX_COVERED: usize = 1 << 24;

pub(super) async fn add(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let paths = args.some("ipfs-path")?;
    let kind = match args.flag("recursive", true)? && args.flag("r", true)? {
        true => PinKind::Recursive,
        false => PinKind::Direct,
    };
    let name = args.text("name")?.or(args.text("n")?).unwrap_or_default();
    let progress = args.flag("progress", false)?;
    args.ignore(&["stream", "fast-provide-root", "fast-provide-dag", "fast-provide-wait"]);
    args.done()?;
    check_name(&name)?;
    let mut roots = Vec::new();
    for path in &paths {
        let cid = resolve_block(&node, path).await?;
        block(&*source(&node), &cid).await?;
        roots.push(cid);
    }
    let work = pin_all(node, roots, kind, name);
    if !progress {
        return work.await.map(reply::value);
    }
    // Kubo counts blocks as it goes. A pin here is one step for its caller, so what progress says is that it goes on.
    Ok(reply::values(async_stream::try_stream! {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(PROGRESS, work.as_mut()).await {
                Ok(done) => {
                    yield done?;
                    break;
                }
                Err(_) => yield json!({"Progress": 0}),
            }
        }
    }))
}

async fn pin_all(node: Node, roots: Vec<Cid>, kind: PinKind, name: String) -> Result<Value, RpcError> {
    let mut pinned = Vec::new();
    for root in roots {
        let options = PinOptions { kind, name: name.clone(), ..PinOptions::default() };
        let before = pins_of(&node, root).await?;
        let source = source(&node);
        node.repo().pin(&root, &*source, options).await.map_err(api)?;
        // A new name takes the place of the one that this interface gave before.
        for old in before.into_iter().filter(|old| old.name != name) {
            node.repo().unpin(&root, Some(&old.name)).await.map_err(api)?;
        }
        node.node().provide(root);
        pinned.push(root.to_string());
    }
    Ok(json!({ "Pins": pinned }))
}

pub(super) fn check_name(name: &str) -> Result<(), RpcError> {
    if name.starts_with(KEPT_PREFIX) {
        let message = format!("names that begin with {KEPT_PREFIX} are those of pins for other nodes");
        return Err(RpcError::client(message));
    }
    match name.len() <= MAX_NAME {
        true => Ok(()),
        false => Err(RpcError::client(format!("a pin's name has at most {MAX_NAME} bytes"))),
    }
}

async fn all_pins(node: &Node) -> Result<Vec<Pin>, RpcError> {
    node.repo().pins().await.map_err(api)
}

/// The pins of a root that are this interface's to change.
async fn pins_of(node: &Node, root: Cid) -> Result<Vec<Pin>, RpcError> {
    let own = |pin: &Pin| {
        pin.cid == root && !pin.name.starts_with(PIN_PREFIX) && !pin.name.starts_with(KEPT_PREFIX)
    };
    Ok(all_pins(node).await?.into_iter().filter(own).collect())
}

pub(super) async fn rm(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let paths = args.some("ipfs-path")?;
    let recursive = args.flag("recursive", true)? && args.flag("r", true)?;
    args.done()?;
    let mut roots = Vec::new();
    for path in &paths {
        let cid = resolve_block(&node, path).await?;
        let pins = pins_of(&node, cid).await?;
        match pins.first() {
            None => return Err(RpcError::failed("not pinned or pinned indirectly")),
            Some(pin) if pin.kind == PinKind::Recursive && !recursive => {
                return Err(RpcError::failed(format!("{cid} is pinned recursively")));
            }
            Some(_) => roots.push((cid, pins)),
        }
    }
    let removed: Vec<String> = roots.iter().map(|(cid, _)| cid.to_string()).collect();
    for pin in roots.into_iter().flat_map(|(_, pins)| pins) {
        node.repo().unpin(&pin.cid, Some(&pin.name)).await.map_err(api)?;
    }
    node.node().unpinned();
    Ok(reply::value(json!({ "Pins": removed })))
}

pub(super) async fn update(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let paths = args.some("from-path")?;
    let unpin = args.flag("unpin", true)?;
    args.done()?;
    let [from, to] = paths.as_slice() else {
        return Err(RpcError::client("arguments \"from-path\" and \"to-path\" are required"));
    };
    let from = resolve_block(&node, from).await?;
    let to = resolve_block(&node, to).await?;
    let old = pins_of(&node, from).await?;
    let Some(pin) = old.iter().find(|pin| pin.kind == PinKind::Recursive) else {
        return Err(RpcError::failed("'from' cid was not recursively pinned already"));
    };
    block(&*source(&node), &to).await?;
    let options = PinOptions { name: pin.name.clone(), ..PinOptions::default() };
    let source = source(&node);
    node.repo().pin(&to, &*source, options).await.map_err(api)?;
    node.node().provide(to);
    for pin in old.into_iter().filter(|_| unpin && from != to) {
        node.repo().unpin(&from, Some(&pin.name)).await.map_err(api)?;
    }
    Ok(reply::value(json!({"Pins": [from.to_string(), to.to_string()]})))
}

pub(super) async fn ls(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let paths = args.all();
    let wanted = args.text("type")?.or(args.text("t")?).unwrap_or_else(|| "all".to_owned());
    let names = args.flag("names", false)? || args.flag("n", false)?;
    let part = args.text("name")?.filter(|part| !part.is_empty());
    let streamed = args.flag("stream", false)? || args.flag("s", false)?;
    args.ignore(&["quiet", "q"]);
    args.done()?;
    if !["all", "direct", "indirect", "recursive"].contains(&wanted.as_str()) {
        let text =
            format!("Invalid type '{wanted:.40}', must be one of {{direct, indirect, recursive, all}}");
        return Err(RpcError::client(text));
    }
    let fits = |kind: &str| wanted == "all" || wanted == kind;
    let mut rows: Vec<(Cid, String, String)> = Vec::new();
    let pins = all_pins(&node).await?;
    if paths.is_empty() {
        let mut seen = HashSet::new();
        for pin in &pins {
            let named = part.as_ref().is_none_or(|part| pin.name.contains(part));
            if fits(kind_name(pin.kind)) && named && seen.insert(pin.cid) {
                rows.push((pin.cid, kind_name(pin.kind).to_owned(), pin.name.clone()));
            }
        }
        if fits("indirect") && part.is_none() {
            let roots: HashSet<_> = pins.iter().map(|pin| pin.cid).collect();
            let below = below(node.repo().blocks(), &pins, None).await?;
            let indirect = below.into_keys().filter(|cid| !roots.contains(cid));
            rows.extend(indirect.map(|cid| (cid, "indirect".to_owned(), String::new())));
        }
    } else {
        for path in &paths {
            let cid = resolve_block(&node, path).await?;
            let own = pins.iter().find(|pin| pin.cid == cid && fits(kind_name(pin.kind)));
            let row = match own {
                Some(pin) => Some((cid, kind_name(pin.kind).to_owned(), pin.name.clone())),
                None if fits("indirect") => below(node.repo().blocks(), &pins, Some(cid))
                    .await?
                    .remove(&cid)
                    .map(|root| (cid, format!("indirect through {root}"), String::new())),
                None => None,
            };
            rows.push(row.ok_or_else(|| RpcError::failed(format!("path '{path}' is not pinned")))?);
        }
    }
    let name = |name: String| if names { name } else { String::new() };
    if streamed {
        let rows = rows.into_iter().map(|(cid, kind, label)| {
            let mut row = json!({"Cid": cid.to_string(), "Type": kind});
            if names && !label.is_empty() {
                row["Name"] = label.into();
            }
            Ok(row)
        });
        return Ok(reply::values(stream::iter(rows.collect::<Vec<_>>())));
    }
    let keys: Map<String, Value> = rows
        .into_iter()
        .map(|(cid, kind, label)| (cid.to_string(), json!({"Type": kind, "Name": name(label)})))
        .collect();
    Ok(reply::value(json!({ "Keys": keys })))
}

pub(super) async fn verify(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let verbose = args.flag("verbose", false)?;
    args.ignore(&["quiet", "q"]);
    args.done()?;
    let pins = all_pins(&node).await?;
    Ok(reply::values(async_stream::try_stream! {
        for pin in pins.into_iter().filter(|pin| pin.kind == PinKind::Recursive) {
            let bad = holes(&node.repo().blocks(), pin.cid).await?;
            if !bad.is_empty() || verbose {
                let mut row = json!({"Cid": pin.cid.to_string()});
                match bad.is_empty() {
                    true => row["Ok"] = true.into(),
                    false => row["BadNodes"] = bad.into(),
                }
                yield row;
            }
        }
    }))
}

/// Blocks below a root that are missing or rotten, at most a hundred.
async fn holes(blocks: &Arc<dyn BlockStore>, root: Cid) -> Result<Vec<Value>, RpcError> {
    let (mut seen, mut stack, mut bad) = (HashSet::from([root]), vec![root], Vec::new());
    while let Some(cid) = stack.pop() {
        let why = match blocks.get(&cid).await {
            Ok(Some(data)) => match links(&cid, &data) {
                Ok(children) => {
                    stack.extend(children.into_iter().filter(|child| seen.insert(*child)));
                    continue;
                }
                Err(error) => error.to_string(),
            },
            Ok(None) => "block was not found locally".to_owned(),
            Err(error) => error.to_string(),
        };
        bad.push(json!({"Cid": cid.to_string(), "Err": why}));
        if bad.len() == 100 || seen.len() > MAX_COVERED {
            break;
        }
    }
    Ok(bad)
}

/// What recursive pins keep beside their roots, with one root of each; only as far as `until` is found.
async fn below(
    blocks: Arc<dyn BlockStore>,
    pins: &[Pin],
    until: Option<Cid>,
) -> Result<HashMap<Cid, Cid>, RpcError> {
    let mut found = HashMap::new();
    for pin in pins.iter().filter(|pin| pin.kind == PinKind::Recursive) {
        let mut stack = vec![pin.cid];
        while let Some(cid) = stack.pop() {
            // What is not here has nothing below it here.
            let Some(data) = blocks.get(&cid).await.map_err(api)? else { continue };
            for child in links(&cid, &data).unwrap_or_default() {
                if let std::collections::hash_map::Entry::Vacant(new) = found.entry(child) {
                    new.insert(pin.cid);
                    stack.push(child);
                }
            }
            if until.is_some_and(|wanted| found.contains_key(&wanted)) {
                return Ok(found);
            }
            if found.len() > MAX_COVERED {
                return Err(RpcError::failed("the pins cover too many blocks to list"));
            }
        }
    }
    Ok(found)
}

/// Which of these blocks pins keep, by multihash, and how.
pub(super) async fn covering(node: &Node, cids: &[Cid]) -> Result<HashMap<Vec<u8>, String>, RpcError> {
    let pins = all_pins(node).await?;
    let key = |cid: &Cid| cid.hash().to_bytes();
    let mut kept: HashMap<_, _> = below(node.repo().blocks(), &pins, None)
        .await?
        .into_iter()
        .map(|(cid, root)| (key(&cid), format!("via {root}")))
        .collect();
    kept.extend(pins.iter().map(|pin| (key(&pin.cid), kind_name(pin.kind).to_owned())));
    let asked: HashSet<_> = cids.iter().map(key).collect();
    kept.retain(|key, _| asked.contains(key));
    Ok(kept)
}
