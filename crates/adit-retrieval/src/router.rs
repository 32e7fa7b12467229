//! Delegated routing (`/routing/v1`, IPIP-337): who has some content and speaks HTTP.

use cid::Cid;
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{ACCEPT, HeaderValue},
};
use serde::Deserialize;

use crate::{
    Client, Endpoint, FetchError, Trust,
    gateway::{read, send},
    limits::{ROUTER_ANSWER, ROUTER_GATEWAYS},
};

/// What a record's protocols say where its addresses are trustless gateways (IPIP-402).
const GATEWAY: &str = "transport-ipfs-gateway-http";

/// A server that knows providers, named by the operator.
#[derive(Clone, Debug)]
pub struct Router {
    endpoint: Endpoint,
    client: Client,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Providers", default)]
    providers: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct Peer {
    #[serde(rename = "Addrs", default)]
    addresses: Vec<String>,
    #[serde(rename = "Protocols", default)]
    protocols: Vec<String>,
}

impl Router {
    /// A router at this address.
    pub fn new(client: &Client, endpoint: Endpoint) -> Self {
        Self { endpoint, client: client.clone() }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Gateways that are said to have the content, without repeats; none where the router knows none.
    pub async fn gateways(&self, cid: &Cid) -> Result<Vec<Endpoint>, FetchError> {
        let path = format!("/routing/v1/providers/{cid}?filter-protocols={GATEWAY}");
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (http, limits) = (self.client.http(Trust::Operator), &self.client.limits);
        let answer = send(http, &self.endpoint, limits, Method::GET, &path, headers).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Vec::new()),
            status => return Err(FetchError::Status(status.as_u16())),
        }
        let body = read(answer.into_body(), 0, ROUTER_ANSWER, limits, &mut |_| ()).await?;
        gateways(&body)
    }
}

fn gateways(body: &[u8]) -> Result<Vec<Endpoint>, FetchError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|e| FetchError::Answer(e.to_string()))?;
    let mut found = Vec::new();
    // Records of kinds that are not known here are passed over, as the specification wants.
    let peers = answer.providers.into_iter().flatten().filter_map(|record| Peer::deserialize(record).ok());
    for peer in peers.filter(|peer| peer.protocols.iter().any(|protocol| protocol == GATEWAY)) {
        // One address that can be used is enough: all lead to the same server.
        let first = peer.addresses.iter().take(16).find_map(|address| address.parse::<Endpoint>().ok());
        found.extend(first.filter(|endpoint| !found.contains(endpoint)));
        if found.len() >= ROUTER_GATEWAYS {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_read_from_records() {
        let body = br#"{"Providers":[
            {"Schema":"peer","ID":"a","Addrs":["/ip4/1.1.1.1/tcp/4001"],"Protocols":["transport-bitswap"]},
            {"Schema":"peer","ID":"b","Addrs":["/ip4/1.1.1.1/tcp/1","/dns/a.example/tcp/443/https"],
             "Protocols":["transport-ipfs-gateway-http"]},
            {"Schema":"peer","ID":"c","Addrs":["https://a.example"],"Protocols":["transport-ipfs-gateway-http"]},
            {"Schema":"unknown","Addrs":7}, 3,
            {"Schema":"peer","ID":"d","Protocols":["transport-ipfs-gateway-http"]},
            {"Schema":"peer","ID":"e","Addrs":["http://b.example"],"Protocols":["x","transport-ipfs-gateway-http"]}]}"#;
        let found: Vec<_> = gateways(body).unwrap().iter().map(Endpoint::to_string).collect();
        assert_eq!(found, ["https://a.example", "http://b.example"]);
        assert!(gateways(br#"{"Providers":null}"#).unwrap().is_empty());
        assert!(gateways(b"{}").unwrap().is_empty());
        assert!(gateways(b"<html>").is_err());
    }

    #[test]
    fn a_flood_of_records_gives_few_gateways() {
        let record = |n| format!(r#"{{"Addrs":["http://g{n}.example"],"Protocols":["{GATEWAY}"]}}"#);
        let all: Vec<_> = (0..1000).map(record).collect();
        let body = format!(r#"{{"Providers":[{}]}}"#, all.join(","));
        assert_eq!(gateways(body.as_bytes()).unwrap().len(), ROUTER_GATEWAYS);
    }
}
