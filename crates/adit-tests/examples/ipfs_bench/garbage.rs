//! Collecting many small blocks.

use crate::{Bench, row, seconds, time};
use adit_unixfs::{Block, block::RAW, car};
use anyhow::{Context, Result, ensure};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

/// What the target names.
const MILLION: usize = 1_000_000;
/// What Kubo can collect in a minute or two. It removes a file for each block, so its time grows with their number: the
/// smaller figure is there to show that it does.
const KUBO: [usize; 2] = [20_000, 100_000];
const LENGTH: usize = 200;

/// Both take the same blocks in from a CAR, unpinned, and collect them: Kubo as many as it can in the time, Adit a
/// million as well. What Kubo would need for a million is reckoned from its larger figure, and said to be.
pub(crate) fn collections(bench: &Bench) -> Result<()> {
    let mut million = 0.0;
    for count in KUBO {
        let (ours, theirs) = (adit(bench, count)?, kubo(bench, count)?);
        row(&format!("collecting {count} small blocks"), time(ours), time(theirs), theirs / ours, ">= 5");
        million = theirs * MILLION as f64 / count as f64;
    }
    let ours = adit(bench, MILLION)?;
    let theirs = format!("{}*", time(million));
    row(&format!("collecting {MILLION} small blocks"), time(ours), theirs, million / ours, ">= 5");
    println!("* Kubo's time for {} blocks, times {}", KUBO[1], MILLION / KUBO[1]);
    Ok(())
}

fn adit(bench: &Bench, count: usize) -> Result<f64> {
    let path = blocks(bench, count)?;
    let adit = bench.adit()?;
    adit.adit(&["dag", "import", "--no-pin", path.to_str().context("text")?])?.expect(0)?;
    let mut removed = None;
    let took = seconds(|| {
        removed = adit.json(&["repo", "gc"])?["bytes_freed"].as_u64();
        Ok(())
    })?;
    ensure!(removed > Some((count * LENGTH) as u64), "Adit freed only {removed:?} bytes");
    Ok(took)
}

fn kubo(bench: &Bench, count: usize) -> Result<f64> {
    let path = blocks(bench, count)?;
    let kubo = bench.kubo()?;
    kubo.ipfs(&["dag", "import", "--local-only", "--silent", path.to_str().context("text")?])?;
    let mut left = usize::MAX;
    let took = seconds(|| kubo.ipfs(&["repo", "gc", "--quiet"]).map(drop))?;
    for line in String::from_utf8_lossy(&kubo.ipfs(&["repo", "stat"])?).lines() {
        if let Some(number) = line.strip_prefix("NumObjects:") {
            left = number.trim().parse()?;
        }
    }
    ensure!(left < 100, "Kubo left {left} blocks");
    Ok(took)
}

/// A CAR of blocks of which none leads to another.
fn blocks(bench: &Bench, count: usize) -> Result<PathBuf> {
    let path = bench.folder.path().join(format!("blocks{count}.car"));
    if path.exists() {
        return Ok(path);
    }
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    for number in 0..count {
        let block = Block::new(RAW, format!("{number:0LENGTH$}").into_bytes());
        if number == 0 {
            file.write_all(&car::header(&[block.cid]))?;
        }
        file.write_all(&car::section_prefix(&block.cid, block.data.len()))?;
        file.write_all(&block.data)?;
    }
    file.flush()?;
    Ok(path)
}
