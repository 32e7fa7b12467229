//! Files between Adit and Kubo, over TCP and QUIC, of many sizes and chunks.

use super::{adit, adit_cat, assert_same, kubo, kubo_cat, over};
use crate::noise;
use adit_tests::Kubo;
use anyhow::Result;
use std::{fs, path::Path};

const CHUNKS: [usize; 3] = [64 << 10, 256 << 10, 1 << 20];

/// A Kubo gives to Adit, which gives to another Kubo that knows no one else.
fn there_and_on(program: &Path, transport: &str, files: &[(usize, usize)]) -> Result<()> {
    let (giver, adit) = (Kubo::start(program, &[], &[])?, adit()?);
    let taker = Kubo::start(program, &[], &[])?;
    adit.adit(&["swarm", "connect", &over(&giver.addresses()?, transport)?])?.expect(0)?;
    taker.ipfs(&["swarm", "connect", &over(&adit.addresses()?, transport)?])?;
    let folder = tempfile::tempdir()?;
    for (seed, (length, chunk)) in files.iter().enumerate() {
        let content = noise(*length, seed as u64 + 1);
        let path = folder.path().join("file");
        fs::write(&path, &content)?;
        let cid =
            giver.add(&path, &["--cid-version=1", "--raw-leaves", &format!("--chunker=size-{chunk}")])?;
        let what = format!("{length} bytes in chunks of {chunk} over {transport}");
        assert_same(&adit_cat(&adit, &cid, 60)?, &content, &format!("Kubo to Adit, {what}"));
        assert_same(&kubo_cat(&taker, &cid, 60)?, &content, &format!("Adit to Kubo, {what}"));
    }
    Ok(())
}

fn small() -> Vec<(usize, usize)> {
    let sizes = [0, 1, 100_000, 20_000_000];
    sizes.into_iter().flat_map(|size| CHUNKS.map(|chunk| (size, chunk))).collect()
}

#[test]
fn files_go_both_ways_over_tcp() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    there_and_on(&program, "tcp", &small())
}

#[test]
fn files_go_both_ways_over_quic() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    there_and_on(&program, "quic-v1", &small())
}

#[test]
fn two_hundred_megabytes_go_both_ways() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    for transport in ["tcp", "quic-v1"] {
        there_and_on(&program, transport, &[(200_000_000, 1 << 20)])?;
    }
    Ok(())
}

/// What Adit itself adds: Kubo understands its trees, whichever profile made them.
#[test]
fn what_adit_added_is_read_by_kubo() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let (adit, taker) = (adit()?, Kubo::start(&program, &[], &[])?);
    taker.ipfs(&["swarm", "connect", &over(&adit.addresses()?, "tcp")?])?;
    let folder = tempfile::tempdir()?;
    for (seed, length) in [0, 1, 100_000, 20_000_000, 50_000_000].into_iter().enumerate() {
        let content = noise(length, 100 + seed as u64);
        let path = folder.path().join("file");
        fs::write(&path, &content)?;
        for profile in ["unixfs-v1-2025", "legacy"] {
            let added = adit.json(&["add", path.to_str().unwrap(), "--profile", profile])?;
            let cid = added["cid"].as_str().unwrap();
            let what = format!("{length} bytes by {profile}");
            assert_same(&kubo_cat(&taker, cid, 60)?, &content, &what);
        }
    }
    Ok(())
}
