//! How soon another node has what was just added.

use crate::{Bench, median, over, row, time};
use adit_tests::{Node, PrivateKubo, eventually};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const EACH: usize = 10;
const TURNS: usize = 9;
/// Who has nothing by then asks anew, as a user would.
const IMPATIENCE: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(60);

/// From the beginning of an add to the moment when a second node has the whole file, in one DHT of ten nodes of each
/// kind. Givers and takers change from turn to turn; the two kinds take turns, with content of their own.
///
/// Kubo gets its best case. Its add is told to announce before it returns (`--fast-provide-wait`): a taker that searches
/// before the announcement has arrived finds nobody and searches again only after a minute. And its taker leaves the
/// giver before: while connected, it asks the giver alone and hangs in three of four tries.
pub(crate) fn discoveries(bench: &Bench) -> Result<()> {
    let first = PrivateKubo::start(&[], None)?;
    let contact = vec![over(&first.addresses()?, "tcp")?];
    let mut kubo = vec![first];
    while kubo.len() < EACH {
        kubo.push(PrivateKubo::start(&contact, None)?);
    }
    let settings = [("swarm.dht", "lan"), ("swarm.bootstrap", contact[0].as_str()), ("host.cpus", "1")];
    let adit = (0..EACH).map(|_| Node::start(&bench.programs, &settings)).collect::<Result<Vec<_>>>()?;
    for node in &adit {
        eventually("every Adit node knows the others", LIMIT, || {
            let known = node.json(&["node", "ls"])?;
            Ok((known.as_array().map_or(0, Vec::len) == EACH - 1).then_some(()))
        })?;
    }
    let (mut ours, mut theirs, mut again) = (vec![], vec![], [0, 0]);
    for turn in 0..TURNS {
        let (giver, taker) = (turn % EACH, (turn + 4) % EACH);
        let path = bench.file("found", 1_000_000, 500 + turn as u64)?;
        let content = fs::read(&path)?;
        let start = Instant::now();
        let cid = adit[giver].add(&path)?;
        again[0] += until_there(|| adit[taker].command(&["cat", &cid]), &content)?;
        ours.push(start.elapsed().as_secs_f64());

        let path = bench.file("found", 1_000_000, 600 + turn as u64)?;
        let content = fs::read(&path)?;
        let peer = format!("/p2p/{}", kubo[giver].peer_id()?);
        // Fails where they are not connected, which is what is wanted.
        let _ = kubo[taker].ipfs(&["swarm", "disconnect", &peer]);
        let words = ["add", "-Q", "--cid-version=1", "--fast-provide-wait", path.to_str().context("text")?];
        let start = Instant::now();
        let cid = kubo[giver].ipfs(&words)?;
        again[1] += until_there(|| kubo[taker].command(&["cat", cid.trim()]), &content)?;
        theirs.push(start.elapsed().as_secs_f64());
    }
    let spread = |all: &[f64]| {
        let worst = all.iter().copied().fold(0.0, f64::max);
        let best = all.iter().copied().fold(f64::MAX, f64::min);
        format!("{best:.2} to {worst:.2} s")
    };
    let text = format!(
        "Adit {}, asked anew {} times; Kubo {}, asked anew {} times",
        spread(&ours),
        again[0],
        spread(&theirs),
        again[1]
    );
    let (adit, kubo) = (median(ours), median(theirs));
    row("1 MB added, until a second of 20 nodes has it", time(adit), time(kubo), kubo / adit, ">= 1");
    println!("  {TURNS} turns: {text}");
    Ok(())
}

/// Asks until the content is there; how often it had to be asked anew.
fn until_there(ask: impl Fn() -> Command, content: &[u8]) -> Result<usize> {
    let start = Instant::now();
    for again in 0.. {
        let out = tempfile::NamedTempFile::new()?;
        let mut asked = ask();
        asked.stdin(Stdio::null()).stdout(out.reopen()?).stderr(Stdio::null());
        let mut child = asked.spawn()?;
        let asked = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                if status.success() {
                    ensure!(fs::read(out.path())? == content, "other bytes came");
                    return Ok(again);
                }
                break;
            }
            if asked.elapsed() >= IMPATIENCE {
                child.kill()?;
                child.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if start.elapsed() >= LIMIT {
            bail!("nothing came within {} seconds", LIMIT.as_secs());
        }
    }
    unreachable!("the loop ends by itself")
}
