//! Peers that attack a node while an honest one works with it: what they cost the honest one, and the node.
//!
//! The attackers run in a process of their own, at the lowest priority: their work is that of other machines. What the
//! attack costs the node, it costs at the node's own priority.

mod attacks;
mod raw;
mod words;

use crate::{noise, programs};
use adit_tests::{Connection, Node, peak_memory};
use anyhow::{Context, Result, ensure};
use attacks::Target;
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The most memory that a node under attack may take.
const MEMORY: u64 = 512 << 20;
/// What a hundredth of the requests may take at least without an attack being blamed: the scheduler's own hiccups on a
/// machine of two processors.
const HICCUP: Duration = Duration::from_millis(10);
const UNDER_WAY: &str = "the attack is under way";

/// A process that attacks until it is dropped.
struct Attack(Child);

impl Attack {
    fn begin(kind: &str, on: &Node, here: &[String]) -> Result<Self> {
        let mut command = Command::new("nice");
        command.arg("-n19").arg(std::env::current_exe()?);
        command.args(["--exact", "hostile_peers::attacker", "--ignored", "--nocapture"]);
        let tcp =
            on.addresses()?.into_iter().find(|address| address.contains("/tcp/") && !address.contains("/ws"));
        command.env("ADIT_ATTACK", kind).env("ADIT_ATTACK_SWARM", tcp.context("a TCP address")?);
        command.env("ADIT_ATTACK_API", on.api()?.to_string()).env("ADIT_ATTACK_TOKEN", on.token()?);
        command.env("ADIT_ATTACK_CIDS", here.join(","));
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut attack = Attack(command.spawn()?);
        let lines = BufReader::new(attack.0.stdout.take().context("its output")?).lines();
        for line in lines {
            if line?.contains(UNDER_WAY) {
                return Ok(attack);
            }
        }
        anyhow::bail!("the attack {kind} did not get under way: {}", attack.0.wait()?);
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the process of an attack, started by the tests beside it"]
fn attacker() -> Result<()> {
    let told = |name: &str| std::env::var(name).with_context(|| name.to_owned());
    let cids = told("ADIT_ATTACK_CIDS")?;
    let here = cids.split(',').filter_map(|cid| Some(cid::Cid::try_from(cid).ok()?.to_bytes())).collect();
    let target = Target {
        swarm: told("ADIT_ATTACK_SWARM")?.parse()?,
        api: told("ADIT_ATTACK_API")?.parse()?,
        token: told("ADIT_ATTACK_TOKEN")?,
        here,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let under_way = Arc::new(AtomicUsize::new(0));
        let wanted = attacks::begin(&told("ADIT_ATTACK")?, &target, &under_way)?;
        while under_way.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{UNDER_WAY}");
        // Whoever started this kills it; if not, it does not stay for ever.
        tokio::time::sleep(Duration::from_secs(120)).await;
        Ok(())
    })
}

/// An honest pair: one node that has many small files, and one that fetches them.
struct Honest {
    host: Node,
    reader: Node,
    unread: VecDeque<(String, Vec<u8>)>,
    /// Files read in one phase.
    requests: usize,
}

impl Honest {
    fn start(files: usize, requests: usize) -> Result<Self> {
        let host = Node::start(&programs(), &[])?;
        let mut api = host.http()?;
        let mut unread = VecDeque::new();
        for number in 0..files {
            let content = noise(100_000, number as u64 + 1);
            let added = api.request("POST", "/api/v1/add?pin=false", None, &content)?.json()?;
            unread.push_back((added["cid"].as_str().context("a CID")?.to_owned(), content));
        }
        let reader = Node::start(&programs(), &[("swarm.bootstrap", &host.addresses()?.join(","))])?;
        Ok(Honest { host, reader, unread, requests })
    }

    /// Fetches files one after the other and gives the time that all but a hundredth of them took at most.
    fn p99(&mut self) -> Result<Duration> {
        let mut api = Connection::open(self.reader.api()?)?;
        api.bearer = Some(self.reader.token()?);
        let mut took = Vec::new();
        for _ in 0..self.requests {
            let (cid, content) = self.unread.pop_front().context("enough files")?;
            let start = Instant::now();
            let reply = api.get(&format!("/api/v1/cat/{cid}"))?;
            took.push(start.elapsed());
            ensure!(reply.body == content, "{}: {}", reply.status, String::from_utf8_lossy(&reply.body));
        }
        took.sort();
        Ok(took[self.requests - 1 - self.requests / 100])
    }

    /// The same while an attack goes on.
    fn during(&mut self, kind: &str, on_reader: bool) -> Result<Duration> {
        let here: Vec<_> = self.unread.iter().take(50).map(|(cid, _)| cid.clone()).collect();
        let _attack = Attack::begin(kind, if on_reader { &self.reader } else { &self.host }, &here)?;
        let p99 = self.p99().with_context(|| format!("during the attack {kind}"))?;
        let memory = self.memory()?;
        ensure!(memory <= MEMORY, "{kind}: a peak of {} MiB", memory >> 20);
        Ok(p99)
    }

    /// The most memory that either took so far, in bytes.
    fn memory(&self) -> Result<u64> {
        Ok(peak_memory(self.host.pid())?.max(peak_memory(self.reader.pid())?))
    }
}

/// Every attack, and whether it is on the node that reads rather than on the one that serves.
const ATTACKS: [(&str, bool); 7] = [
    ("wantlists", false),
    ("stalled", false),
    ("haves", true),
    ("unasked", true),
    ("identity", false),
    ("dht", false),
    ("cars", false),
];

/// Whatever others send, the honest one gets every byte, and nobody's memory grows. How long it takes is measured in the
/// soak test below, which runs alone.
#[test]
fn honest_peers_are_served_whatever_others_send() -> Result<()> {
    let mut honest = Honest::start(ATTACKS.len() * 40, 40)?;
    for (kind, on_reader) in ATTACKS {
        honest.during(kind, on_reader)?;
    }
    Ok(())
}

/// Each attack by itself, beside the same work without it.
#[test]
#[ignore = "soak: compares times, so nothing else may run"]
fn soak_honest_peers_are_served_in_time_whatever_others_send() -> Result<()> {
    let only = std::env::var("ADIT_ATTACK_ONLY").ok();
    // One attack alone is looked at for longer.
    let requests = if only.is_some() { 200 * ATTACKS.len() } else { 200 };
    let mut honest = Honest::start(2 * ATTACKS.len() * 200, requests)?;
    let mut failed = Vec::new();
    for (kind, on_reader) in
        ATTACKS.into_iter().filter(|(kind, _)| only.as_deref().is_none_or(|only| only == *kind))
    {
        let before = honest.p99()?;
        let during = honest.during(kind, on_reader)?;
        let memory = honest.memory()? >> 20;
        println!("{kind}: p99 {before:.1?} before, {during:.1?} during; peak memory {memory} MiB");
        if during > 2 * before.max(HICCUP) {
            failed.push(format!("{kind}: the p99 went from {before:.1?} to {during:.1?}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}
