//! `adit-holder`: keeps shares of other people's keys, and gives each only to whom its owner allows it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use adit_holder::{Ask, Desk, Effect, Holder, Nonces, Owners, PolicyHeads};
use adit_holderd::SOCKET;
use adit_holderd::keys::Keys;
use adit_holderd::office::Office;
use adit_holderd::parent::{self, Devnet};
use adit_holderd::peers::Peers;
use adit_holderd::server::Server;
use adit_model::AccountId;
use adit_trust::ReferenceValues;
use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

/// Whoever was not answered says it again.
const TICK: Duration = Duration::from_secs(1);

/// Keeps shares of other people's keys, and gives each only to whom its owner allows it
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Keys, shares and logs; made if it is not there. The socket `holder.sock` and the file `peers` are in it too
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Keep shares for this owner (0x…); may be given several times. What is kept already stays
    #[arg(long, value_name = "ACCOUNT")]
    owner: Vec<AccountId>,
    /// Keep shares for whoever asks
    #[arg(long, conflicts_with = "owner")]
    anyone: bool,
    /// Belong to the devnet that started this process: take its root from it, and end with it
    #[arg(long, hide = true)]
    devnet: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("adit-holder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<()> {
    let devnet = if args.devnet { Some(parent::devnet()?) } else { None };
    let keys = Keys::open_or_make(&args.folder)?;
    let references = references(&args.folder.join("references"))?;
    // The database's own lock keeps a second holder out of this folder.
    let (holder, effects) = Holder::open(&args.folder, keys.account, PolicyHeads)
        .with_context(|| format!("cannot open {}", args.folder.display()))?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("the system gave no random bytes")?;
    let nonces = Arc::new(Nonces::new(secret));
    let owners = if args.anyone { Owners::Anyone } else { Owners::Of(args.owner) };
    let desk = Desk::new(holder, keys.seal, nonces.clone(), owners)?;
    let account = desk.account();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let thread = runtime.block_on(async {
        let (mut peers, outbox) = Peers::open(&args.folder);
        let socket = args.folder.join(SOCKET);
        let listener = listen(&socket)?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        for effect in effects {
            if let Effect::Send { to, packet } = effect {
                outbox.send(to, packet);
            }
        }
        let (office, thread) = Office::open(desk, outbox);
        let root = devnet.as_ref().map(|devnet| devnet.root.clone());
        let serving = tokio::spawn(Server::new(office.clone(), nonces, references, root).serve(listener));
        let devnet_ends = devnet_ends(devnet)?;
        println!("{account} listens at {}", socket.display());
        let ticking = async {
            let mut tick = tokio::time::interval(TICK);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                peers.refresh();
                // Closed: the disk failed, as its thread tells below.
                if office.tell(Ask::Tick).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = ticking => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = devnet_ends => {}
        }
        serving.abort();
        // So that its share of the office is gone too, and the desk closes.
        let _ = serving.await;
        let _ = std::fs::remove_file(&socket);
        drop(office);
        anyhow::Ok(thread)
    })?;
    // Nobody asks any more: the thread ends after the turn that it is in.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match thread.join() {
        Ok(ended) => ended.context("the holder's disk failed, so it stops"),
        Err(_) => bail!("the desk's thread panicked"),
    }
}

/// Binds the socket, in the place of one that a killed holder left.
fn listen(path: &Path) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Ends when the devnet does; never without one.
fn devnet_ends(devnet: Option<Devnet>) -> Result<impl Future<Output = ()>> {
    let socket = match devnet {
        Some(devnet) => {
            devnet.socket.set_nonblocking(true)?;
            Some(tokio::net::UnixStream::from_std(devnet.socket)?)
        }
        None => None,
    };
    Ok(async move {
        let Some(mut socket) = socket else { return std::future::pending().await };
        let mut byte = [0];
        // Nothing more is said over it.
        let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut byte).await;
    })
}

/// What this holder's operator knows of software: every `*.json` in the folder, which need not be there.
fn references(folder: &Path) -> Result<ReferenceValues> {
    let mut all = ReferenceValues::default();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let json = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let values = ReferenceValues::from_json(&json);
            all.values.extend(values.with_context(|| format!("{} can't be used", path.display()))?.values);
        }
    }
    Ok(all)
}
