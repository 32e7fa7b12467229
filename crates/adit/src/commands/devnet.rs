//! `adit devnet`: a network of real nodes on this machine, each a process with a directory, keys, ports and an
//! enclave of its own.
//!
//! The nodes know only each other: their network has a name of its own, they listen on loopback, and look for
//! nobody on the LAN. They end with this process, however it ends: on ctrl-C it stops them and waits; when it is
//! killed, the kernel tells them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adit_api::client::Client;
use adit_node::Identity;
use adit_node::config::{ConfigFile, FILE_NAME};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::{Context, Running, parse_settings};
use crate::exit::{Exit, Failure};
use crate::output::Table;

/// Arguments of `adit devnet`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every node is an `adit daemon` like any other: talk to one with ADIT_PATH=DIR adit …, or --repo DIR.")]
pub(crate) struct Args {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    nodes: u8,
    /// Keep the nodes in this directory; a temporary one, removed at the end, if not given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Set something for every node, such as host.cpus=1 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// How long a node may take to become ready.
const START: Duration = Duration::from_secs(30);
/// How long nodes may take to end before they are killed.
const STOP: Duration = Duration::from_secs(10);

/// A node as it is printed.
#[derive(Serialize)]
struct Started {
    name: String,
    node: String,
    api: String,
    addresses: Vec<String>,
    repo: PathBuf,
    pid: u32,
}

/// Runs the network until ctrl-C.
pub(crate) fn devnet(context: &Context, args: Args) -> Result<(), Failure> {
    let settings = parse_settings(&args.settings)?;
    let folder = Folder::make(args.dir)?;
    // One thread: the kernel ends a child with the *thread* that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because(Exit::Failed, "cannot start", &error))?;
    runtime.block_on(async {
        let mut nodes = Nodes::default();
        let result = tokio::select! {
            result = run(context, &folder.path, args.nodes, &settings, &mut nodes) => result,
            interrupted = interrupted() => interrupted,
        };
        nodes.stop().await;
        result
    })
}

/// Resolves when somebody wants this to end.
async fn interrupted() -> Result<(), Failure> {
    let cannot = |error| Failure::because(Exit::Failed, "cannot wait for signals", &error);
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(cannot)?, signal(SignalKind::terminate()).map_err(cannot)?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn run(
    context: &Context,
    folder: &Path,
    count: u8,
    settings: &[(String, String)],
    nodes: &mut Nodes,
) -> Result<(), Failure> {
    let mut started: Vec<Started> = Vec::new();
    for number in 1..=count {
        let name = format!("node{number}");
        let bootstrap = started.first().map(|first| first.addresses.join(",")).unwrap_or_default();
        let repo = folder.join(&name);
        prepare(&repo, &bootstrap, settings)?;
        nodes.start(&name, &repo)?;
        context.out.note(format!("starting {name} …"));
        let (pid, client) = nodes.ready(&repo).await?;
        let id = client.id().await?;
        let (node, addresses) = (id.node.to_string(), id.addresses);
        started.push(Started { name, node, api: client.url().to_owned(), addresses, repo, pid });
    }
    if context.out.json() {
        context.out.document(&started)?;
    } else {
        let mut table = Table::new(["name", "node", "api", "swarm", "directory"], "");
        for node in &started {
            let swarm = node.addresses.first().cloned().unwrap_or_default();
            let swarm = swarm.split("/p2p/").next().unwrap_or_default().to_owned();
            table.row([
                node.name.clone(),
                node.node.clone(),
                node.api.clone(),
                swarm,
                node.repo.display().to_string(),
            ]);
        }
        table.print(&context.out)?;
    }
    context.out.note("Ctrl-C ends them all.");
    nodes.watch(context).await;
    Ok(())
}

/// Makes a node's directory, or brings the settings of an existing one up to date.
fn prepare(repo: &Path, bootstrap: &str, settings: &[(String, String)]) -> Result<(), Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Failure::because(Exit::Failed, format!("cannot make a node in {}", repo.display()), error)
    };
    Identity::load_or_create(repo).map_err(|error| failed(&error))?;
    let path = repo.join(FILE_NAME);
    let mut file = ConfigFile::read(&path).map_err(|error| failed(&error))?;
    let own = [
        ("network", "devnet"),
        ("swarm.listen", "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1"),
        ("swarm.bootstrap", bootstrap),
        ("swarm.mdns", "false"),
        ("api.listen", "127.0.0.1:0"),
        ("gateway.listen", "127.0.0.1:0"),
        ("host.accept", "anyone"),
        ("pins.accept", "anyone"),
    ];
    let given = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    for (key, value) in own.into_iter().chain(given) {
        file.set(key, value)
            .map_err(|error| Failure::because(Exit::Usage, format!("--set {key}"), &error))?;
    }
    file.write(&path).map_err(|error| failed(&error))
}

/// The processes of the network.
#[derive(Default)]
struct Nodes(Vec<Node>);

struct Node {
    name: String,
    process: Child,
    log: PathBuf,
    ended: bool,
}

impl Nodes {
    fn start(&mut self, name: &str, repo: &Path) -> Result<(), Failure> {
        let cannot =
            |error: std::io::Error| Failure::because(Exit::Failed, format!("cannot start {name}"), &error);
        let log = repo.join("daemon.log");
        let program = std::env::current_exe().map_err(cannot)?;
        // A stale one would name a daemon that is gone.
        let _ = std::fs::remove_file(repo.join(Running::FILE));
        let mut command = Command::new(program);
        command.arg("daemon").env("ADIT_PATH", repo);
        // What the user has set for their own node must not leak into these, except where the enclave is.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("ADIT_")
                && !matches!(&*name, "ADIT_PATH" | "ADIT_ENCLAVE_PROGRAM" | "ADIT_LOG")
            {
                command.env_remove(&*name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).map_err(cannot)?);
        // A group of its own, so that ctrl-C reaches this process alone, which then ends the nodes in order.
        command.process_group(0);
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec only system calls are made here: prctl and getppid, both
        // async-signal-safe, and nothing is allocated or locked.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::TERM))?;
                // The parent may have died before the line above took effect.
                if getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let process = command.spawn().map_err(cannot)?;
        self.0.push(Node { name: name.to_owned(), process, log, ended: false });
        Ok(())
    }

    /// Waits until the node that was started last answers.
    async fn ready(&mut self, repo: &Path) -> Result<(u32, Client), Failure> {
        let Some(node) = self.0.last_mut() else {
            return Err(Failure::new(Exit::Failed, "no node was started"));
        };
        let deadline = Instant::now() + START;
        loop {
            if let Ok(Some(status)) = node.process.try_wait() {
                node.ended = true;
                return Err(Failure::new(
                    Exit::Failed,
                    format!("{} ended with {status}: {}", node.name, node.last_words()),
                ));
            }
            if let Some(client) = Running::read(repo)
                .and_then(|running| Client::new(&running.address, Client::local_token(repo).as_deref()).ok())
                && client.ready().await.is_ok()
            {
                return Ok((node.process.id(), client));
            }
            if Instant::now() > deadline {
                let why = format!("{} was not ready after {START:?}: {}", node.name, node.last_words());
                return Err(Failure::new(Exit::Timeout, why));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tells about nodes that end by themselves. Returns when none is left.
    async fn watch(&mut self, context: &Context) {
        while self.0.iter().any(|node| !node.ended) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            for node in self.0.iter_mut().filter(|node| !node.ended) {
                if let Ok(Some(status)) = node.process.try_wait() {
                    node.ended = true;
                    context.out.note(format!("{} ended with {status}: {}", node.name, node.last_words()));
                }
            }
        }
    }

    /// Asks all to end, waits, and kills those that do not.
    async fn stop(&mut self) {
        for node in self.0.iter().filter(|node| !node.ended) {
            if let Ok(Some(pid)) = i32::try_from(node.process.id()).map(Pid::from_raw) {
                // It has not been waited for, so the number is still its own.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let deadline = Instant::now() + STOP;
        for node in self.0.iter_mut().filter(|node| !node.ended) {
            while Instant::now() < deadline && matches!(node.process.try_wait(), Ok(None)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let _ = node.process.kill();
            let _ = node.process.wait();
            node.ended = true;
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in self.0.iter_mut().filter(|node| !node.ended) {
            let _ = node.process.kill();
            let _ = node.process.wait();
        }
    }
}

impl Node {
    /// The end of its log.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

/// The directory of the network; removed at the end when it is temporary.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn make(given: Option<PathBuf>) -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let temporary = given.is_none();
        let path =
            given.unwrap_or_else(|| std::env::temp_dir().join(format!("adit-devnet-{}", std::process::id())));
        // A temporary one must be new: whoever made one of this name before us could read our keys.
        std::fs::DirBuilder::new().recursive(!temporary).mode(0o700).create(&path).map_err(|error| {
            Failure::because(Exit::Failed, format!("cannot make {}", path.display()), &error)
        })?;
        let path = path.canonicalize().unwrap_or(path);
        Ok(Folder { path, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
