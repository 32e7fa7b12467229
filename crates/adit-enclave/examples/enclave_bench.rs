//! What a job costs in the enclave and its workers, without node and network: `cargo xtask bench enclave`.
//!
//! The fake node of the tests stands in for the node; tasks are distinct and fresh, so nothing is remembered. Scans are
//! compared with the same WebAssembly under plain wasmtime on a host file, in the same run, one after the other.
//! `ADIT_ENCLAVE` names the program, `ADIT_PLAIN_WASMTIME` the peer (of `adit-peers`), `ADIT_BENCH_MIB` the size of the scan (1024 by default).

#[allow(unreachable_pub, reason = "shared by several programs")]
#[path = "../tests/fake_node/mod.rs"]
mod fake_node;

use adit_model::{Invocation, Signed, Task};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cid::Cid;
use fake_node::{Blocks, FakeNode, How, Session, task_on, unique};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const WARM_UP: usize = 500;
const JOBS: usize = 10_000;

fn main() -> Result<()> {
    let program = match std::env::var_os("ADIT_ENCLAVE") {
        Some(path) => PathBuf::from(path),
        None => {
            let here = std::env::current_exe()?;
            here.parent().and_then(Path::parent).context("no folder of programs")?.join("adit-enclave")
        }
    };
    println!("{:<58} {:>16} {:>16}", "", "measured", "to be reached");
    first_run(&program)?;
    warm(&program)?;
    throughput(&program)?;
    seek(&program)?;
    scan(&program)?;
    idle(&program)
}

fn row(what: &str, measured: impl std::fmt::Display, reach: &str) {
    println!("{what:<58} {measured:>16} {reach:>16}");
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_nanos() as f64 / 1e3)
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn guest_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guests/bin").join(name)
}

fn guest(name: &str) -> Result<Vec<u8>> {
    let path = guest_path(name);
    fs::read(&path).with_context(|| path.display().to_string())
}

fn at(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    samples[((samples.len() - 1) as f64 * share) as usize]
}

/// A tiny job on one kilobyte, all its blocks pushed, as the node does for small blocks at hand.
struct Tiny {
    blocks: Blocks,
    code: Cid,
    input: Cid,
}

impl Tiny {
    fn new() -> Result<Self> {
        let mut blocks = Blocks::default();
        let code = blocks.add_file(&guest("tiny.wasm")?);
        let input = blocks.add_file(&[7; 1024]);
        Ok(Tiny { blocks, code, input })
    }

    fn job(&self, node: &FakeNode) -> (Task, Signed<Invocation>) {
        let task = unique(task_on(self.code, self.input));
        let invocation = node.invoke(&task).into_signed();
        (task, invocation)
    }

    fn how(&self) -> How {
        let input: Bytes = self.blocks.memory[&self.input].clone();
        How { push: vec![(self.input, input)], ..How::default() }
    }

    fn run(&self, session: &mut Session, job: &(Task, Signed<Invocation>), how: &How) -> Duration {
        let began = Instant::now();
        session.start(&job.0, &job.1, how);
        let ended = session.serve(|cid| self.blocks.answer(cid)).0;
        let took = began.elapsed();
        assert_eq!(ended.success().exit(), 0);
        took
    }
}

fn first_run(program: &Path) -> Result<()> {
    let tiny = Tiny::new()?;
    let size = tiny.blocks.read(&tiny.code, "").len() >> 10;
    let mut samples = Vec::new();
    let mut compile = Vec::new();
    for _ in 0..5 {
        let mut node = FakeNode::start(program, &[], fake_node::hello());
        let mut session = node.session();
        let (task, invocation) = tiny.job(&node);
        let began = Instant::now();
        session.start(&task, &invocation, &tiny.how());
        let success = session.serve(|cid| tiny.blocks.answer(cid)).0.success();
        samples.push(began.elapsed());
        compile.push(Duration::from_micros(success.finished.stats.compile_us));
        node.end();
    }
    row(
        &format!("first run of a program of {size} KB, median of 5"),
        millis(at(&mut samples, 0.5)),
        "≤ 40 ms",
    );
    row("  of which compiling, process included", millis(at(&mut compile, 0.5)), "");
    Ok(())
}

fn warm(program: &Path) -> Result<()> {
    let tiny = Tiny::new()?;
    let mut node = FakeNode::start(program, &[], fake_node::hello());
    let mut session = node.session();
    let jobs: Vec<_> = (0..WARM_UP + JOBS).map(|_| tiny.job(&node)).collect();
    let how = tiny.how();
    let mut samples: Vec<_> =
        jobs.iter().map(|job| tiny.run(&mut session, job, &how)).skip(WARM_UP).collect();
    row("warm tiny job, 1 KB, two signatures, p50", micros(at(&mut samples, 0.5)), "≤ 100 µs");
    row("  p99", micros(at(&mut samples, 0.99)), "");

    let how = How::default();
    let jobs: Vec<_> = (0..JOBS / 5).map(|_| tiny.job(&node)).collect();
    let mut samples: Vec<_> = jobs.iter().map(|job| tiny.run(&mut session, job, &how)).collect();
    row("  the same with the block asked for, p50", micros(at(&mut samples, 0.5)), "");
    let job = tiny.job(&node);
    tiny.run(&mut session, &job, &how);
    let mut samples: Vec<_> = (0..JOBS / 5).map(|_| tiny.run(&mut session, &job, &how)).collect();
    row("  the same remembered, p50", micros(at(&mut samples, 0.5)), "");
    Ok(())
}

fn throughput(program: &Path) -> Result<()> {
    let tiny = Tiny::new()?;
    for count in [1, 2, 4] {
        let hello = adit_wire::control::Hello { workers: count as u32, ..fake_node::hello() };
        let mut node = FakeNode::start(program, &[], hello);
        let mut sessions: Vec<_> = (0..count).map(|_| node.session()).collect();
        let jobs: Vec<Vec<_>> =
            (0..count).map(|_| (0..JOBS / 2 + WARM_UP).map(|_| tiny.job(&node)).collect()).collect();
        let how = tiny.how();
        for (session, jobs) in sessions.iter_mut().zip(&jobs) {
            jobs[..WARM_UP].iter().for_each(|job| {
                tiny.run(session, job, &how);
            });
        }
        let began = Instant::now();
        std::thread::scope(|scope| {
            for (session, jobs) in sessions.iter_mut().zip(&jobs) {
                let (tiny, how) = (&tiny, &how);
                scope.spawn(move || {
                    jobs[WARM_UP..].iter().for_each(|job| {
                        tiny.run(session, job, how);
                    });
                });
            }
        });
        let rate = (count * JOBS / 2) as f64 / began.elapsed().as_secs_f64();
        let reach = if count == 2 { "≥ 12000/s" } else { "" };
        row(
            &format!("jobs a second, {count} sessions, load generator included"),
            format!("{rate:.0}/s"),
            reach,
        );
    }
    Ok(())
}

fn seek(program: &Path) -> Result<()> {
    let mut blocks = Blocks::default();
    let code = blocks.add_file(&guest("seek.wasm")?);
    let input = blocks.add_file(&vec![3; 100 << 20]);
    let mut node = FakeNode::start(program, &[], fake_node::hello());
    let task = Task { args: vec!["1000".into(), "52428800".into()], ..task_on(code, input) };
    let (ended, _) = node.session().run(&node, &blocks, &task, &How::default());
    let stats = ended.success().finished.stats;
    row("blocks fetched by one read in a file of 100", stats.blocks_read, "few");
    Ok(())
}

/// A file with lines of text, different in every block.
fn lines_file(folder: &Path, mib: u64) -> Result<PathBuf> {
    let path = folder.join("data");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let mut state = 1_u64;
    let mut block = Vec::with_capacity(1 << 20);
    for _ in 0..mib {
        block.clear();
        while block.len() < 1 << 20 {
            // An xorshift generator; lines of 8 to 71 letters.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.resize(block.len() + 8 + (state & 63) as usize, b'a' + (state >> 32) as u8 % 26);
            block.push(b'\n');
        }
        file.write_all(&block[..1 << 20])?;
    }
    file.into_inner()?.sync_all()?;
    Ok(path)
}

/// The same WebAssembly under plain wasmtime, reading the file through wasmtime-wasi, in a process of its own.
fn plain(wasm: &Path, folder: &Path) -> Result<Duration> {
    let program = std::env::var_os("ADIT_PLAIN_WASMTIME")
        .context("ADIT_PLAIN_WASMTIME does not name the peer: run this with `cargo xtask bench enclave`")?;
    let output = Command::new(program).arg(wasm).arg(folder).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "plain wasmtime ended with {}", output.status);
    Ok(Duration::from_nanos(String::from_utf8(output.stdout)?.trim().parse()?))
}

fn scan(program: &Path) -> Result<()> {
    let mib: u64 = std::env::var("ADIT_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    let folder = std::env::temp_dir().join(format!("adit-enclave-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = scan_in(program, &folder, mib);
    fs::remove_dir_all(&folder)?;
    let (plain, ours) = measured?;
    let rate = |time: Duration| format!("{:.0} MB/s", mib as f64 * 1.048_576 / time.as_secs_f64());
    row(&format!("line count of {mib} MiB, plain wasmtime, host file"), rate(plain), "");
    row("  in a jailed worker, every block verified", rate(ours), "");
    row(
        "  share of plain wasmtime",
        format!("{:.0} %", 100.0 * plain.as_secs_f64() / ours.as_secs_f64()),
        "≥ 85 %",
    );
    Ok(())
}

fn scan_in(program: &Path, folder: &Path, mib: u64) -> Result<(Duration, Duration)> {
    let path = lines_file(folder, mib)?;
    let wasm = guest("lines.wasm")?;
    let mut blocks = Blocks::default();
    let input = blocks.add_path(&path)?;
    let code = blocks.add_file(&wasm);
    let mut node = FakeNode::start(program, &[], fake_node::hello());
    let mut session = node.session();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        theirs.push(plain(&guest_path("lines.wasm"), folder)?);
        let task = unique(task_on(code, input));
        let (ended, _) = session.run(&node, &blocks, &task, &How::default());
        let stats = ended.success().finished.stats;
        ensure!(stats.bytes_read >= mib << 20, "all of it was read");
        ours.push(Duration::from_micros(stats.run_us));
    }
    Ok((at(&mut theirs, 0.5), at(&mut ours, 0.5)))
}

/// Memory of the enclave's processes, shared pages counted in part.
fn pss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

fn idle(program: &Path) -> Result<()> {
    let tiny = Tiny::new()?;
    let hello = adit_wire::control::Hello { idle_ms: 500, ..fake_node::hello() };
    let mut node = FakeNode::start(program, &[], hello);
    let mut session = node.session();
    for _ in 0..WARM_UP {
        let job = tiny.job(&node);
        tiny.run(&mut session, &job, &tiny.how());
    }
    node.wait_for_stats("letting the workers go", |stats| stats.workers_alive == 0);
    match pss(node.child.id()) {
        Some(kilobytes) => row(
            "idle enclave after jobs, PSS, no worker left",
            format!("{:.1} MB", kilobytes as f64 / 1e3),
            "≤ 60 MB, node included",
        ),
        None => row("idle enclave after jobs, PSS", "not permitted", "(run as root)"),
    }
    Ok(())
}
