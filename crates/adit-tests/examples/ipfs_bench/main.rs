//! Adit beside the real Kubo: the same files, the same machine, the same run, each by its own command line.
//!
//! Every figure is the median of a few rounds in which the two take turns. A ratio above 1 means that Adit is faster, or
//! takes less. Words on the command line choose parts: `add`, `transfer`, `memory`, `gc`, `dht`.

mod found;
mod garbage;

use adit_tests::{Kubo, Node, Programs, peer, processes_below};
use anyhow::{Context, Result};
use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const ROUNDS: usize = 3;
const BIG: usize = 200_000_000;
/// As long as either needs for what it does once, after its start or after work.
const REST: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let named: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let programs = Programs::from_env()?;
    let Some(kubo) = peer("ADIT_KUBO")? else { return Ok(()) };
    let bench = Bench { programs, kubo, folder: tempfile::tempdir()? };
    println!("{:<46} {:>12} {:>12} {:>7}  to reach", "what", "Adit", "Kubo", "ratio");
    type Part = fn(&Bench) -> Result<()>;
    let parts: [(&str, Part); 5] = [
        ("memory", memories),
        ("transfer", transfers),
        ("add", adds),
        ("gc", garbage::collections),
        ("dht", found::discoveries),
    ];
    for (name, part) in parts {
        if wanted(name) {
            part(&bench)?;
        }
    }
    Ok(())
}

struct Bench {
    programs: Programs,
    kubo: PathBuf,
    folder: tempfile::TempDir,
}

impl Bench {
    fn adit(&self) -> Result<Node> {
        let listen = "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1";
        Node::start(&self.programs, &[("swarm.listen", listen)])
    }

    fn kubo(&self) -> Result<Kubo> {
        Kubo::start(&self.kubo, &["unixfs-v1-2025"], &[])
    }

    fn file(&self, name: &str, length: usize, seed: u64) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        let mut file = BufWriter::with_capacity(1 << 20, fs::File::create(&path)?);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut left = length;
        while left > 0 {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            let part = left.min(8);
            file.write_all(&word[..part])?;
            left -= part;
        }
        file.flush()?;
        Ok(path)
    }
}

/// Each daemon is started from a copy of its program: what several processes of one file share would count for each of
/// them in part only, and the takers are Kubos too.
fn memories(bench: &Bench) -> Result<()> {
    let own = bench.folder.path().join("own");
    fs::create_dir(&own)?;
    for (program, name) in
        [(&bench.programs.adit, "adit"), (&bench.programs.enclave, "adit-enclave"), (&bench.kubo, "ipfs")]
    {
        fs::copy(program, own.join(name))?;
    }
    let own =
        Bench { programs: Programs::in_folder(&own), kubo: own.join("ipfs"), folder: tempfile::tempdir()? };
    let (adit, kubo) = (own.adit()?, own.kubo()?);
    Command::new("sync").status()?;
    std::thread::sleep(REST);
    let compare = |what: &str, ours: u64, theirs: u64| {
        row(what, mb(ours), mb(theirs), theirs as f64 / ours as f64, ">= 3");
    };
    compare("idle memory, all processes (PSS)", memory(adit.pid())?, memory(kubo.pid())?);
    let path = bench.file("served", BIG, 9)?;
    let (adit_cid, kubo_cid) = (adit.add(&path)?, kubo.add(&path, &[])?);
    std::thread::sleep(REST);
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let (adit_taker, kubo_taker) = (bench.kubo()?, bench.kubo()?);
        adit_taker.ipfs(&["swarm", "connect", &over(&adit.addresses()?, "tcp")?])?;
        kubo_taker.ipfs(&["swarm", "connect", &over(&kubo.addresses()?, "tcp")?])?;
        ours.extend(memory_during(adit.pid(), || adit_taker.ipfs(&["pin", "add", &adit_cid]).map(drop))?);
        theirs.extend(memory_during(kubo.pid(), || kubo_taker.ipfs(&["pin", "add", &kubo_cid]).map(drop))?);
    }
    let most = |all: &[f64]| all.iter().copied().fold(0.0, f64::max) as u64;
    compare("memory at its most while serving 200 MB (PSS)", most(&ours), most(&theirs));
    compare("memory while serving 200 MB, median (PSS)", median(ours) as u64, median(theirs) as u64);
    compare("memory right after that (PSS)", memory(adit.pid())?, memory(kubo.pid())?);
    std::thread::sleep(REST);
    compare("memory 20 s later (PSS)", memory(adit.pid())?, memory(kubo.pid())?);
    Ok(())
}

/// The memory of a daemon every 50 ms while something is done.
fn memory_during(pid: u32, work: impl FnOnce() -> Result<()> + Send) -> Result<Vec<f64>> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(work);
        let mut found = Vec::new();
        loop {
            found.push(memory(pid)? as f64);
            if worker.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        worker.join().expect("no panic")?;
        Ok(found)
    })
}

fn transfers(bench: &Bench) -> Result<()> {
    for transport in ["tcp", "quic-v1"] {
        let (mut adit, mut kubo, mut to_kubo, mut to_adit) = (vec![], vec![], vec![], vec![]);
        for round in 0..ROUNDS {
            let path = bench.file("big", BIG, round as u64 + 1)?;
            // New nodes each round: nobody has the file yet.
            let (giver, kubo_giver) = (bench.adit()?, bench.kubo()?);
            let cid = giver.add(&path)?;
            anyhow::ensure!(kubo_giver.add(&path, &[])? == cid, "the same file has the same CID");
            adit.push(adit_takes(bench, &over(&giver.addresses()?, transport)?, &cid)?);
            kubo.push(kubo_takes(bench, &over(&kubo_giver.addresses()?, transport)?, &cid)?);
            to_kubo.push(kubo_takes(bench, &over(&giver.addresses()?, transport)?, &cid)?);
            to_adit.push(adit_takes(bench, &over(&kubo_giver.addresses()?, transport)?, &cid)?);
        }
        let kubo = median(kubo);
        for (what, took, reach) in [
            ("Adit to Adit", median(adit), ">= 2"),
            ("Adit to Kubo", median(to_kubo), ">= 1"),
            ("Kubo to Adit", median(to_adit), ">= 1"),
        ] {
            let what = format!("200 MB over {transport}, {what} | Kubo to Kubo");
            row(&what, rate(BIG, took), rate(BIG, kubo), kubo / took, reach);
        }
    }
    Ok(())
}

/// Seconds until a new node has and holds the whole file.
fn adit_takes(bench: &Bench, from: &str, cid: &str) -> Result<f64> {
    let taker = bench.adit()?;
    taker.adit(&["swarm", "connect", from])?.expect(0)?;
    seconds(|| taker.adit(&["pin", "add", cid])?.expect(0).map(drop))
}

fn kubo_takes(bench: &Bench, from: &str, cid: &str) -> Result<f64> {
    let taker = bench.kubo()?;
    taker.ipfs(&["swarm", "connect", from])?;
    seconds(|| taker.ipfs(&["pin", "add", cid]).map(drop))
}

fn adds(bench: &Bench) -> Result<()> {
    let length = 1 << 30;
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let path = bench.file("big", length, 100 + round as u64)?;
        let (adit, kubo) = (bench.adit()?, bench.kubo()?);
        ours.push(seconds(|| adit.add(&path).map(drop))?);
        theirs.push(seconds(|| kubo.add(&path, &[]).map(drop))?);
    }
    let (adit, kubo) = (median(ours), median(theirs));
    row("add of 1 GiB", rate(length, adit), rate(length, kubo), kubo / adit, ">= 3");

    let tree = small_files(bench, 10_000)?;
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let (adit, kubo) = (bench.adit()?, bench.kubo()?);
        ours.push(seconds(|| adit.add(&tree).map(drop))?);
        theirs.push(seconds(|| kubo.add(&tree, &[]).map(drop))?);
    }
    let (adit, kubo) = (median(ours), median(theirs));
    row("add of 10,000 small files", time(adit), time(kubo), kubo / adit, ">= 3");
    Ok(())
}

/// A folder of files of about a kilobyte, no two alike.
fn small_files(bench: &Bench, count: usize) -> Result<PathBuf> {
    let root = bench.folder.path().join(format!("small{count}"));
    for number in 0..count {
        let folder = root.join((number % 100).to_string());
        if number < 100 {
            fs::create_dir_all(&folder)?;
        }
        fs::write(folder.join(number.to_string()), format!("{number} ").repeat(200))?;
    }
    Ok(root)
}

/// Memory of a process and all below it, shared pages counted once.
fn memory(pid: u32) -> Result<u64> {
    let mut pids = vec![pid];
    pids.extend(processes_below(pid).into_iter().map(|(pid, _)| pid));
    let mut sum = 0;
    for pid in pids {
        let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
        sum += line.trim().trim_end_matches(" kB").parse::<u64>()? << 10;
    }
    Ok(sum)
}

fn over(addresses: &[String], transport: &str) -> Result<String> {
    let found = addresses.iter().find(|address| address.split('/').any(|part| part == transport));
    found.cloned().with_context(|| format!("no address speaks {transport}"))
}

fn seconds(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    // What was written before is not to be paid for by what is measured.
    Command::new("sync").status()?;
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn rate(bytes: usize, seconds: f64) -> String {
    format!("{:.0} MB/s", bytes as f64 / 1e6 / seconds)
}

fn time(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

fn row(what: &str, ours: String, theirs: String, ratio: f64, reach: &str) {
    println!("{what:<46} {ours:>12} {theirs:>12} {ratio:>7.2}  {reach}");
}
