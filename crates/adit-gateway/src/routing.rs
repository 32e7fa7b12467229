//! Delegated routing (<https://specs.ipfs.tech/routing/http-routing-v1/>): who has content, where a peer is, and the
//! records of names, for clients that are in no DHT themselves.

use adit_names::{IpnsName, IpnsRecord};
use async_trait::async_trait;
use cid::Cid;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::json;

use crate::answer::{Gateway, empty, plain, set};
use crate::ask::short;
use crate::body::Body;
use crate::limits;
use crate::refusal::Refusal;

/// One peer, as an answer lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// Its peer id.
    pub id: String,
    /// Multiaddresses.
    pub addresses: Vec<String>,
    /// Transfer protocols, such as `transport-bitswap`.
    pub protocols: Vec<String>,
}

/// Finds peers.
#[async_trait]
pub trait Routing: Send + Sync {
    /// Peers that have content, at most `limit`.
    ///
    /// # Errors
    /// A text where they could not be looked for.
    async fn providers(&self, cid: &Cid, limit: usize) -> Result<Vec<PeerRecord>, String>;

    /// A peer's addresses; `None` where nobody knows any. The name is that of the peer's key.
    ///
    /// # Errors
    /// A text where they could not be looked for.
    async fn peer(&self, peer: &IpnsName) -> Result<Option<PeerRecord>, String>;
}

/// A node without a network.
pub struct NoRouting;

#[async_trait]
impl Routing for NoRouting {
    async fn providers(&self, _: &Cid, _: usize) -> Result<Vec<PeerRecord>, String> {
        Ok(Vec::new())
    }

    async fn peer(&self, _: &IpnsName) -> Result<Option<PeerRecord>, String> {
        Ok(None)
    }
}

pub(crate) async fn answer<B>(gateway: &Gateway, request: Request<B>) -> Result<Response<Body>, Refusal>
where
    B: hyper::body::Body + Send + Unpin,
    B::Error: Into<crate::body::BodyError>,
{
    let path = request.uri().path().trim_start_matches("/routing/v1/").to_owned();
    let mut parts = path.split('/');
    let (Some(kind), Some(key), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Refusal::not_found("there are providers/CID, peers/PEER and ipns/NAME"));
    };
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let failed = |why: String| Refusal::new(StatusCode::GATEWAY_TIMEOUT, why);
    match (kind, request.method()) {
        ("providers" | "peers" | "ipns", &Method::OPTIONS) => Ok(empty(StatusCode::NO_CONTENT)),
        ("providers", _) if reading => {
            let cid: Cid = key.parse().map_err(|_| Refusal::bad(format!("{:?} is not a CID", short(key))))?;
            let found = gateway.0.routing.providers(&cid, limits::ROUTED).await.map_err(failed)?;
            Ok(peers("Providers", found, request.headers()))
        }
        ("peers", _) if reading => {
            let peer = name(key)?;
            let found = gateway.0.routing.peer(&peer).await.map_err(failed)?;
            Ok(peers("Peers", found.into_iter().collect(), request.headers()))
        }
        ("ipns", _) if reading => {
            let record = gateway.0.names.record(&name(key)?).await.map_err(|error| match error {
                adit_names::NameError::NotFound(_) => Refusal::not_found(error.to_string()),
                error => error.into(),
            })?;
            let mut response = Response::new(Body::full(record.bytes().clone()));
            set(&mut response, header::CONTENT_TYPE, crate::ask::Format::IpnsRecord.media());
            let age = record.ttl().as_secs();
            set(&mut response, header::CACHE_CONTROL, &format!("public, max-age={age}"));
            set(&mut response, header::VARY, "Accept");
            Ok(response)
        }
        ("ipns", &Method::PUT) => {
            let name = name(key)?;
            let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "a record has at most 10 KiB");
            let body = request.into_body();
            if body.size_hint().lower() > adit_names::limits::RECORD as u64 {
                return Err(too_large());
            }
            let body = Limited::new(body, adit_names::limits::RECORD).collect();
            let body = tokio::time::timeout(gateway.0.settings.idle, body).await.map_err(|_| {
                Refusal::new(StatusCode::REQUEST_TIMEOUT, "the record did not arrive in time")
            })?;
            let bytes = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => too_large(),
                None => Refusal::bad("the record did not arrive"),
            })?;
            let record =
                IpnsRecord::decode(&bytes.to_bytes()).map_err(|error| Refusal::bad(error.to_string()))?;
            gateway.0.names.publish(&name, record).await.map_err(|error| match error {
                adit_names::NameError::Record { .. } => Refusal::bad(error.to_string()),
                error => error.into(),
            })?;
            Ok(empty(StatusCode::OK))
        }
        _ => {
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "GET, and PUT of ipns/NAME, are answered here"))
        }
    }
}

fn name(key: &str) -> Result<IpnsName, Refusal> {
    key.parse().map_err(|error: adit_names::name::NameSyntax| Refusal::bad(error.to_string()))
}

/// A list as JSON, or line by line where the client prefers that.
fn peers(key: &str, found: Vec<PeerRecord>, headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let lines = accept.contains("application/x-ndjson");
    let some = !found.is_empty();
    let records = found.into_iter().map(|peer| {
        json!({ "Schema": "peer", "ID": peer.id, "Addrs": peer.addresses, "Protocols": peer.protocols })
    });
    let (media, text) = if lines {
        ("application/x-ndjson", records.map(|record| format!("{record}\n")).collect())
    } else {
        ("application/json", json!({ key: records.collect::<Vec<_>>() }).to_string())
    };
    let mut response = plain(StatusCode::OK, "");
    *response.body_mut() = Body::full(text);
    set(&mut response, header::CONTENT_TYPE, media);
    // Nobody today may be somebody in a moment.
    set(
        &mut response,
        header::CACHE_CONTROL,
        if some { "public, max-age=300" } else { "public, max-age=15" },
    );
    set(&mut response, header::VARY, "Accept");
    response
}
