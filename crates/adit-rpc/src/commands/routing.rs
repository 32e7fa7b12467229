//! `routing/*` and `name/*`, over the node's DHT. `routing` answers with streams of query events.

use super::Node;
use crate::args::Args;
use crate::error::{RpcError, api};
use crate::path::parse_cid;
use crate::reply;
use adit_api::types::PublishBody;
use axum::response::Response;
use futures::stream;
use serde_json::{Value, json};

/// Kinds of query events, numbered by go-libp2p.
const FINAL_PEER: u8 = 2;
const PROVIDER: u8 = 4;
/// Providers that one search gives, at most.
const MAX_PROVIDERS: usize = 1000;

fn event(kind: u8, peers: &[(String, Vec<String>)]) -> Value {
    let peers: Vec<_> = peers.iter().map(|(id, addrs)| json!({"ID": id, "Addrs": addrs})).collect();
    json!({"ID": "", "Type": kind, "Responses": peers, "Extra": ""})
}

pub(super) async fn find_providers(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let cid = parse_cid(&args.one("key")?)?;
    let limit = args.number::<usize>("num-providers")?.or(args.number("n")?).unwrap_or(20);
    args.ignore(&["verbose", "v"]);
    args.done()?;
    if !(1..=MAX_PROVIDERS).contains(&limit) {
        return Err(RpcError::client(format!("num-providers is 1 to {MAX_PROVIDERS}")));
    }
    let found = node.node().find_providers(&cid, limit).await?;
    let events = found.into_iter().map(|at| Ok(event(PROVIDER, &[(at.peer, at.addresses)])));
    Ok(reply::values(stream::iter(events.collect::<Vec<_>>())))
}

pub(super) async fn find_peer(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let peer = args.one("peerID")?;
    args.ignore(&["verbose", "v"]);
    args.done()?;
    let at = node.node().find_peer(&peer).await?;
    Ok(reply::values(stream::iter([Ok(event(FINAL_PEER, &[(at.peer, at.addresses)]))])))
}

pub(super) async fn provide(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let roots = args.some("key")?;
    args.only("recursive", &["false"])?;
    args.ignore(&["verbose", "v"]);
    args.done()?;
    for root in roots {
        let cid = parse_cid(&root)?;
        if !node.repo().blocks().has(&cid).await.map_err(api)? {
            return Err(RpcError::failed(format!("block {cid} not found locally, cannot provide")));
        }
        node.node().provide_now(cid).await?;
    }
    Ok(reply::values(stream::iter([Ok(event(FINAL_PEER, &[]))])))
}

pub(super) async fn publish(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let value = args.one("ipfs-path")?;
    let seconds = |args: &mut Args, name: &str| -> Result<Option<u64>, RpcError> {
        Ok(args.time(name)?.map(|time| time.as_secs()))
    };
    let lifetime_s = seconds(&mut args, "lifetime")?.or(seconds(&mut args, "t")?);
    let ttl_s = seconds(&mut args, "ttl")?;
    let key = args.text("key")?.or(args.text("k")?).filter(|key| !key.is_empty());
    // Where nobody is connected it is kept and told later.
    args.ignore(&["allow-offline", "allow-delegated", "quieter", "Q", "resolve"]);
    args.only("v1compat", &["true"])?;
    args.only("ipns-base", &["base36"])?;
    args.done()?;
    let value = if value.starts_with('/') { value } else { format!("/ipfs/{value}") };
    let body = PublishBody { value: value.clone(), key, lifetime_s, ttl_s };
    let published = node.node().publish_name(body).await?;
    Ok(reply::value(json!({"Name": published.name, "Value": value})))
}

pub(super) async fn resolve_name(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let name = match args.all().pop() {
        Some(name) => name,
        None => format!("/ipns/{}", node.node().id().node),
    };
    let recursive = args.flag("recursive", true)? && args.flag("r", true)?;
    args.only("nocache", &["false"])?;
    args.ignore(&["dht-record-count", "dhtrc", "dht-timeout", "dhtt", "stream", "s"]);
    args.done()?;
    let path = node.node().resolve_name(name.trim_start_matches("/ipns/"), !recursive).await?;
    Ok(reply::values(stream::iter([Ok(json!({ "Path": path }))])))
}
