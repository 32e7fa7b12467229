//! HTTP functions.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A program to serve by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishFunctionBody {
    /// The CID of the program: a component of the world `wasi:http/proxy`.
    pub code: String,
    /// Where it is served: what is below this path is its own.
    pub path: String,
    /// Hosts that it may send requests to (HOST, *.HOST, HOST:PORT), if the operator's http.allow-hosts lists them too.
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// A served program, and what it has cost since the node started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionView {
    /// Where it is served.
    pub path: String,
    /// The CID of the program.
    pub code: String,
    /// Hosts that its publisher lets it send requests to.
    pub hosts: Vec<String>,
    /// When it was published, in unix seconds.
    pub published: u64,
    /// Requests that reached it.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// WebAssembly operators and host work.
    pub fuel: u64,
    /// Most bytes of memory that one request took.
    pub memory: u64,
    /// Time in a worker, in microseconds.
    pub busy_us: u64,
    /// Bytes of bodies that came.
    pub bytes_in: u64,
    /// Bytes of bodies that went.
    pub bytes_out: u64,
    /// Requests to other hosts.
    pub sent: u64,
    /// Requests to other hosts that were not allowed.
    pub denied: u64,
}

/// Which function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct FunctionQuery {
    /// Where it is served.
    pub path: String,
}
