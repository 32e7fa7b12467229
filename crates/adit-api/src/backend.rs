//! What the API needs from a node, as a trait: the running node implements it, and so do the tests' stand-ins.

use crate::error::ApiError;
use crate::types::{
    Check, Collected, FunctionView, IdView, JobId, JobView, KeyView, Located, NodeStatus, NodeView, PeerView,
    Plan, PublishBody, PublishFunctionBody, PublishedName, ReplicasView, RunReply, SetReply, SettingView,
};
use adit_node::RunRequest;
use adit_node::view::JobEvent;
use adit_store::BlockSource;
use async_trait::async_trait;
use cid::Cid;
use futures::stream::BoxStream;
use std::sync::Arc;

/// Jobs, as the node runs them.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Runs a job to its end. Dropping the future takes the job back, unless it carries an idempotency key: then
    /// others may be waiting for it.
    async fn run(&self, request: RunRequest) -> Result<RunReply, ApiError>;

    /// Starts a job and leaves it to itself.
    async fn start(&self, request: RunRequest) -> Result<JobId, ApiError>;

    /// Where the job would go, without running it.
    async fn plan(&self, request: RunRequest) -> Result<Plan, ApiError>;

    /// What happens to a job, from its beginning as far as the node still knows it, to its end.
    async fn follow(&self, job: JobId) -> Result<BoxStream<'static, JobEvent>, ApiError>;

    /// Waits for the end of a job.
    async fn wait(&self, job: JobId) -> Result<JobView, ApiError>;

    /// What a finished job delivered. A job without an outcome is an error that says why it has none.
    async fn result(&self, job: JobId) -> Result<RunReply, ApiError>;

    /// One job.
    async fn job(&self, job: JobId) -> Result<JobView, ApiError>;

    /// Jobs, newest first.
    async fn jobs(&self, limit: usize, only_active: bool) -> Result<Vec<JobView>, ApiError>;

    /// Takes a job back. Cancelling one that has ended changes nothing.
    async fn cancel(&self, job: JobId) -> Result<JobView, ApiError>;
}

/// The DHT, as the node asks it and is part of it.
#[async_trait]
pub trait Routing: Send + Sync + 'static {
    /// Up to `num` peers that announced this content.
    async fn find_providers(&self, root: &Cid, num: usize) -> Result<Vec<Located>, ApiError>;
    /// Where a peer is.
    async fn find_peer(&self, peer: &str) -> Result<Located, ApiError>;
    /// Announces content that is here; whether any other node was there to hear it.
    async fn provide_now(&self, root: Cid) -> Result<bool, ApiError>;
}

/// IPNS names and the keys they are published under.
#[async_trait]
pub trait Naming: Send + Sync + 'static {
    /// Publishes a path under one of the node's keys.
    async fn publish_name(&self, what: PublishBody) -> Result<PublishedName, ApiError>;
    /// What a name stands for: in the end, or in one step.
    async fn resolve_name(&self, name: &str, one_step: bool) -> Result<String, ApiError>;
    /// The node's keys.
    async fn keys(&self) -> Result<Vec<KeyView>, ApiError>;
    /// Makes a key.
    async fn new_key(&self, key: &str) -> Result<KeyView, ApiError>;
}

/// Programs that answer HTTP requests.
#[async_trait]
pub trait Functions: Send + Sync + 'static {
    /// Serves a program from now on. Durable when it returns.
    async fn publish_function(&self, what: PublishFunctionBody) -> Result<FunctionView, ApiError>;
    /// Serves it no more. Durable when it returns.
    async fn unpublish_function(&self, path: &str) -> Result<FunctionView, ApiError>;
    /// What is served.
    fn functions(&self) -> Vec<FunctionView>;
}

/// The node itself, and the network as it sees it.
#[async_trait]
pub trait Node: Jobs + Routing + Naming + Functions {
    /// Who this node is.
    fn id(&self) -> IdView;
    /// How it is.
    async fn status(&self) -> Result<NodeStatus, ApiError>;
    /// Whether it can take requests: the network listens, the enclave answers.
    fn ready(&self) -> Result<(), ApiError>;
    /// Nodes known to run Adit.
    async fn nodes(&self) -> Result<Vec<NodeView>, ApiError>;
    /// Takes no new jobs from now on; gives how many have not ended.
    fn drain(&self) -> usize;
    /// What could be wrong with it.
    async fn doctor(&self) -> Result<Vec<Check>, ApiError>;
    /// Connected peers.
    async fn peers(&self) -> Result<Vec<PeerView>, ApiError>;
    /// Connects to a multiaddress; gives the peer id.
    async fn connect(&self, address: &str) -> Result<String, ApiError>;
    /// Closes the connections with a peer.
    async fn disconnect(&self, peer: &str) -> Result<(), ApiError>;
    /// All settings.
    fn settings(&self) -> Result<Vec<SettingView>, ApiError>;
    /// Stores a new value for a setting.
    fn set(&self, key: &str, value: &str) -> Result<SetReply, ApiError>;
    /// Any block: from the store, else from the network.
    fn source(&self) -> Arc<dyn BlockSource>;
    /// Lets others find content that was added or pinned here, if the settings say so.
    fn provide(&self, root: Cid);
    /// Sees to it that there are this many copies of a pinned root, from now on.
    async fn replicate(&self, root: Cid, copies: u32) -> Result<ReplicasView, ApiError>;
    /// How a root stands that shall have several copies.
    fn replicas(&self, root: &Cid) -> Option<ReplicasView>;
    /// Something was unpinned, so copies of it elsewhere may be let go.
    fn unpinned(&self);
    /// Removes what neither a pin nor a promise keeps.
    async fn gc(&self) -> Result<Collected, ApiError>;
    /// Figures of the node in the text format of Prometheus.
    fn metrics(&self) -> String;
}
