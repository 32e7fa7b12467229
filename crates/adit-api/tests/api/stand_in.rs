//! A node that answers from a table, and a server over it.

use adit_api::access::{Guard, IssuedToken, Scope, Tokens};
use adit_api::backend::{Functions, Jobs, Naming, Node, Routing};
use adit_api::client::Client;
use adit_api::types::*;
use adit_api::{ApiError, App, Code, Limits, Server, router};
use adit_model::{AccountId, InvocationCid, NodeId, TaskCid};
use adit_node::RunRequest;
use adit_node::view::JobEvent;
use adit_store::{BlockSource, Repo, RepoOptions};
use async_trait::async_trait;
use cid::Cid;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the program of the stand-in's jobs writes.
pub(crate) const OUTPUT: &[u8] = b"hello\n\x1b[31m\xff";

/// Runs nothing: a job whose first argument is `hang` never ends by itself, any other ends at once.
pub(crate) struct StandIn {
    pub(crate) repo: Arc<Repo>,
    /// How many jobs that hang were begun by somebody who waits for the answer.
    pub(crate) begun: watch::Sender<usize>,
    /// How many jobs were taken back.
    pub(crate) cancelled: watch::Sender<usize>,
    pub(crate) ready: bool,
}

pub(crate) fn job_id(name: &str) -> JobId {
    InvocationCid::of_block(name.as_bytes())
}

pub(crate) fn job(name: &str, state: JobState) -> JobView {
    JobView {
        id: job_id(name),
        role: Role::Local,
        state,
        task: TaskCid::of_block(b"task"),
        code: "bafkqaaa".into(),
        args: vec![],
        inputs: BTreeMap::new(),
        issuer: AccountId([1; 20]),
        created_ms: 1,
        finished_ms: None,
        host: None,
        why: None,
        attempts: vec![],
        result: None,
        failure: None,
        outcome: None,
        receipt: None,
        stats: JobStats::default(),
        kept_until: None,
    }
}

fn reply(name: &str) -> RunReply {
    RunReply {
        job: job(name, JobState::Finished),
        stdout: Some(Content::from(OUTPUT)),
        stderr: Some(Content::from(&b""[..])),
        outcome: "AA==".into(),
        receipt: "AA==".into(),
    }
}

fn hangs(request: &RunRequest) -> bool {
    request.args.first().is_some_and(|arg| arg == "hang")
}

/// Counts a job that was dropped before its end.
struct Running<'a>(&'a watch::Sender<usize>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl Jobs for StandIn {
    async fn run(&self, request: RunRequest) -> Result<RunReply, ApiError> {
        if hangs(&request) {
            let _running = Running(&self.cancelled);
            self.begun.send_modify(|count| *count += 1);
            std::future::pending::<()>().await;
        }
        Ok(reply("short"))
    }

    async fn start(&self, request: RunRequest) -> Result<JobId, ApiError> {
        Ok(job_id(if hangs(&request) { "long" } else { "short" }))
    }

    async fn plan(&self, _: RunRequest) -> Result<Plan, ApiError> {
        Ok(Plan { task: TaskCid::of_block(b"task"), candidates: vec![], why: "nobody else is known".into() })
    }

    async fn follow(&self, id: JobId) -> Result<BoxStream<'static, JobEvent>, ApiError> {
        let begin = vec![
            JobEvent::State(JobState::Running),
            JobEvent::Log { stream: LogStream::Stdout, offset: 0, bytes: OUTPUT.into() },
        ];
        let begin = futures::stream::iter(begin);
        if id == job_id("long") {
            return Ok(begin.chain(futures::stream::pending()).boxed());
        }
        let done = JobEvent::Done(Box::new(job("short", JobState::Finished)));
        Ok(begin.chain(futures::stream::iter([done])).boxed())
    }

    async fn wait(&self, id: JobId) -> Result<JobView, ApiError> {
        if id == job_id("long") {
            std::future::pending::<()>().await;
        }
        self.job(id).await
    }

    async fn result(&self, id: JobId) -> Result<RunReply, ApiError> {
        self.job(id).await.map(|_| reply("short"))
    }

    async fn job(&self, id: JobId) -> Result<JobView, ApiError> {
        match id {
            id if id == job_id("short") => Ok(job("short", JobState::Finished)),
            id if id == job_id("long") => Ok(job("long", JobState::Running)),
            _ => Err(ApiError::new(Code::NotFound, "there is no such job")),
        }
    }

    async fn jobs(&self, limit: usize, only_active: bool) -> Result<Vec<JobView>, ApiError> {
        let mut jobs = vec![job("long", JobState::Running), job("short", JobState::Finished)];
        jobs.retain(|job| !only_active || !job.state.is_final());
        jobs.truncate(limit);
        Ok(jobs)
    }

    async fn cancel(&self, id: JobId) -> Result<JobView, ApiError> {
        self.cancelled.send_modify(|count| *count += 1);
        let mut view = self.job(id).await?;
        view.state = JobState::Cancelled;
        Ok(view)
    }
}

#[async_trait]
impl Routing for StandIn {
    async fn find_providers(&self, _: &Cid, num: usize) -> Result<Vec<Located>, ApiError> {
        let provider =
            |n: usize| Located { peer: format!("peer {n}"), addresses: Vec::new(), nodes: Vec::new() };
        Ok((0..num.min(30)).map(provider).collect())
    }

    async fn find_peer(&self, peer: &str) -> Result<Located, ApiError> {
        Err(ApiError::new(Code::NotFound, format!("the stand-in does not know {peer}")))
    }

    async fn provide_now(&self, root: Cid) -> Result<bool, ApiError> {
        Ok(self.repo.blocks().has(&root).await.is_ok_and(|here| here))
    }
}

#[async_trait]
impl Naming for StandIn {
    async fn publish_name(&self, what: PublishBody) -> Result<PublishedName, ApiError> {
        Ok(PublishedName { name: "name".into(), value: what.value, sequence: 1 })
    }

    async fn resolve_name(&self, name: &str, one_step: bool) -> Result<String, ApiError> {
        Ok(format!("/ipns/{name}/{one_step}"))
    }

    async fn keys(&self) -> Result<Vec<KeyView>, ApiError> {
        Ok(Vec::new())
    }

    async fn new_key(&self, key: &str) -> Result<KeyView, ApiError> {
        Err(ApiError::new(Code::Conflict, format!("there is a key {key} already")))
    }
}

#[async_trait]
impl Functions for StandIn {
    async fn publish_function(&self, what: PublishFunctionBody) -> Result<FunctionView, ApiError> {
        Err(ApiError::new(Code::BadContent, format!("{} is no function", what.code)))
    }

    async fn unpublish_function(&self, path: &str) -> Result<FunctionView, ApiError> {
        Err(ApiError::new(Code::NotFound, format!("nothing is published under {path}")))
    }

    fn functions(&self) -> Vec<FunctionView> {
        Vec::new()
    }
}

#[async_trait]
impl Node for StandIn {
    fn id(&self) -> IdView {
        IdView {
            node: NodeId::from_ed25519([2; 32]),
            operator: AccountId([1; 20]),
            network: "devnet".into(),
            addresses: vec![],
            agent: "stand-in".into(),
            version: "0".into(),
        }
    }

    async fn status(&self) -> Result<NodeStatus, ApiError> {
        Err(ApiError::new(Code::Unavailable, "the stand-in has no status"))
    }

    fn ready(&self) -> Result<(), ApiError> {
        if self.ready { Ok(()) } else { Err(ApiError::new(Code::EnclaveDown, "the enclave is not running")) }
    }

    async fn nodes(&self) -> Result<Vec<NodeView>, ApiError> {
        Ok(vec![])
    }

    async fn doctor(&self) -> Result<Vec<Check>, ApiError> {
        Ok(vec![])
    }

    async fn peers(&self) -> Result<Vec<PeerView>, ApiError> {
        Ok(vec![])
    }

    async fn connect(&self, _: &str) -> Result<String, ApiError> {
        Err(ApiError::new(Code::Unavailable, "the stand-in knows nobody"))
    }

    async fn disconnect(&self, _: &str) -> Result<(), ApiError> {
        Err(ApiError::new(Code::NotFound, "the stand-in knows nobody"))
    }

    fn settings(&self) -> Result<Vec<SettingView>, ApiError> {
        let setting = |key: &str| SettingView {
            key: key.into(),
            value: "1".into(),
            origin: "default".into(),
            what: "a setting".into(),
        };
        Ok(vec![setting("a.b")])
    }

    fn set(&self, key: &str, value: &str) -> Result<SetReply, ApiError> {
        Ok(SetReply { key: key.into(), value: value.into(), restart_needed: true })
    }

    fn source(&self) -> Arc<dyn BlockSource> {
        Arc::new(self.repo.blocks())
    }

    fn provide(&self, _: Cid) {}

    async fn replicate(&self, _: Cid, copies: u32) -> Result<ReplicasView, ApiError> {
        Ok(ReplicasView { wanted: copies, placed: 1, bytes: 0, keepers: vec![], refused: vec![] })
    }

    fn replicas(&self, _: &Cid) -> Option<ReplicasView> {
        None
    }

    fn unpinned(&self) {}

    async fn gc(&self) -> Result<Collected, ApiError> {
        let report =
            self.repo.gc().await.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
        Ok(Collected {
            blocks_deleted: report.blocks_deleted,
            blocks_kept: report.blocks_kept,
            pins_expired: report.pins_expired,
            bytes_freed: report.bytes_freed,
            bytes_moved: report.bytes_moved,
            elapsed_ms: 0,
        })
    }

    fn drain(&self) -> usize {
        0
    }

    fn metrics(&self) -> String {
        "# TYPE adit_stand_in gauge\nadit_stand_in 1\n".into()
    }
}

/// A served API in a directory of its own.
pub(crate) struct Served {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) repo: Arc<Repo>,
    pub(crate) server: Server,
    pub(crate) begun: watch::Receiver<usize>,
    pub(crate) cancelled: watch::Receiver<usize>,
}

pub(crate) const PAGE: &str = "https://dashboard.example";

pub(crate) async fn serve() -> Served {
    serve_with(true, Limits::default()).await
}

pub(crate) async fn serve_with(ready: bool, limits: Limits) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let repo = Arc::new(Repo::open(&dir.path().join("store"), RepoOptions::default()).unwrap());
    let (begun, begun_watcher) = watch::channel(0);
    let (cancelled, cancelled_watcher) = watch::channel(0);
    let node = Arc::new(StandIn { repo: repo.clone(), begun, cancelled, ready });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let guard = Guard::new(listener.local_addr().unwrap(), &[], &[PAGE.to_owned()]);
    let app = App::new(node, repo.clone(), Tokens::open(dir.path()).unwrap(), guard);
    let server = Server::start(listener, router(app), limits).unwrap();
    Served { dir, repo, server, begun: begun_watcher, cancelled: cancelled_watcher }
}

impl Served {
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn with_token(&self, token: Option<&str>) -> Client {
        Client::new(&format!("http://{}", self.address()), token).unwrap()
    }

    /// With the node's own token.
    pub(crate) fn client(&self) -> Client {
        self.with_token(Client::local_token(self.dir.path()).as_deref())
    }

    pub(crate) async fn token(&self, scope: Scope) -> IssuedToken {
        self.client().issue_token("test", scope).await.unwrap()
    }

    /// Sends a request as it stands and gives the whole answer. The connection is closed after it.
    pub(crate) async fn raw(&self, request: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

/// Fails the test instead of hanging it.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
}

/// A small tree with everything that trees have.
pub(crate) fn make_tree(root: &Path) {
    std::fs::create_dir_all(root.join("docs/deep")).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::write(root.join("a.txt"), b"alpha").unwrap();
    std::fs::write(root.join("docs/big"), vec![7; 3 << 20]).unwrap();
    std::fs::write(root.join("docs/deep/ünï"), b"u").unwrap();
    std::os::unix::fs::symlink("a.txt", root.join("link")).unwrap();
}
