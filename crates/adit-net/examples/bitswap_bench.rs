//! Two nodes in two processes on loopback: how fast does a file get from one disk store to the
//! other, durable at the end, by Bitswap over TCP and over QUIC? Beside it, in the same run, what
//! a plain TCP copy from file to synced file reaches here, and the processor time of both
//! processes, which says what the figures would be were the machine not busy with other things.
//!
//! ```text
//! cargo run --release -p adit-net --example bitswap_bench [-- MEGABYTES [ROUNDS]]
//! ```

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use adit_net::bitswap::{self, Config, Handle, NoFinder};
use adit_store::{
    BlockStore, DiskOptions, DiskStore,
    export::{self, Range},
    import::{self, ImportOptions},
};
use cid::Cid;
use futures::{StreamExt, TryStreamExt};
use libp2p::{
    Multiaddr, PeerId, SwarmBuilder, multiaddr::Protocol, noise, quic, swarm::SwarmEvent, tcp, yamux,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const TARGETS: [(&str, &str, f64); 2] =
    [("tcp", "/ip4/127.0.0.1/tcp/0", 300.0), ("quic", "/ip4/127.0.0.1/udp/0/quic-v1", 250.0)];

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", dir, megabytes] => serve(Path::new(dir), megabytes.parse()?),
        [] => measure(200, 3),
        [megabytes] => measure(megabytes.parse()?, 3),
        [megabytes, rounds] => measure(megabytes.parse()?, rounds.parse()?),
        _ => Err("usage: bitswap_bench [MEGABYTES [ROUNDS]]".into()),
    }
}

fn measure(megabytes: usize, rounds: usize) -> Result<(), Failure> {
    // Beside the build, so that it is a disk and not memory.
    let base = std::env::current_exe()?;
    let dir = tempfile::tempdir_in(base.parent().unwrap_or(Path::new(".")))?;
    let mut server = Server::start(dir.path(), megabytes)?;
    println!("{megabytes} MB, best of {rounds}, disk to disk, synced");
    let copy = best(rounds, |round| server.copy(&dir.path().join(format!("copy{round}"))))?;
    println!("plain TCP copy    {copy}");
    for (name, _, target) in TARGETS {
        let run = best(rounds, |round| server.fetch(&dir.path().join(format!("{name}{round}")), name))?;
        let verdict = if run.rate >= target { "reached" } else { "missed" };
        let part = run.rate / copy.rate;
        println!("bitswap, {name:<8} {run}; to reach {target:.0}: {verdict}; {part:.2} of the copy");
    }
    Ok(())
}

/// One transfer.
struct Run {
    /// Megabytes a second.
    rate: f64,
    /// Processor seconds of both processes.
    busy: f64,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:6.0} MB/s, {:.2} s of processor time", self.rate, self.busy)
    }
}

fn best(rounds: usize, mut run: impl FnMut(usize) -> Result<Run, Failure>) -> Result<Run, Failure> {
    let mut best = run(0)?;
    for round in 1..rounds {
        let next = run(round)?;
        best = Run { rate: best.rate.max(next.rate), busy: best.busy.min(next.busy) };
    }
    Ok(best)
}

/// The other process, and what it said at its start.
struct Server {
    child: Child,
    bytes: u64,
    root: Cid,
    addresses: Vec<(String, Multiaddr)>,
    copy: String,
}

impl Server {
    fn start(dir: &Path, megabytes: usize) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve".as_ref(), dir.as_os_str(), megabytes.to_string().as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let mut line = || lines.next().ok_or("the server ended")?.map_err(Failure::from);
        let root = line()?.parse()?;
        let addresses = TARGETS
            .iter()
            .map(|(name, ..)| Ok((name.to_string(), line()?.parse()?)))
            .collect::<Result<_, Failure>>()?;
        let copy = line()?;
        Ok(Self { child, bytes: megabytes as u64 * 1_000_000, root, addresses, copy })
    }

    fn copy(&mut self, to: &Path) -> Result<Run, Failure> {
        let mut file = std::fs::File::create(to)?;
        let started = self.now()?;
        let copied = std::io::copy(&mut std::net::TcpStream::connect(&self.copy)?, &mut file)?;
        file.sync_all()?;
        let run = self.run_since(started)?;
        assert_eq!(copied, self.bytes);
        std::fs::remove_file(to)?;
        Ok(run)
    }

    fn fetch(&self, to: &Path, transport: &str) -> Result<Run, Failure> {
        let address = &self.addresses.iter().find(|(name, _)| name == transport).ok_or("no address")?.1;
        let runtime = tokio::runtime::Runtime::new()?;
        let run = runtime.block_on(async {
            let store: Arc<dyn BlockStore> = Arc::new(DiskStore::open(to, DiskOptions::default())?);
            let node = node(Arc::clone(&store), None, Some(address.clone())).await?;
            let Some(Protocol::P2p(server)) = address.iter().last() else { return Err("no peer".into()) };
            connected(&node.bitswap, &server).await;
            let started = self.now()?;
            let session = node.bitswap.session(vec![server]);
            let cat = export::cat(&session, &self.root, Range::ALL).await?;
            let bytes =
                cat.content.try_fold(0, |sum, part| async move { Ok(sum + part.len() as u64) }).await?;
            store.sync().await?;
            assert_eq!(bytes, self.bytes);
            self.run_since(started)
        })?;
        drop(runtime);
        std::fs::remove_dir_all(to)?;
        Ok(run)
    }

    fn now(&self) -> Result<(Instant, f64), Failure> {
        Ok((Instant::now(), busy("self")? + busy(&self.child.id().to_string())?))
    }

    fn run_since(&self, (instant, before): (Instant, f64)) -> Result<Run, Failure> {
        let rate = self.bytes as f64 / 1e6 / instant.elapsed().as_secs_f64();
        Ok(Run { rate, busy: self.now()?.1 - before })
    }
}

/// Processor seconds of a process so far, user and system, from Linux's `/proc`.
fn busy(process: &str) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which is in parentheses, come the third field and the following.
    let fields = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn connected(bitswap: &Handle, peer: &PeerId) {
    while bitswap.traffic(peer).is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

struct Node {
    bitswap: Handle,
    peer: PeerId,
    address: Option<Multiaddr>,
}

/// A node with the transports as the real one sets them up.
async fn node(
    store: Arc<dyn BlockStore>,
    listen: Option<Multiaddr>,
    dial: Option<Multiaddr>,
) -> Result<Node, Failure> {
    let (behaviour, handle) = bitswap::start(store, Arc::new(NoFinder), Config::default());
    let muxer = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(4093);
        config
    };
    let windows = |mut config: quic::Config| {
        config.max_stream_data = 6 << 20;
        config.max_connection_data = 12 << 20;
        config
    };
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, muxer)?
        .with_quic_config(windows)
        .with_behaviour(|_| behaviour)?
        .build();
    let peer = *swarm.local_peer_id();
    if let Some(listen) = &listen {
        swarm.listen_on(listen.clone())?;
    }
    if let Some(dial) = dial {
        swarm.dial(dial)?;
    }
    let mut bound = None;
    while listen.is_some() && bound.is_none() {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            bound = Some(address);
        }
    }
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    Ok(Node { bitswap: handle, peer, address: bound })
}

/// The serving process: makes the file, adds it, and serves until its stdin is closed.
fn serve(dir: &Path, megabytes: usize) -> Result<(), Failure> {
    let file = dir.join("file");
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file)?);
    for _ in 0..megabytes * 1_000_000 / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.write_all(&state.to_le_bytes())?;
    }
    out.into_inner()?.sync_all()?;

    let runtime = tokio::runtime::Runtime::new()?;
    let nodes = runtime.block_on(async {
        let disk = DiskStore::open(&dir.join("server"), DiskOptions::default())?;
        let store: Arc<dyn BlockStore> = Arc::new(disk);
        let imported = import::path(&store, &file, &ImportOptions::default()).await?;
        println!("{}", imported.root);
        let mut nodes = Vec::new();
        for (_, listen, _) in TARGETS {
            let node = node(Arc::clone(&store), Some(listen.parse()?), None).await?;
            let address = node.address.clone().ok_or("not listening")?;
            println!("{}", address.with(Protocol::P2p(node.peer)));
            nodes.push(node);
        }
        Ok::<_, Failure>(nodes)
    })?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    std::thread::spawn(move || -> std::io::Result<()> {
        for stream in listener.incoming() {
            std::io::copy(&mut std::fs::File::open(&file)?, &mut stream?)?;
        }
        Ok(())
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(nodes);
    Ok(())
}
