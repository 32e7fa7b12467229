//! The running node behind the API: `adit-node`'s handle as a [`Node`], and its errors as ours.

use crate::backend::{Functions, Jobs, Naming, Node, Routing};
use crate::error::{ApiError, Code, Source, chain};
use crate::types::{
    Check, Collected, Content, FunctionView, IdView, JobId, JobState, JobView, KeyView, Located, NodeStatus,
    NodeView, PeerView, Plan, PublishBody, PublishFunctionBody, PublishedName, ReplicasView, RunReply,
    SetReply, SettingView,
};
use adit_net::Multiaddr;
use adit_node::config::{ConfigFile, ConfigFileError, FILE_NAME, SettingError};
use adit_node::functions::{Function, FunctionError};
use adit_node::request::InvalidRequest;
use adit_node::view::{Delivered, Failure, Fault, JobEvent};
use adit_node::{ReplicateError, RunError, RunRequest, names};
use adit_store::{BlockSource, GcError};
use async_trait::async_trait;
use cid::Cid;
use data_encoding::BASE64;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What this program calls itself to its peers and callers.
const AGENT: &str = concat!("adit/", env!("CARGO_PKG_VERSION"));

impl From<Fault> for Source {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Requester => Self::Requester,
            Fault::Network => Self::Network,
            Fault::Host => Self::Host,
            Fault::Node => Self::Node,
        }
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        let text = chain(&error);
        match error {
            RunError::Invalid(InvalidRequest::NotWasm(_)) => ApiError::new(Code::BadContent, text),
            RunError::Invalid(_) => ApiError::new(Code::BadRequest, text),
            RunError::Unavailable { .. } => ApiError::new(Code::ContentUnavailable, text)
                .hint("check the CID; connect to a node that has it with `adit swarm connect`"),
            RunError::Failed { job, state, failure } => no_outcome(job, state, &failure),
            RunError::Denied(_) => ApiError::new(Code::ContentDenied, text),
            RunError::KeyReused(_) => {
                ApiError::new(Code::Conflict, text).hint("choose a new key for each job")
            }
            RunError::NoJob(_) => no_job(text),
            RunError::Stopping => ApiError::new(Code::Unavailable, text),
            RunError::Node(_) => ApiError::new(Code::Internal, text),
        }
    }
}

impl From<ReplicateError> for ApiError {
    fn from(error: ReplicateError) -> Self {
        let text = chain(&error);
        match error {
            ReplicateError::Number(_) => ApiError::new(Code::BadRequest, text),
            ReplicateError::TooMany => ApiError::new(Code::TooLarge, text),
            ReplicateError::Incomplete(..) => ApiError::new(Code::BadContent, text),
            ReplicateError::Store(error) => error.into(),
            ReplicateError::Shelf(error) => ApiError::internal(&error),
            ReplicateError::Stopping => ApiError::new(Code::Unavailable, text),
        }
    }
}

/// The error of a job that ended without an outcome.
fn no_outcome(job: JobId, state: JobState, failure: &Failure) -> ApiError {
    let code = match (state, failure.fault) {
        (JobState::Cancelled, _) => Code::Cancelled,
        (JobState::Expired, _) => Code::Timeout,
        (_, Fault::Requester) => Code::BadRequest,
        (_, Fault::Network) => Code::NoHost,
        (_, Fault::Host) => Code::HostFailed,
        (_, Fault::Node) => Code::Internal,
    };
    let message = match failure.reason.as_str() {
        "" => format!("the job ended without an outcome ({state:?})").to_lowercase(),
        reason => reason.to_owned(),
    };
    ApiError::new(code, message)
        .by(failure.fault.into())
        .hint(format!("`adit job show {job}` tells who was asked and what they said"))
}

fn no_job(text: String) -> ApiError {
    ApiError::new(Code::NotFound, text).hint("`adit job ls` lists the jobs this node remembers")
}

fn unknown(job: JobId) -> ApiError {
    no_job(format!("there is no job {job} here"))
}

impl From<GcError> for ApiError {
    fn from(error: GcError) -> Self {
        match error {
            GcError::Store(error) => error.into(),
            GcError::DamagedPin { .. } => ApiError::new(Code::Conflict, error.to_string()).by(Source::Node),
        }
    }
}

impl From<SettingError> for ApiError {
    fn from(error: SettingError) -> Self {
        let code =
            if matches!(error, SettingError::Unknown { .. }) { Code::NotFound } else { Code::BadRequest };
        ApiError::new(code, chain(&error))
    }
}

impl From<ConfigFileError> for ApiError {
    fn from(error: ConfigFileError) -> Self {
        ApiError::internal(&error)
    }
}

impl From<Delivered> for RunReply {
    fn from(delivered: Delivered) -> Self {
        Self {
            job: delivered.view,
            stdout: delivered.stdout.map(|bytes| Content::from(&*bytes)),
            stderr: delivered.stderr.map(|bytes| Content::from(&*bytes)),
            outcome: BASE64.encode(&delivered.outcome),
            receipt: BASE64.encode(&delivered.envelope),
        }
    }
}

#[async_trait]
impl Jobs for adit_node::Node {
    async fn run(&self, request: RunRequest) -> Result<RunReply, ApiError> {
        Ok(adit_node::Node::run(self, request).await?.into())
    }

    async fn start(&self, request: RunRequest) -> Result<JobId, ApiError> {
        Ok(self.submit(request).await?)
    }

    async fn plan(&self, request: RunRequest) -> Result<Plan, ApiError> {
        Ok(adit_node::Node::plan(self, request).await?)
    }

    async fn follow(&self, job: JobId) -> Result<BoxStream<'static, JobEvent>, ApiError> {
        adit_node::Node::follow(self, &job).ok_or_else(|| unknown(job))
    }

    async fn wait(&self, job: JobId) -> Result<JobView, ApiError> {
        adit_node::Node::wait(self, &job).await.ok_or_else(|| unknown(job))
    }

    async fn result(&self, job: JobId) -> Result<RunReply, ApiError> {
        Ok(self.delivered(&job).await?.into())
    }

    async fn job(&self, job: JobId) -> Result<JobView, ApiError> {
        adit_node::Node::job(self, &job).ok_or_else(|| unknown(job))
    }

    async fn jobs(&self, limit: usize, only_active: bool) -> Result<Vec<JobView>, ApiError> {
        let mut jobs = adit_node::Node::jobs(self, limit);
        jobs.retain(|job| !only_active || !job.state.is_final());
        Ok(jobs)
    }

    async fn cancel(&self, job: JobId) -> Result<JobView, ApiError> {
        if adit_node::Node::cancel(self, &job) {
            return Jobs::wait(self, job).await;
        }
        Jobs::job(self, job).await
    }
}

#[async_trait]
impl Routing for adit_node::Node {
    async fn find_providers(&self, root: &Cid, num: usize) -> Result<Vec<Located>, ApiError> {
        Ok(adit_node::Node::find_providers(self, root, num).await?)
    }

    async fn find_peer(&self, peer: &str) -> Result<Located, ApiError> {
        Ok(adit_node::Node::find_peer(self, peer).await?)
    }

    async fn provide_now(&self, root: Cid) -> Result<bool, ApiError> {
        Ok(adit_node::Node::provide_now(self, root).await?)
    }
}

#[async_trait]
impl Naming for adit_node::Node {
    async fn publish_name(&self, what: PublishBody) -> Result<PublishedName, ApiError> {
        let key = what.key.as_deref().unwrap_or(names::SELF);
        let lifetime = what.lifetime_s.map_or(names::LIFETIME, Duration::from_secs);
        let ttl = what.ttl_s.map_or(names::TTL, Duration::from_secs);
        Ok(self.names().publish(key, &what.value, lifetime, ttl).await?)
    }

    async fn resolve_name(&self, name: &str, one_step: bool) -> Result<String, ApiError> {
        Ok(self.names().resolve(name, one_step).await?)
    }

    async fn keys(&self) -> Result<Vec<KeyView>, ApiError> {
        Ok(self.names().keys()?)
    }

    async fn new_key(&self, key: &str) -> Result<KeyView, ApiError> {
        Ok(self.names().new_key(key)?)
    }
}

impl From<FunctionError> for ApiError {
    fn from(error: FunctionError) -> Self {
        let text = chain(&error);
        match error {
            FunctionError::Path(_) | FunctionError::Host(_) => ApiError::new(Code::BadRequest, text),
            FunctionError::TooMany => ApiError::new(Code::TooLarge, text),
            FunctionError::Off => ApiError::new(Code::Conflict, text)
                .hint("`adit config set http.listen 127.0.0.1:4716`, then start the daemon again"),
            FunctionError::Missing(_) => {
                ApiError::new(Code::NotFound, text).hint("`adit http ls` lists what is served")
            }
            FunctionError::Code(_) => ApiError::new(Code::BadContent, text),
            FunctionError::Disk(_) => ApiError::internal(&error),
        }
    }
}

fn view(function: &Function) -> FunctionView {
    let Function { publication, counts } = function;
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    FunctionView {
        path: publication.path.clone(),
        code: publication.code.to_string(),
        hosts: publication.hosts.clone(),
        published: publication.published,
        requests: read(&counts.requests),
        failed: read(&counts.failed),
        fuel: read(&counts.fuel),
        memory: read(&counts.memory),
        busy_us: read(&counts.micros),
        bytes_in: read(&counts.bytes_in),
        bytes_out: read(&counts.bytes_out),
        sent: read(&counts.sent),
        denied: read(&counts.denied),
    }
}

#[async_trait]
impl Functions for adit_node::Node {
    async fn publish_function(&self, what: PublishFunctionBody) -> Result<FunctionView, ApiError> {
        let wrong = |error| ApiError::new(Code::BadRequest, format!("`{}` is not a CID: {error}", what.code));
        let code: Cid = what.code.parse().map_err(wrong)?;
        Ok(view(&*adit_node::Node::publish_function(self, what.path, code, what.hosts).await?))
    }

    async fn unpublish_function(&self, path: &str) -> Result<FunctionView, ApiError> {
        Ok(view(&*adit_node::Node::unpublish_function(self, path).await?))
    }

    fn functions(&self) -> Vec<FunctionView> {
        adit_node::Node::functions(self).all().values().map(|function| view(function)).collect()
    }
}

#[async_trait]
impl Node for adit_node::Node {
    fn id(&self) -> IdView {
        let suffix = format!("/p2p/{}", self.net().peer_id());
        let mut addresses = Vec::new();
        for address in self.net().external_addrs().into_iter().chain(self.net().listen_addrs()) {
            let mut address = address.to_string();
            if !address.ends_with(&suffix) {
                address.push_str(&suffix);
            }
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        IdView {
            node: adit_node::Node::id(self),
            operator: self.account(),
            network: self.settings().config().network.clone(),
            addresses,
            agent: AGENT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn status(&self) -> Result<NodeStatus, ApiError> {
        Ok(adit_node::Node::status(self))
    }

    fn ready(&self) -> Result<(), ApiError> {
        if self.is_ready() {
            return Ok(());
        }
        Err(ApiError::new(Code::EnclaveDown, "the enclave does not answer, or the node takes nothing new")
            .hint("`adit doctor` says what is wrong"))
    }

    fn drain(&self) -> usize {
        adit_node::Node::drain(self)
    }

    async fn nodes(&self) -> Result<Vec<NodeView>, ApiError> {
        Ok(adit_node::Node::nodes(self))
    }

    async fn doctor(&self) -> Result<Vec<Check>, ApiError> {
        Ok(adit_node::Node::doctor(self).await)
    }

    async fn peers(&self) -> Result<Vec<PeerView>, ApiError> {
        let connected = self.net().peers().into_iter().filter(|peer| peer.connected);
        Ok(connected
            .map(|peer| PeerView {
                peer: peer.peer.to_string(),
                addresses: peer.addrs.iter().map(ToString::to_string).collect(),
                transports: peer.transports.iter().map(|t| format!("{t:?}").to_lowercase()).collect(),
                agent: (!peer.agent.is_empty()).then_some(peer.agent),
                rtt_us: peer.rtt.map(|rtt| rtt.as_micros().try_into().unwrap_or(u64::MAX)),
                bandwidth: peer.bandwidth,
                bytes_in: peer.bytes_in,
                bytes_out: peer.bytes_out,
            })
            .collect())
    }

    async fn connect(&self, address: &str) -> Result<String, ApiError> {
        let address: Multiaddr = address.parse().map_err(|error| {
            ApiError::new(Code::BadRequest, format!("{address:.200?} is not a multiaddress: {error}"))
                .hint("it looks like /ip4/192.0.2.7/tcp/4711/p2p/12D3KooW…")
        })?;
        match self.net().connect(address).await {
            Ok(peer) => Ok(peer.to_string()),
            Err(error) => Err(ApiError::new(Code::Unavailable, chain(&error)).by(Source::Network)),
        }
    }

    async fn disconnect(&self, peer: &str) -> Result<(), ApiError> {
        let peer: adit_net::PeerId = peer.parse().map_err(|error| {
            ApiError::new(Code::BadRequest, format!("{peer:.100?} is not a peer id: {error}"))
        })?;
        if !self.net().is_connected(&peer) {
            return Err(ApiError::new(Code::NotFound, format!("there is no connection with {peer}")));
        }
        self.net().disconnect(peer).await.map_err(|error| ApiError::new(Code::Unavailable, error.to_string()))
    }

    fn settings(&self) -> Result<Vec<SettingView>, ApiError> {
        let rows = adit_node::Node::settings(self).rows();
        let view =
            |(setting, value, origin): (&'static adit_node::config::Setting, String, &_)| SettingView {
                key: setting.key.to_owned(),
                value,
                origin: adit_node::config::Origin::to_string(origin),
                what: setting.what.to_owned(),
            };
        Ok(rows.map(view).collect())
    }

    fn set(&self, key: &str, value: &str) -> Result<SetReply, ApiError> {
        let path = self.dir().join(FILE_NAME);
        let mut file = ConfigFile::read(&path)?;
        file.set(key, value)?;
        file.write(&path)?;
        Ok(SetReply { key: key.to_owned(), value: value.to_owned(), restart_needed: true })
    }

    fn source(&self) -> Arc<dyn BlockSource> {
        adit_node::Node::source(self)
    }

    fn provide(&self, root: Cid) {
        adit_node::Node::provide(self, root);
    }

    async fn replicate(&self, root: Cid, copies: u32) -> Result<ReplicasView, ApiError> {
        Ok(adit_node::Node::replicate(self, root, copies).await?)
    }

    fn replicas(&self, root: &Cid) -> Option<ReplicasView> {
        adit_node::Node::replicas(self, root)
    }

    fn unpinned(&self) {
        adit_node::Node::unpinned(self);
    }

    async fn gc(&self) -> Result<Collected, ApiError> {
        let report = adit_node::Node::gc(self).await?;
        Ok(Collected {
            blocks_deleted: report.blocks_deleted,
            blocks_kept: report.blocks_kept,
            pins_expired: report.pins_expired,
            bytes_freed: report.bytes_freed,
            bytes_moved: report.bytes_moved,
            elapsed_ms: report.elapsed.as_millis().try_into().unwrap_or(u64::MAX),
        })
    }

    fn metrics(&self) -> String {
        use std::fmt::Write;
        let mut out = String::new();
        let mut line = |name: &str, kind: &str, what: &str, value: u64| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            writeln!(out, "# HELP {name} {what}.\n# TYPE {name} {kind}\n{name}{suffix} {value}")
                .expect("writing to a String cannot fail");
        };
        let status = adit_node::Node::status(self);
        line("adit_uptime_seconds", "gauge", "Seconds since the node started", status.uptime_s);
        line("adit_peers", "gauge", "Connected peers", status.peers as u64);
        line("adit_nodes", "gauge", "Other nodes known to run Adit", status.adit_nodes as u64);
        line("adit_job_slots", "gauge", "Jobs that can run at the same time", status.slots as u64);
        line("adit_jobs_running", "gauge", "Jobs running here", status.running as u64);
        line("adit_jobs_queued", "gauge", "Jobs waiting here", status.queued as u64);
        line("adit_ready", "gauge", "Whether the node can take requests", u64::from(self.is_ready()));
        line("adit_host_day_asked", "gauge", "Bids asked for in the last 24 hours", status.day.asked);
        line("adit_host_day_bid", "gauge", "Bids made in the last 24 hours", status.day.bid);
        line("adit_host_day_run", "gauge", "Jobs run in the last 24 hours", status.day.run);
        let refused = status.day.refused.values().sum();
        line("adit_host_day_refused", "gauge", "Refusals in the last 24 hours", refused);
        let (received, sent) = self.net().total_traffic();
        line("adit_net_received_bytes", "counter", "Bytes received from peers", received);
        line("adit_net_sent_bytes", "counter", "Bytes sent to peers", sent);
        for (name, value) in self.net().metrics().snapshot() {
            line(&format!("adit_net_{name}"), "counter", &name.replace('_', " "), value);
        }
        gateway_metrics(&adit_node::Node::gateways(self), &mut out);
        // Paths are letters, digits and -._~/, so they need no escapes.
        let functions = Functions::functions(self);
        let mut each = |name: &str, what: &str, of: fn(&FunctionView) -> u64| {
            writeln!(out, "# HELP {name} {what}.\n# TYPE {name} counter").expect("a String");
            for function in &functions {
                let (path, value) = (&function.path, of(function));
                writeln!(out, "{name}_total{{path=\"{path}\"}} {value}").expect("a String");
            }
        };
        each("adit_function_requests", "Requests that reached a function", |f| f.requests);
        each("adit_function_failed", "Requests to a function that failed", |f| f.failed);
        each("adit_function_fuel", "Fuel used by a function", |f| f.fuel);
        each("adit_function_busy_microseconds", "Time of a function in a worker", |f| f.busy_us);
        each("adit_function_received_bytes", "Bytes of requests to a function", |f| f.bytes_in);
        each("adit_function_sent_bytes", "Bytes of responses of a function", |f| f.bytes_out);
        each("adit_function_denied", "Requests of a function that were not allowed", |f| f.denied);
        out
    }
}

/// What came from each gateway of others: those that the operator named by their URLs, all others together.
fn gateway_metrics(tallies: &[adit_node::Tally], out: &mut String) {
    use std::fmt::Write;
    type Read = fn(&adit_node::Tally) -> u64;
    let counters: [(&str, &str, Read); 5] = [
        ("blocks", "Blocks from a gateway", |tally| tally.blocks),
        ("bytes", "Bytes of blocks from a gateway", |tally| tally.bytes),
        ("absent", "Blocks that a gateway does not have", |tally| tally.absent),
        ("failed", "Requests to a gateway that failed", |tally| tally.failed),
        ("lies", "Answers of a gateway that were something else than the block", |tally| tally.lies),
    ];
    for (name, what, read) in counters.into_iter().filter(|_| !tallies.is_empty()) {
        let name = format!("adit_retrieval_{name}");
        writeln!(out, "# HELP {name} {what}.\n# TYPE {name} counter")
            .expect("writing to a String cannot fail");
        for tally in tallies {
            // Neither quotes nor line ends can stand in a URL's authority, and the path was parsed as one.
            writeln!(out, "{name}_total{{gateway=\"{}\"}} {}", tally.gateway, read(tally))
                .expect("writing to a String cannot fail");
        }
    }
}
