//! More than one provider: all of them serve, one dies on the way, one has only half.

use super::{adit, adit_cat, assert_same, kubo, kubo_cat, over};
use crate::noise;
use adit_tests::{Kubo, Node, eventually};
use anyhow::{Context, Result};
use std::{fs, io::Read, process::Stdio, time::Duration};

/// What an Adit node received from each connected peer, by peer id.
fn received(adit: &Node) -> Result<Vec<(String, u64)>> {
    let peers = adit.json(&["swarm", "peers"])?;
    let peers = peers.as_array().context("a list")?;
    let read =
        |peer: &serde_json::Value| Some((peer["peer"].as_str()?.to_owned(), peer["bytes_in"].as_u64()?));
    Ok(peers.iter().filter_map(read).collect())
}

#[test]
fn one_of_several_providers_dies_midway() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    let content = noise(200_000_000, 31);
    fs::write(&path, &content)?;
    let mut givers = Vec::new();
    let mut cid = String::new();
    for _ in 0..3 {
        let giver = Kubo::start(&program, &["unixfs-v1-2025"], &[])?;
        cid = giver.add(&path, &[])?;
        givers.push(giver);
    }
    let adit = adit()?;
    for giver in &givers {
        adit.adit(&["swarm", "connect", &over(&giver.addresses()?, "tcp")?])?.expect(0)?;
    }
    let mut cat = adit.command(&["cat", &cid]);
    let mut child = cat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("a pipe")?;
    // What is not read is not fetched much further, so the transfer stands still here, however fast it is.
    let mut fetched = vec![0; content.len() / 5];
    stdout.read_exact(&mut fetched)?;
    let served = received(&adit)?;
    let of = |giver: &Kubo| -> Result<u64> {
        let id = giver.peer_id()?;
        Ok(served.iter().find(|(peer, _)| *peer == id).map_or(0, |(_, bytes)| *bytes))
    };
    let shares = givers.iter().map(of).collect::<Result<Vec<_>>>()?;
    let busiest = (0..givers.len()).max_by_key(|&giver| shares[giver]).context("a giver")?;
    assert!(shares[busiest] > 2_000_000, "{shares:?}");
    givers[busiest].kill()?;
    let reader = std::thread::spawn(move || stdout.read_to_end(&mut fetched).map(|_| fetched));
    eventually("the transfer ends", Duration::from_secs(60), || Ok(reader.is_finished().then_some(())))?;
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let fetched = reader.join().expect("no panic")?;
    assert_same(&fetched, &content, "from three providers, one of which died");
    Ok(())
}

/// Each of two peers has its half of the leaves; neither has all.
#[test]
fn peers_that_have_only_half() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    let content = noise(20_000_000, 32);
    fs::write(&path, &content)?;
    let givers = [Kubo::start(&program, &[], &[])?, Kubo::start(&program, &[], &[])?];
    let options = ["--cid-version=1", "--raw-leaves", "--chunker=size-262144", "--pin=false"];
    let mut cid = String::new();
    for (half, giver) in givers.iter().enumerate() {
        cid = giver.add(&path, &options)?;
        let leaves = giver.line(&["refs", &cid])?;
        let leaves: Vec<_> = leaves.lines().collect();
        assert!(leaves.len() > 70, "{leaves:?}");
        let others: Vec<_> = leaves.into_iter().skip(half).step_by(2).collect();
        giver.ipfs(&[&["block", "rm", "--quiet"], &others[..]].concat())?;
    }
    let adit = adit()?;
    for giver in &givers {
        adit.adit(&["swarm", "connect", &over(&giver.addresses()?, "quic-v1")?])?.expect(0)?;
    }
    assert_same(&adit_cat(&adit, &cid, 60)?, &content, "from two halves");

    // The other way round: a Kubo finds one half at Adit, the other at a Kubo.
    let half = self::adit()?;
    half.adit(&["swarm", "connect", &over(&givers[1].addresses()?, "tcp")?])?.expect(0)?;
    half.json(&["stat", &cid])?;
    for leaf in givers[1].line(&["refs", &cid])?.lines().step_by(2) {
        half.adit(&["cat", leaf])?.expect(0)?;
    }
    let taker = Kubo::start(&program, &[], &[])?;
    taker.ipfs(&["swarm", "connect", &over(&givers[0].addresses()?, "tcp")?])?;
    taker.ipfs(&["swarm", "connect", &over(&half.addresses()?, "tcp")?])?;
    assert_same(&kubo_cat(&taker, &cid, 60)?, &content, "from half an Adit and half a Kubo");
    Ok(())
}
