//! Peers, providers and names.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PeerView {
    /// Its peer id.
    pub peer: String,
    /// Where it is connected.
    pub addresses: Vec<String>,
    /// What its connections run over: `tcp`, `quic`, `websocket`, `relayed`.
    #[serde(default)]
    pub transports: Vec<String>,
    /// What it calls itself: whoever shows it on a terminal escapes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Round-trip time in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Observed bytes a second from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Bytes received from it.
    pub bytes_in: u64,
    /// Bytes sent to it.
    pub bytes_out: u64,
}

/// Whom to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectBody {
    /// A multiaddress that ends in `/p2p/<peer id>`.
    pub address: String,
}

/// How many providers to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ProvidersQuery {
    /// Providers that are enough, 1 to 1000; 20 if not given.
    pub num: Option<u32>,
}

/// What to announce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProvideBody {
    /// The root's CID.
    pub cid: String,
}

/// What was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Provided {
    /// The root's CID.
    pub cid: String,
    /// Whether any other node was there to hear it. If not, it is announced as soon as there is one.
    pub heard: bool,
}

/// A name to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishBody {
    /// What the name is to stand for: `/ipfs/…`, `/ipns/…` or a CID.
    pub value: String,
    /// The key to publish under; the node's own, `self`, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How long the record holds, in seconds; two days if not given. The node renews it in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_s: Option<u64>,
    /// How long others may remember it without asking again, in seconds; five minutes if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
}

/// How far to follow a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ResolveQuery {
    /// Only what the name itself says, which may be another name.
    #[serde(default)]
    pub one_step: bool,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResolvedName {
    /// A path: `/ipfs/…`, or `/ipns/…` after one step.
    pub path: String,
}

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyBody {
    /// What to call it.
    pub key: String,
}
