//! What an HTTP function does, beside the same component served by wasmtime and wasmtime-wasi-http as they come, in one
//! process and without a jail (`adit-peers`): requests a second, how long one takes, and the first request to a program
//! whose code is compiled but which has no worker. The load generator takes its share of the same processors.

use adit_tests::{Connection, Node, Programs};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long one side is asked at a time.
const TURN: Duration = Duration::from_secs(3);
const TURNS: usize = 3;
/// Workers of the node, and one program more, asked in turn: none finds its worker alive.
const WORKERS: usize = 2;
const COLD: usize = 200;
const HELLO: &[u8] = b"Hello from a function.\n";

fn main() -> Result<()> {
    let programs = Programs::from_env()?;
    let code = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/bin/http-showcase.wasm");
    let processors = std::thread::available_parallelism()?.get();
    // Clients at a time; as many workers, where functions may have all but one.
    let settings = [("http.listen", "127.0.0.1:0"), ("http.workers", "9")];
    let node = Node::start(&programs, &settings)?;
    let ours = publish(&node, &code, "/hello")?;
    let peer = Peer::start(&code)?;
    let sides = [(ours, "/hello"), (peer.address, "/")];

    println!("{:<52} {:>10} {:>10} {:>7}  to reach", "what", "Adit", "wasmtime", "ratio");
    for clients in [1, processors, 4 * processors] {
        let mut rates = [0.0; 2];
        let mut times = [Vec::new(), Vec::new()];
        for (address, path) in sides {
            load(address, path, clients, Duration::from_millis(500))?;
        }
        // Turn by turn, so that whatever else the machine does hits both.
        for _ in 0..TURNS {
            for (side, (address, path)) in sides.into_iter().enumerate() {
                let taken = load(address, path, clients, TURN)?;
                rates[side] += taken.len() as f64 / TURN.as_secs_f64() / TURNS as f64;
                times[side].extend(taken);
            }
        }
        let what = format!("warm, {clients} kept connections, requests/s");
        println!("{what:<52} {:>10.0} {:>10.0} {:>6.2}x  >= 0.8x", rates[0], rates[1], rates[0] / rates[1]);
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            let [ours, theirs] = times.each_mut().map(|times| percentile(times, part));
            println!("{:<52} {:>7.0} us {:>7.0} us", format!("  {name}"), us(ours), us(theirs));
        }
    }
    cold(&programs, &code)
}

/// The first request to a program whose code the enclave has compiled, and which has no worker.
fn cold(programs: &Programs, code: &Path) -> Result<()> {
    let workers = WORKERS.to_string();
    let settings = [("http.listen", "127.0.0.1:0"), ("http.workers", workers.as_str())];
    let node = Node::start(programs, &settings)?;
    let wasm = fs::read(code)?;
    let folder = tempfile::tempdir()?;
    let mut address = None;
    for number in 0..=WORKERS {
        // An empty custom section makes it another program, by its CID.
        let mut other = wasm.clone();
        other.extend_from_slice(&[0, 2, 1, b'a' + number as u8]);
        let path = folder.path().join("other.wasm");
        fs::write(&path, other)?;
        address = Some(publish(&node, &path, &format!("/{number}"))?);
    }
    let mut connection = Connection::open(address.context("published")?)?;
    // Apart from each other a worker without a program stands by; one after the other each waits for its own to start.
    let rhythms = [("apart", Duration::from_millis(50)), ("one after the other", Duration::ZERO)];
    for (rhythm, pause) in rhythms {
        let mut times = Vec::new();
        for round in 0..COLD + WORKERS + 1 {
            std::thread::sleep(pause);
            let began = Instant::now();
            let reply = connection.get(&format!("/{}", round % (WORKERS + 1)))?;
            ensure!(reply.status == 200 && reply.body == HELLO, "{reply:?}");
            // The first of each also compiles.
            if round > WORKERS {
                times.push(began.elapsed());
            }
        }
        let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
        let what = format!("cold, code compiled, {rhythm}, p50");
        println!("{what:<52} {:>7.0} us {:>10} {:>7}  <= 2000 us", us(p50), "-", "-");
        println!("{:<52} {:>7.0} us", "  p99", us(p99));
    }
    let mut spawns = Vec::new();
    for _ in 0..COLD {
        let began = Instant::now();
        Command::new("/bin/true").status()?;
        spawns.push(began.elapsed());
    }
    println!(
        "{:<52} {:>7.0} us",
        "for comparison: fork, exec and wait of /bin/true, p50",
        us(percentile(&mut spawns, 0.5))
    );
    Ok(())
}

fn publish(node: &Node, code: &Path, path: &str) -> Result<SocketAddr> {
    let code = code.to_str().context("text")?;
    node.adit(&["http", "publish", code, "--path", path])?.expect(0)?;
    let running: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(node.repository().join("api.json"))?)?;
    let address = running["functions"].as_str().context("no functions are served")?;
    Ok(address.trim_start_matches("http://").parse()?)
}

/// How long each request took, with every client on a connection of its own.
fn load(address: SocketAddr, path: &str, clients: usize, length: Duration) -> Result<Vec<Duration>> {
    let client = || -> Result<Vec<Duration>> {
        let mut connection = Connection::open(address)?;
        let mut times = Vec::new();
        let start = Instant::now();
        while start.elapsed() < length {
            let began = Instant::now();
            let reply = connection.get(path)?;
            ensure!(reply.status == 200 && reply.body == HELLO, "{reply:?}");
            times.push(began.elapsed());
        }
        Ok(times)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().expect("no panic")?);
        }
        Ok(all)
    })
}

fn percentile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part) as usize]
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The component under wasmtime alone.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    fn start(code: &Path) -> Result<Self> {
        let program = std::env::var_os("ADIT_SERVE_COMPONENT")
            .map(PathBuf::from)
            .context("ADIT_SERVE_COMPONENT is not set: run this with `cargo xtask bench http`")?;
        let mut child = Command::new(program).arg(code).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        let address = line.trim().parse();
        let peer = Peer { child, address: address.unwrap_or_else(|_| SocketAddr::from(([0; 4], 0))) };
        ensure!(peer.address.port() > 0, "the peer says {line:?}");
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
