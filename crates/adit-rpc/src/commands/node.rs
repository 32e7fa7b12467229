//! `id`, `version`, `swarm/*`.

use super::Node;
use crate::args::Args;
use crate::error::RpcError;
use crate::reply;
use axum::response::Response;
use data_encoding::BASE64;
use serde_json::{Map, Value, json};

/// Of a libp2p public key in protobuf: type Ed25519, 32 bytes.
const ED25519: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

pub(super) async fn id(node: Node, mut args: Args) -> Result<Response, RpcError> {
    args.ignore(&["format", "f"]);
    args.only("peerid-base", &["b58mh"])?;
    let asked = args.all();
    args.done()?;
    let id = node.node().id();
    let own = id.node.to_string();
    if let Some(other) = asked.into_iter().find(|other| *other != own) {
        return Err(RpcError::failed(format!(
            "only this node's own identity is told here, not that of {other:.100}"
        )));
    }
    let key = [&ED25519[..], &id.node.ed25519()[..]].concat();
    Ok(reply::value(json!({
        "ID": own,
        "PublicKey": BASE64.encode(&key),
        "Addresses": id.addresses,
        "AgentVersion": id.agent,
        "Protocols": [],
    })))
}

pub(super) async fn version(node: Node, mut args: Args) -> Result<Response, RpcError> {
    args.ignore(&["number", "commit", "repo", "all", "n"]);
    args.done()?;
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Ok(reply::value(json!({
        "Version": node.node().id().version,
        "Commit": "",
        "Repo": adit_store::FORMAT.to_string(),
        "System": format!("{arch}/{}", std::env::consts::OS),
        "Golang": "",
    })))
}

pub(super) async fn peers(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let identify = args.flag("identify", false)? || args.flag("verbose", false)?;
    args.ignore(&["v", "streams", "latency", "direction"]);
    args.done()?;
    let mut peers = Vec::new();
    for peer in node.node().peers().await? {
        let suffix = format!("/p2p/{}", peer.peer);
        let address = peer.addresses.first().map(|address| address.trim_end_matches(&suffix).to_owned());
        let mut row = Map::new();
        row.insert("Addr".into(), address.unwrap_or_default().into());
        row.insert("Peer".into(), peer.peer.clone().into());
        if let Some(micros) = peer.rtt_us {
            row.insert("Latency".into(), format!("{}.{:03}ms", micros / 1000, micros % 1000).into());
        }
        let identity = match identify {
            true => json!({
                "ID": peer.peer, "PublicKey": "", "Addresses": peer.addresses,
                "AgentVersion": peer.agent.unwrap_or_default(), "Protocols": null,
            }),
            false => {
                json!({"ID": "", "PublicKey": "", "Addresses": null, "AgentVersion": "", "Protocols": null})
            }
        };
        row.insert("Identify".into(), identity);
        peers.push(Value::Object(row));
    }
    Ok(reply::value(json!({ "Peers": peers })))
}

pub(super) async fn addrs(node: Node, args: Args) -> Result<Response, RpcError> {
    args.done()?;
    let peers = node.node().peers().await?;
    let addrs: Map<String, Value> =
        peers.into_iter().map(|peer| (peer.peer, Value::from(peer.addresses))).collect();
    Ok(reply::value(json!({ "Addrs": addrs })))
}

pub(super) async fn own_addrs(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let with_id = args.flag("id", false)?;
    args.done()?;
    let id = node.node().id();
    let suffix = format!("/p2p/{}", id.node);
    let own = id.addresses.into_iter().map(|address| match with_id {
        true => address,
        false => address.trim_end_matches(&suffix).to_owned(),
    });
    Ok(reply::value(json!({ "Strings": own.collect::<Vec<_>>() })))
}

pub(super) async fn connect(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let addresses = args.some("address")?;
    args.done()?;
    let mut told = Vec::new();
    for address in addresses {
        let peer = node.node().connect(&address).await?;
        told.push(format!("connect {peer} success"));
    }
    Ok(reply::value(json!({ "Strings": told })))
}

pub(super) async fn disconnect(node: Node, mut args: Args) -> Result<Response, RpcError> {
    let addresses = args.some("address")?;
    args.done()?;
    let mut told = Vec::new();
    for address in addresses {
        let peer = address.rsplit('/').next().unwrap_or_default();
        node.node().disconnect(peer).await?;
        told.push(format!("disconnect {peer} success"));
    }
    Ok(reply::value(json!({ "Strings": told })))
}
