//! Files between Adit and Helia, over TCP and WebSocket.

use super::{adit, adit_cat, assert_same, over};
use crate::noise;
use adit_tests::{Helia, Node, peer};
use anyhow::Result;
use std::fs;

const FILES: [(usize, usize); 6] = [
    (0, 1 << 20),
    (1, 1 << 20),
    (100_000, 64 << 10),
    (20_000_000, 64 << 10),
    (20_000_000, 256 << 10),
    (50_000_000, 1 << 20),
];

fn helia() -> Result<Option<Helia>> {
    Ok(peer("ADIT_HELIA")?.map(Helia))
}

/// Helia gives to Adit, and Adit gives what it adds itself to another Helia.
fn there_and_back(helia: &Helia, adit: &Node, transport: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (given, taken) = (folder.path().join("given"), folder.path().join("taken"));
    for (seed, (length, chunk)) in FILES.into_iter().enumerate() {
        let content = noise(length, 200 + seed as u64);
        fs::write(&given, &content)?;
        let serving = helia.serve(&given, chunk)?;
        adit.adit(&["swarm", "connect", &over(&serving.addresses, transport)?])?.expect(0)?;
        let what = format!("{length} bytes in chunks of {chunk} over {transport}");
        assert_same(&adit_cat(adit, &serving.cid, 60)?, &content, &format!("Helia to Adit, {what}"));
        drop(serving);
        let cid = adit.add(&given)?;
        helia.fetch(&over(&adit.addresses()?, transport)?, &cid, &taken, 60)?;
        assert_same(&fs::read(&taken)?, &content, &format!("Adit to Helia, {what}"));
    }
    Ok(())
}

#[test]
fn files_go_both_ways_over_tcp() -> Result<()> {
    let Some(helia) = helia()? else { return Ok(()) };
    there_and_back(&helia, &adit()?, "tcp")
}

#[test]
fn files_go_both_ways_over_websocket() -> Result<()> {
    let Some(helia) = helia()? else { return Ok(()) };
    there_and_back(&helia, &adit()?, "ws")
}
