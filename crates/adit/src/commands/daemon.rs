//! `adit daemon`: the node itself, from start to an orderly end.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_api::access::{Guard, Tokens};
use adit_api::{App, Limits, Server, router};
use adit_node::config::{Config, ConfigFile, FILE_NAME, Settings};
use adit_node::{Identity, Node};
use adit_rpc::Access;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::memory;
use crate::context::{Context, Running, parse_settings};
use crate::exit::{Exit, Failure, chain};

/// Arguments of `adit daemon`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every setting (`adit config show`) can be given by --set, by its environment variable (host.cpus is
ADIT_HOST_CPUS), or in config.toml, in this order.

ADIT_LOG chooses what is logged to stderr, such as info or adit_net=debug.")]
pub(crate) struct Args {
    /// Use a setting for this run, such as host.accept=anyone (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Who keeps content: embedded, kubo=URL (its RPC), or gateway=URL to read from (short for --set ipfs.backend=…)
    #[arg(long, value_name = "BACKEND")]
    ipfs: Option<String>,
    /// Make the node first if there is none
    #[arg(long)]
    init: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// What is printed when the node is up.
#[derive(Serialize)]
struct Up {
    node: String,
    api: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    functions: Option<String>,
    /// Kubo's RPC without tokens, where the operator opened it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rpc: Option<String>,
    addresses: Vec<String>,
}

/// Runs the node until it is told to end.
pub(crate) fn daemon(context: &Context, args: Args) -> Result<(), Failure> {
    let repo = context.repo()?;
    if args.init {
        Identity::load_or_create(&repo)
            .map_err(|error| Failure::because(Exit::Failed, "cannot make a node", &error))?;
    }
    let repo = context.existing_repo()?;
    let file = ConfigFile::read(&repo.join(FILE_NAME))
        .map_err(|error| Failure::because(Exit::Usage, "cannot read settings", &error))?;
    let mut flags = parse_settings(&args.settings)?;
    flags.extend(args.ipfs.map(|backend| ("ipfs.backend".to_owned(), backend)));
    let settings = Settings::resolve(Some(&file), |name| std::env::var(name).ok(), &flags)
        .map_err(|error| Failure::because(Exit::Usage, "cannot use settings", &error))?;
    log_to_stderr(args.log_format)?;
    memory::bound_the_allocator();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("adit")
        .build()
        .map_err(|error| Failure::because(Exit::Failed, "cannot start", &error))?;
    let ended = runtime.block_on(run(context, &repo, settings));
    // All that matters has been awaited; what is left is a blocked thread or two.
    runtime.shutdown_background();
    ended
}

fn log_to_stderr(format: LogFormat) -> Result<(), Failure> {
    let filter = match std::env::var("ADIT_LOG") {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|error| Failure::because(Exit::Usage, format!("ADIT_LOG={text}"), &error))?,
        // libp2p tells of every connection that a stranger breaks off.
        Err(_) => EnvFilter::new("info,libp2p=warn,libp2p_kad=error,libp2p_mdns=error"),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

async fn run(context: &Context, repo: &Path, settings: Settings) -> Result<(), Failure> {
    // Listened for from the beginning: a signal during the start must not leave a lock or an enclave behind.
    let mut stop = Stop::new()?;
    let config = settings.config().clone();
    let node = tokio::select! {
        node = Node::start(repo, settings) => {
            node.map_err(|error| Failure::because(Exit::Failed, "the node did not start", &error))?
        }
        () = stop.asked() => return Ok(()),
    };
    let rest = tokio::spawn(memory::give_back_at_rest());
    let ended = serve(context, repo, &node, &config, &mut stop).await;
    rest.abort();
    tracing::info!("stopping");
    tokio::select! {
        () = node.shutdown() => {}
        () = stop.asked() => return Err(Failure::new(Exit::Interrupted, "stopped before everything had ended")),
    }
    ended
}

/// Serves the API until somebody wants the node to end, or it cannot go on.
async fn serve(
    context: &Context,
    repo: &Path,
    node: &Node,
    config: &Config,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let api = &config.api;
    let listener = TcpListener::bind(&api.listen).await.map_err(|error| {
        Failure::because(Exit::Failed, format!("cannot listen on {}", api.listen), &error)
            .hint("choose another address by the setting api.listen; port 0 takes a free one")
    })?;
    let cannot = |error: &(dyn std::error::Error + 'static)| {
        Failure::because(Exit::Failed, "cannot serve the API", error)
    };
    let address = listener.local_addr().map_err(|error| cannot(&error))?;
    let tokens = Tokens::open(repo).map_err(|error| cannot(&error))?;
    let guard = Guard::new(address, &api.hosts, &api.origins);
    let app = App::new(Arc::new(node.clone()), Arc::clone(node.repo()), tokens, guard);
    let pinning = adit_rpc::psa::Pinning::start(repo, app.clone()).map_err(|error| cannot(&error))?;
    let routes = router(app.clone())
        .merge(adit_rpc::router(app.clone(), Access::Tokens))
        .merge(adit_rpc::psa::router(pinning));
    let server = Server::start(listener, routes, Limits::default()).map_err(|error| cannot(&error))?;
    let open_rpc = serve_open_rpc(config, app).await?;

    let gateway = super::gateway::start(node).await?;
    let gateway_url = gateway.as_ref().map(|gateway| format!("http://{}", gateway.address()));

    let functions = serve_functions(config, node).await?;
    let functions_url = functions.as_ref().map(|server| format!("http://{}", server.address()));

    let announced = Announced::write(repo, &format!("http://{address}"), gateway_url, functions_url)?;
    let up = Up {
        node: node.id().to_string(),
        api: announced.running.address.clone(),
        gateway: announced.running.gateway.clone(),
        functions: announced.running.functions.clone(),
        rpc: open_rpc.as_ref().map(|server| format!("http://{}", server.address())),
        addresses: node.net().listen_addrs().iter().map(ToString::to_string).collect(),
    };
    tracing::info!(node = up.node, api = up.api, "the node is up");
    context.out.either(&up, |out, up| {
        out.line(format!("node {}", up.node))?;
        out.line(format!("api  {}", up.api))?;
        up.gateway.iter().try_for_each(|gateway| out.line(format!("gateway {gateway}")))?;
        up.functions.iter().try_for_each(|url| out.line(format!("http {url}")))?;
        up.rpc.iter().try_for_each(|rpc| out.line(format!("rpc  {rpc} (no token needed)")))
    })?;

    let ended = tokio::select! {
        () = stop.asked() => Ok(()),
        reason = node.failed() => {
            Err(Failure::new(Exit::Failed, format!("the node cannot go on: {reason}")))
        }
    };
    // New commands should not find a node that is about to end.
    drop(announced);
    node.drain();
    let gateway = async {
        if let Some(gateway) = gateway {
            gateway.shutdown().await;
        }
    };
    let open_rpc = async {
        if let Some(server) = open_rpc {
            server.shutdown().await;
        }
    };
    let functions = async {
        if let Some(functions) = functions {
            functions.shutdown().await;
        }
    };
    tokio::join!(server.shutdown(), gateway, open_rpc, functions);
    ended
}

/// Kubo's RPC for tools that know no tokens: only where the operator asks for it, and only on loopback.
async fn serve_open_rpc(config: &Config, app: Arc<App>) -> Result<Option<Server>, Failure> {
    let Some(address) = config.rpc.listen.0 else { return Ok(None) };
    let cannot = |error: &std::io::Error| {
        Failure::because(Exit::Failed, format!("cannot listen on {address}"), error)
            .hint("choose another address by the setting rpc.listen; port 0 takes a free one")
    };
    let listener = TcpListener::bind(address).await.map_err(|error| cannot(&error))?;
    let guard = Guard::new(address, &config.api.hosts, &config.api.origins);
    let routes = adit_rpc::router(app, Access::Everyone(guard));
    let server = Server::start(listener, routes, Limits::default()).map_err(|error| cannot(&error))?;
    Ok(Some(server))
}

/// HTTP functions, where the operator wants them.
async fn serve_functions(config: &Config, node: &Node) -> Result<Option<adit_functions::Server>, Failure> {
    let listen = &config.http.listen;
    if listen.is_empty() {
        return Ok(None);
    }
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Failure::because(Exit::Failed, format!("cannot listen on {listen}"), &error)
            .hint("choose another address by the setting http.listen; port 0 takes a free one, empty means no functions")
    })?;
    let server = adit_functions::Server::start(listener, node.clone());
    server.map(Some).map_err(|error| Failure::because(Exit::Failed, "cannot serve functions", &error))
}

/// The signals that ask for an end.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let cannot = |error| Failure::because(Exit::Failed, "cannot wait for signals", &error);
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
            terminate: signal(SignalKind::terminate()).map_err(cannot)?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// `api.json`, which tells commands where the daemon is; removed when dropped.
struct Announced {
    path: PathBuf,
    running: Running,
}

impl Announced {
    fn write(
        repo: &Path,
        address: &str,
        gateway: Option<String>,
        functions: Option<String>,
    ) -> Result<Self, Failure> {
        let path = repo.join(Running::FILE);
        let running = Running { address: address.to_owned(), gateway, functions, pid: std::process::id() };
        // Renamed into place, so that nobody reads half of it.
        let beside = repo.join(format!("{}.new", Running::FILE));
        let written = serde_json::to_vec(&running)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&beside, text))
            .and_then(|()| std::fs::rename(&beside, &path));
        match written {
            Ok(()) => Ok(Announced { path, running }),
            Err(error) => {
                Err(Failure::because(Exit::Failed, format!("cannot write {}", path.display()), &error))
            }
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(error = chain(&error), "api.json was gone already");
        }
    }
}
