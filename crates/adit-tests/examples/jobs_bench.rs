//! What a job costs, from outside: over the HTTP API of real daemons, load generator included.
//!
//! Every job has an input of its own, and results are not remembered. Beside each figure stands what was to be
//! reached, and a peer of the same run: the same request to `/livez` (HTTP alone) or `fork`+`exec` of a program.

use adit_tests::{Connection, Node, Programs, cpu_ticks, eventually, processes_below};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const JOBS: usize = 4000;
const LOAD: usize = 24_000;
const CONNECTIONS: usize = 4;
const IDLE: Duration = Duration::from_secs(45);

fn main() -> Result<()> {
    let named: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let programs = Programs::from_env()?;
    let settings = [("jobs.remember", "false"), ("host.queue", "64")];
    let here = Node::start(&programs, &settings)?;
    println!("{:<62} {:>12}  to reach", "what", "measured");
    if wanted("local") {
        local(&here)?;
    }
    if wanted("neighbour") {
        neighbour(&programs, &settings, &here)?;
    }
    if wanted("first") {
        let first = first_runs(&here)?;
        row("first run of a 30 KB program: fetch, compile, run; p50 of 20", us(first), "<= 40 ms");
    }
    if wanted("idle") {
        println!("(idle for {} s …)", IDLE.as_secs());
        idle(&here)?;
    }
    Ok(())
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/bin/tiny.wasm")
}

/// Jobs at the node that is asked.
fn local(here: &Node) -> Result<()> {
    let (code, inputs) = prepare(here, &tiny(), 0)?;
    let mut http = here.http()?;
    let livez = percentiles(JOBS, |_| http.get("/livez").map(drop))?;
    row("peer: GET /livez, kept connection, p50", us(livez.0), "-");
    let spawn = percentiles(200, |_| Ok(Command::new("/bin/true").status().map(drop)?))?;
    row("peer: fork, exec and wait of /bin/true, p50", us(spawn.0), "-");
    for input in inputs.iter().take(200) {
        run(&mut http, &code, input, "local")?;
    }
    let local = percentiles(JOBS, |at| run(&mut http, &code, &inputs[200 + at], "local"))?;
    row("warm job, tiny guest, 1 KB input, HTTP, p50", us(local.0), "<= 250 us");
    row("  p99", us(local.1), "<= 2 ms");
    row("  ratio to fork and exec of a program that does nothing, p50", ratio(local.0, spawn.0), "-");
    let rate = load(here, &code, &inputs)?;
    let what = format!("  {CONNECTIONS} connections at once, load generator included");
    row(&what, format!("{rate:.0} /s"), ">= 8000 /s");
    Ok(())
}

/// The neighbour holds the inputs; the job is asked for here and goes there.
fn neighbour(programs: &Programs, settings: &[(&str, &str)], here: &Node) -> Result<()> {
    let bootstrap = here.addresses()?.join(",");
    let mut settings = settings.to_vec();
    settings.push(("swarm.bootstrap", bootstrap.as_str()));
    let neighbour = Node::start(programs, &settings)?;
    eventually("the nodes know each other", Duration::from_secs(30), || {
        Ok(here.json(&["node", "ls"])?.as_array().is_some_and(|known| !known.is_empty()).then_some(()))
    })?;
    let (code, inputs) = prepare(&neighbour, &tiny(), 1)?;
    let mut http = here.http()?;
    for input in inputs.iter().take(100) {
        run(&mut http, &code, input, "cost")?;
    }
    let remote = percentiles(1000, |at| run(&mut http, &code, &inputs[100 + at], "cost"))?;
    row("the same at a neighbour on loopback, with bids, p50", us(remote.0), "<= 1.5 ms");
    row("  p99", us(remote.1), "-");
    Ok(())
}

fn row(what: &str, measured: impl std::fmt::Display, target: &str) {
    println!("{what:<62} {measured:>12}  {target}");
}

fn us(time: Duration) -> String {
    match time.as_micros() {
        micros @ ..10_000 => format!("{micros} us"),
        micros => format!("{:.1} ms", micros as f64 / 1000.0),
    }
}

fn ratio(a: Duration, b: Duration) -> String {
    format!("{:.2} x", a.as_secs_f64() / b.as_secs_f64())
}

/// p50 and p99 of `count` calls, one after another.
fn percentiles(count: usize, mut call: impl FnMut(usize) -> Result<()>) -> Result<(Duration, Duration)> {
    let mut times = Vec::with_capacity(count);
    for at in 0..count {
        let start = Instant::now();
        call(at)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[count / 2], times[count * 99 / 100]))
}

/// Adds the guest, and a folder of distinct inputs of 1 KB; returns their CIDs.
fn prepare(node: &Node, guest: &Path, seed: usize) -> Result<(String, Vec<String>)> {
    let folder = tempfile::tempdir()?;
    for at in 0..JOBS + 1000 {
        let text = format!("{seed} {at} ").repeat(300);
        fs::write(folder.path().join(format!("{at:06}")), &text.as_bytes()[..1024])?;
    }
    let root = node.add(folder.path())?;
    let list = node.json(&["ls", &root])?;
    let list = list.as_array().context("`adit ls` lists nothing")?;
    let inputs = list.iter().filter_map(|entry| entry["cid"].as_str().map(str::to_owned)).collect();
    Ok((node.add(guest)?, inputs))
}

fn run(http: &mut Connection, code: &str, input: &str, place: &str) -> Result<()> {
    let body =
        format!(r#"{{"code":"{code}","inputs":{{"/in/data":"{input}"}},"place":"{place}","fresh":true}}"#);
    let reply = http.post_json("/api/v1/run", body.as_bytes())?;
    ensure!(reply.status == 200, "status {}: {}", reply.status, String::from_utf8_lossy(&reply.body));
    ensure!(reply.body.windows(4).any(|four| four == b"1024"), "{}", String::from_utf8_lossy(&reply.body));
    Ok(())
}

/// Jobs a second over several connections, each with a thread of its own.
fn load(node: &Node, code: &str, inputs: &[String]) -> Result<f64> {
    let start = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|thread| {
                scope.spawn(move || -> Result<()> {
                    let mut http = node.http()?;
                    for at in 0..LOAD / CONNECTIONS {
                        run(&mut http, code, &inputs[(thread + at * CONNECTIONS) % inputs.len()], "local")?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a load thread does not panic")?;
        }
        Ok(())
    })?;
    Ok(LOAD as f64 / start.elapsed().as_secs_f64())
}

/// Each run has a program that nobody has seen: the same code with a section of its own at the end.
fn first_runs(node: &Node) -> Result<Duration> {
    let lines = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/bin/lines.wasm"))?;
    println!("(the program has {} bytes)", lines.len());
    let folder = tempfile::tempdir()?;
    let mut codes = Vec::new();
    for at in 0..20u8 {
        let path = folder.path().join("program.wasm");
        // A custom section: id 0, length 3, a name of one byte, one byte of content.
        let bytes = [&lines[..], &[0, 3, 1, b'n', at]].concat();
        fs::write(&path, bytes)?;
        codes.push(node.add(&path)?);
    }
    let input = folder.path().join("input");
    fs::write(&input, "1024\n".repeat(1024))?;
    let input = node.add(&input)?;
    let mut http = node.http()?;
    Ok(percentiles(20, |at| run(&mut http, &codes[at], &input, "local"))?.0)
}

/// Memory and processor time of all processes of one node, with nothing to do.
fn idle(node: &Node) -> Result<()> {
    std::thread::sleep(IDLE);
    let family = || {
        let mut pids: Vec<u32> = processes_below(node.pid()).into_iter().map(|(pid, _)| pid).collect();
        pids.push(node.pid());
        pids
    };
    let before: u64 = family().iter().map(|pid| cpu_ticks(*pid)).sum();
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(15));
    let after: u64 = family().iter().map(|pid| cpu_ticks(*pid)).sum();
    let percent = after.saturating_sub(before) as f64 / start.elapsed().as_secs_f64();
    let pss: u64 = family().iter().map(|pid| pss(*pid)).sum();
    row(
        &format!("idle: all {} processes of one node, PSS", family().len()),
        format!("{:.1} MB", pss as f64 / 1024.0),
        "<= 60 MB",
    );
    // A tick is a hundredth of a second, so ticks a second are percent.
    row("  processor", format!("{percent:.2} %"), "<= 1 %");
    Ok(())
}

/// Proportional set size in KiB.
fn pss(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
