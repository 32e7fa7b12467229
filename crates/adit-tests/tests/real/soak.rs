//! The long runs (`cargo xtask soak`): big files, many blocks, many crashes. Each prints what it measured.

use crate::{endless, guest, noise, programs};
use adit_tests::{Finished, Node, cpu_ticks, peak_memory};
use adit_unixfs::{Block, block::RAW, car};
use anyhow::{Context, Result, ensure};
use std::{
    fs::File,
    io::{BufWriter, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const GIB: u64 = 1 << 30;

/// Fails with a clear message where the disk is too full for the test, before it has filled it.
fn needs_disk(folder: &Path, bytes: u64) -> Result<()> {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(folder).output().context("df")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let free: u64 = text.lines().last().unwrap_or_default().trim().parse().context(text.clone())?;
    ensure!(
        free >= bytes,
        "this needs {} GiB of free disk, and {} has {}",
        bytes / GIB,
        folder.display(),
        free / GIB
    );
    Ok(())
}

#[test]
#[ignore = "soak: writes 10 GiB"]
fn soak_ten_gib_go_in_and_out_in_little_memory() -> Result<()> {
    const LENGTH: u64 = 10 * GIB;
    let node = Node::start(&programs(), &[])?;
    needs_disk(node.repository(), LENGTH + 2 * GIB)?;
    // A stream that does not repeat: one piece of noise, with its number at every block's start.
    let piece = |number: u64, bytes: &mut [u8]| {
        for (at, block) in bytes.chunks_mut(1 << 16).enumerate() {
            block[..16].copy_from_slice(&(u128::from(number) << 64 | at as u128).to_le_bytes());
        }
    };
    let mut command = node.command(&["--json", "add", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut pipe = child.stdin.take().context("a pipe")?;
    let start = Instant::now();
    let mut bytes = noise(1 << 20, 1);
    for number in 0..LENGTH >> 20 {
        piece(number, &mut bytes);
        pipe.write_all(&bytes).context("the add ended early")?;
    }
    drop(pipe);
    let added = Finished::of(&command, child.wait_with_output()?).expect(0)?.json()?;
    let took = start.elapsed();
    let cid = added["cid"].as_str().context("a cid")?;
    ensure!(added["bytes"] == LENGTH, "{added}");
    let peak_in = peak_memory(node.pid())?;

    let start = Instant::now();
    let mut child = node.command(&["cat", cid]).stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().context("a pipe")?;
    let mut got = vec![0; 1 << 20];
    for number in 0..LENGTH >> 20 {
        pipe.read_exact(&mut got)?;
        piece(number, &mut bytes);
        ensure!(got == bytes, "MiB {number} is not what was added");
    }
    ensure!(pipe.read(&mut got)? == 0 && child.wait()?.success());
    let peak = peak_memory(node.pid())?;
    println!(
        "10 GiB: in at {:.0} MB/s with a peak of {} MiB, out at {:.0} MB/s with a peak of {} MiB",
        LENGTH as f64 / 1e6 / took.as_secs_f64(),
        peak_in >> 20,
        LENGTH as f64 / 1e6 / start.elapsed().as_secs_f64(),
        peak >> 20
    );
    ensure!(peak_in <= 100_000_000, "a peak of {} MiB on the way in", peak_in >> 20);
    ensure!(peak <= 128 << 20, "a peak of {} MiB", peak >> 20);
    Ok(())
}

#[test]
#[ignore = "soak: a million blocks"]
fn soak_a_restart_with_a_million_blocks_is_quick() -> Result<()> {
    const BLOCKS: u64 = 1_000_000;
    let mut node = Node::start(&programs(), &[])?;
    needs_disk(node.repository(), 2 * GIB)?;
    let path = node.repository().with_extension("car");
    let mut file = BufWriter::new(File::create(&path)?);
    file.write_all(&car::header(&[]))?;
    for number in 0..BLOCKS {
        let block = Block::new(RAW, format!("block {number} of a million").into_bytes());
        file.write_all(&car::section_prefix(&block.cid, block.data.len()))?;
        file.write_all(&block.data)?;
    }
    file.into_inner()?.sync_all()?;
    let start = Instant::now();
    node.adit(&["dag", "import", path.to_str().context("text")?])?.expect(0)?;
    let imported = start.elapsed();
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        node.kill()?;
        let start = Instant::now();
        node.launch()?;
        let (took, ticks) = (start.elapsed(), cpu_ticks(node.pid()));
        println!("restarted in {took:.2?}, {} ms of it on a processor", ticks * 10);
        slowest = slowest.max(took);
        let stat = node.json(&["repo", "stat"])?;
        ensure!(stat["blocks"].as_u64() >= Some(BLOCKS), "{stat}");
    }
    let peak = peak_memory(node.pid())?;
    let start = Instant::now();
    let collected = node.json(&["repo", "gc"])?;
    ensure!(collected["blocks_deleted"].as_u64() >= Some(BLOCKS), "{collected}");
    println!(
        "a million blocks: imported in {imported:.1?}, restarted in {slowest:.2?} at most ({} MiB), collected in {:.1?}",
        peak >> 20,
        start.elapsed()
    );
    ensure!(slowest < Duration::from_secs(5), "a restart took {slowest:?}");
    Ok(())
}

/// What runs while the daemon is killed: one process of each kind, started anew as they end.
struct Bustle {
    adding: Option<(u64, Command, Child)>,
    others: Vec<Child>,
}

#[test]
#[ignore = "soak: fifty crashes"]
fn soak_nothing_acknowledged_is_lost_in_fifty_crashes() -> Result<()> {
    const CRASHES: u64 = 50;
    let mut node = Node::start(&programs(), &[])?;
    let loops = endless(&node)?;
    let loops = loops.to_str().context("text")?.to_owned();
    let echo = guest("echo");
    let content = |seed: u64| noise(200_000 + (seed % 7) as usize * 700_000, seed);
    // Added and pinned, as far as somebody was told so.
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    let (mut seed, mut slowest) = (0, Duration::ZERO);
    for crash in 0..CRASHES {
        let random = u64::from_le_bytes(noise(8, 1000 + crash).try_into().expect("eight bytes"));
        let moment = Duration::from_millis(20 + random % 700);
        let start = Instant::now();
        let mut bustle = Bustle { adding: None, others: Vec::new() };
        let quiet = |words: &[&str]| -> Result<Child> {
            Ok(node.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
        };
        while start.elapsed() < moment {
            if bustle.adding.is_none() {
                let path = node.repository().with_extension(format!("in{}", seed % 4));
                std::fs::write(&path, content(seed))?;
                let mut command = node.command(&["--json", "add", path.to_str().context("text")?]);
                let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
                bustle.adding = Some((seed, command, child));
                seed += 1;
            }
            bustle.others.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            if bustle.others.len() < 3 {
                bustle.others.push(match (random + seed) % 4 {
                    0 => quiet(&["repo", "gc"])?,
                    1 => quiet(&["run", &echo, "--fresh"])?,
                    2 => quiet(&["run", &loops, "--detach", "--timeout", "2s"])?,
                    _ => match acknowledged.get(random as usize % acknowledged.len().max(1)) {
                        Some((cid, _)) => quiet(&["pin", "add", cid, "--name", "again"])?,
                        None => quiet(&["repo", "stat"])?,
                    },
                });
            }
            if let Some((_, _, child)) = &mut bustle.adding
                && child.try_wait()?.is_some()
            {
                let (seed, command, child) = bustle.adding.take().context("an add")?;
                note(&mut acknowledged, Finished::of(&command, child.wait_with_output()?), seed)?;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        node.kill()?;
        if let Some((seed, command, child)) = bustle.adding {
            note(&mut acknowledged, Finished::of(&command, child.wait_with_output()?), seed)?;
        }
        for mut child in bustle.others {
            child.kill()?;
            child.wait()?;
        }
        let start = Instant::now();
        node.launch()?;
        slowest = slowest.max(start.elapsed());
        ensure!(start.elapsed() < Duration::from_secs(5), "restart {crash} took {:?}", start.elapsed());
        let verified = node.json(&["repo", "verify"])?;
        ensure!(verified["corrupt"] == serde_json::json!([]), "after crash {crash}: {verified}");
        ensure!(verified["incomplete"] == serde_json::json!([]), "after crash {crash}: {verified}");
        let mut api = node.http()?;
        for (cid, seed) in &acknowledged {
            let reply = api.get(&format!("/api/v1/cat/{cid}"))?;
            ensure!(reply.body == content(*seed), "{cid} after crash {crash}: {}", reply.status);
        }
        node.adit(&["run", &echo, "--fresh"])?.expect(0)?;
    }
    ensure!(acknowledged.len() >= 50, "only {} adds were acknowledged", acknowledged.len());
    println!("{CRASHES} crashes, {} adds acknowledged, slowest restart {slowest:.2?}", acknowledged.len());
    Ok(())
}

fn note(acknowledged: &mut Vec<(String, u64)>, finished: Finished, seed: u64) -> Result<()> {
    if finished.code == 0 {
        let cid = finished.json()?["cid"].as_str().context("a cid")?.to_owned();
        acknowledged.push((cid, seed));
    }
    Ok(())
}
