//! One DHT of Adit and Kubo nodes: twenty real processes that share only a Kubo node as first contact.

use crate::{noise, programs};
use adit_tests::{Node, PrivateKubo, eventually};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

const ADIT: usize = 16;
const KUBO: usize = 4;
/// Two processors carry all twenty.
const PATIENCE: Duration = Duration::from_secs(60);

struct Network {
    kubo: Vec<PrivateKubo>,
    adit: Vec<Node>,
}

/// Starts all nodes, each with one Kubo node as its only first contact.
fn network() -> Result<Network> {
    let first = PrivateKubo::start(&[], None)?;
    let contact: Vec<String> =
        first.addresses()?.into_iter().filter(|a| a.contains("/tcp/")).take(1).collect();
    ensure!(contact.len() == 1, "Kubo listens on TCP:\n{}", first.log());
    let mut kubo = vec![first];
    while kubo.len() < KUBO {
        kubo.push(PrivateKubo::start(&contact, None)?);
    }
    let settings = [("swarm.dht", "lan"), ("swarm.bootstrap", contact[0].as_str()), ("host.cpus", "1")];
    let adit = (0..ADIT).map(|_| Node::start(&programs(), &settings)).collect::<Result<_>>()?;
    Ok(Network { kubo, adit })
}

fn add(node: &Node, content: &[u8]) -> Result<String> {
    let path = node.repository().with_extension("input");
    std::fs::write(&path, content)?;
    node.add(&path)
}

/// Until an Adit node names this provider.
fn adit_finds(node: &Node, cid: &str, provider: &str) -> Result<()> {
    eventually("an Adit node finds the provider", PATIENCE, || {
        let found = node.adit(&["--json", "routing", "findprovs", cid])?;
        let found = if found.code == 0 { found.json()? } else { return Ok(None) };
        let named = found.as_array().context("a list")?.iter().any(|peer| peer["peer"] == provider);
        Ok(named.then_some(()))
    })
}

/// Until a Kubo node names this provider.
fn kubo_finds(node: &PrivateKubo, cid: &str, provider: &str) -> Result<()> {
    eventually("a Kubo node finds the provider", PATIENCE, || {
        let found = node.ipfs(&["routing", "findprovs", cid])?;
        Ok(found.lines().any(|line| line.trim() == provider).then_some(()))
    })
}

#[test]
fn twenty_nodes_of_two_kinds_are_one_dht() -> Result<()> {
    if !PrivateKubo::is_here()? {
        return Ok(());
    }
    let Network { mut kubo, mut adit } = network()?;

    // No Adit node was told of another: the rendezvous key in the Kubo nodes' DHT, and what neighbours tell, lead them
    // together.
    for node in &adit {
        eventually("every Adit node knows the others", PATIENCE, || {
            let known = node.json(&["node", "ls"])?;
            Ok((known.as_array().map_or(0, Vec::len) == ADIT - 1).then_some(()))
        })?;
    }

    // Announced by Adit, found and fetched by Kubo.
    let content = noise(300_000, 1);
    let cid = add(&adit[3], &content)?;
    let provider = adit[3].peer_id()?;
    kubo_finds(&kubo[2], &cid, &provider)?;
    adit_finds(&adit[12], &cid, &provider)?;
    let path = kubo[2].folder().join("fetched");
    kubo[2].ipfs(&["get", "-o", path.to_str().context("text")?, &cid])?;
    ensure!(std::fs::read(&path)? == content);

    // Announced by Kubo, found and fetched by Adit.
    let content = noise(300_000, 2);
    let cid = kubo[1].add(&content)?;
    kubo[1].ipfs(&["routing", "provide", &cid])?;
    let provider = kubo[1].peer_id()?;
    adit_finds(&adit[9], &cid, &provider)?;
    ensure!(adit[9].adit(&["cat", &cid])?.expect(0)?.stdout == content);

    // Announced again on request, by a node that fetched it; only what is here can be.
    let announced = adit[9].json(&["routing", "provide", &cid])?;
    ensure!(announced["cid"] == cid.as_str() && announced["heard"] == true, "{announced}");
    kubo_finds(&kubo[3], &cid, &adit[9].peer_id()?)?;
    adit[10]
        .adit(&["routing", "provide", "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"])?
        .expect(3)?;

    // Peers, both ways.
    let (seeker, sought) = (&adit[11], kubo[3].peer_id()?);
    let found = seeker.json(&["routing", "findpeer", &sought])?;
    ensure!(found["addresses"].as_array().is_some_and(|all| !all.is_empty()), "{found}");
    let sought = adit[5].peer_id()?;
    eventually("Kubo finds an Adit node", PATIENCE, || {
        let found = kubo[3].command(&["routing", "findpeer", &sought]).output()?;
        Ok((found.status.success() && !found.stdout.is_empty()).then_some(()))
    })?;
    adit[11]
        .adit(&["routing", "findpeer", "12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf"])?
        .expect(3)?;

    // The first contact dies; what is announced after that, and before, is found.
    let before = add(&adit[7], &noise(2000, 3))?;
    kubo_finds(&kubo[1], &before, &adit[7].peer_id()?)?;
    kubo[0].kill()?;
    let after = add(&adit[4], &noise(2000, 4))?;
    for cid in [(&before, &adit[7]), (&after, &adit[4])] {
        adit_finds(&adit[15], cid.0, &cid.1.peer_id()?)?;
        kubo_finds(&kubo[3], cid.0, &cid.1.peer_id()?)?;
    }

    // What an Adit node keeps for others survives `kill -9`: the records of all other nodes die with them, and the one
    // that comes back still knows who has the content.
    let keeper = &mut adit[15];
    keeper.kill()?;
    keeper.launch()?;
    let records = std::fs::metadata(keeper.repository().join("net/providers"))?.len();
    ensure!(records > 100, "{records} bytes of provider records");
    Ok(())
}
