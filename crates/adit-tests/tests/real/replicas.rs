//! `adit pin add --replicas N`: copies on other nodes, placed, kept at that number, and let go.

use crate::network::{add, nodes};
use crate::{noise, programs};
use adit_tests::{Node, eventually};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

/// Everything that takes hours otherwise takes seconds here.
const QUICK: &[(&str, &str)] =
    &[("pins.accept", "anyone"), ("pins.check", "1s"), ("pins.grace", "4s"), ("pins.lease", "60s")];
const PATIENCE: Duration = Duration::from_secs(60);

/// How the copies of a root stand at its owner.
fn replicas(owner: &Node, cid: &str) -> Result<Value> {
    let pins = owner.json(&["pin", "show", cid])?;
    Ok(pins[0]["replicas"].clone())
}

/// The nodes that have a copy, as the owner says.
fn keepers(replicas: &Value) -> Vec<String> {
    let all = replicas["keepers"].as_array().cloned().unwrap_or_default();
    let keeping = all.iter().filter(|keeper| keeper["state"] == "keeping");
    keeping.filter_map(|keeper| keeper["node"].as_str().map(str::to_owned)).collect()
}

/// For whom a node keeps something.
fn kept_for(node: &Node, cid: &str) -> Result<Vec<String>> {
    let pins = node.json(&["pin", "ls"])?;
    let pins = pins.as_array().context("pins")?.iter().filter(|pin| pin["cid"] == cid);
    Ok(pins.filter_map(|pin| pin["kept_for"].as_str().map(str::to_owned)).collect())
}

#[test]
fn copies_are_placed_kept_at_their_number_and_let_go() -> Result<()> {
    let mut nodes = nodes(4, QUICK)?;
    // The first is whom the others know first, so it shall not be one of those that go away.
    let bootstrap = nodes[0].repository().to_owned();
    let mut owner = nodes.remove(1);
    let me = owner.peer_id()?;
    let cid = add(&owner, &noise(3_000_000, 30))?;
    let pinned = owner.json(&["pin", "add", &cid, "--replicas", "3"])?;
    ensure!(pinned["replicas"]["placed"] == 3 && pinned["replicas"]["wanted"] == 3, "{pinned}");
    let first = keepers(&pinned["replicas"]);
    ensure!(first.len() == 2 && first[0] != first[1] && !first.contains(&me), "{pinned}");
    let (mut with, without): (Vec<Node>, Vec<Node>) =
        nodes.into_iter().partition(|node| node.peer_id().is_ok_and(|id| first.contains(&id)));
    for node in &with {
        ensure!(kept_for(node, &cid)? == [me.clone()], "{}", node.json(&["pin", "ls"])?);
        // What is kept for others survives a collection.
        node.json(&["repo", "gc"])?;
    }

    // With the owner gone, everybody gets it.
    owner.kill()?;
    ensure!(without[0].adit(&["cat", &cid])?.expect(0)?.stdout == noise(3_000_000, 30));

    // Killed and started again, it goes on where it was: the copies are renewed.
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    owner.launch()?;
    eventually("the copies are renewed after a restart", PATIENCE, || {
        let replicas = replicas(&owner, &cid)?;
        let seen = |keeper: &Value| keeper["seen"].as_u64() > Some(before) && keeper["state"] == "keeping";
        let all = replicas["keepers"].as_array().context("keepers")?;
        Ok((all.len() == 2 && all.iter().all(seen)).then_some(()))
    })?;

    // One goes away for good: the node that had none takes its place.
    // (Not the one that the others know first.)
    let at = usize::from(with[0].repository() == bootstrap);
    let lost = with[at].peer_id()?;
    with[at].kill()?;
    let fourth = without[0].peer_id()?;
    eventually("another node takes the place of the one that is gone", PATIENCE, || {
        let replicas = replicas(&owner, &cid)?;
        let keepers = keepers(&replicas);
        let done = replicas["placed"] == 3 && keepers.contains(&fourth) && !keepers.contains(&lost);
        Ok(done.then_some(()))
    })?;
    let shown = owner.adit(&["pin", "show", &cid])?.expect(0)?.text();
    ensure!(shown.contains("3 of 3 copies") && shown.contains("gone") && shown.contains(&fourth), "{shown}");
    ensure!(kept_for(&without[0], &cid)? == std::slice::from_ref(&me));

    // When it comes back its copy is one too many.
    with[at].launch()?;
    eventually("the one that came back lets go", PATIENCE, || {
        Ok(kept_for(&with[at], &cid)?.is_empty().then_some(()))
    })?;
    eventually("the owner has forgotten it", PATIENCE, || {
        let replicas = replicas(&owner, &cid)?;
        Ok((!replicas.to_string().contains(&lost) && replicas["placed"] == 3).then_some(()))
    })?;

    // What an operator drops is replaced, by whoever is asked.
    without[0].adit(&["pin", "rm", &cid])?.expect(0)?;
    eventually("a copy that was dropped is placed again", PATIENCE, || {
        let replicas = replicas(&owner, &cid)?;
        Ok((replicas["placed"] == 3 && keepers(&replicas).contains(&lost)).then_some(()))
    })?;

    // Unpinned, nobody keeps it.
    owner.adit(&["pin", "rm", &cid])?.expect(0)?;
    for node in with.iter().chain(&without) {
        eventually("the copies are let go", PATIENCE, || Ok(kept_for(node, &cid)?.is_empty().then_some(())))?;
    }
    Ok(())
}

#[test]
fn who_refuses_is_named_with_the_reason_and_placing_goes_on() -> Result<()> {
    let owner = Node::start(&programs(), QUICK)?;
    let bootstrap = owner.addresses()?.join(",");
    let with = |key: &'static str, value: &'static str| {
        let mut settings: Vec<(&str, &str)> =
            QUICK.iter().copied().filter(|(given, _)| *given != key).collect();
        settings.extend([(key, value), ("swarm.bootstrap", bootstrap.as_str())]);
        Node::start(&programs(), &settings)
    };
    let others = [with("pins.accept", "self")?, with("pins.max-bytes", "1MiB")?];
    eventually("the owner knows the others", PATIENCE, || {
        let known = owner.json(&["node", "ls"])?;
        Ok((known.as_array().map_or(0, Vec::len) >= 2).then_some(()))
    })?;
    let cid = add(&owner, &noise(3_000_000, 31))?;
    let short = owner.adit(&["pin", "add", &cid, "--replicas", "2"])?;
    ensure!(short.code == 1, "{} {}", short.code, short.stderr);
    for part in
        ["1 of 2 copies", "pins.accept", "pins.max-bytes", &others[0].peer_id()?, &others[1].peer_id()?]
    {
        ensure!(short.stderr.contains(part), "standard error does not say {part}: {}", short.stderr);
    }
    let listed = owner.adit(&["pin", "ls"])?.expect(0)?.text();
    ensure!(listed.contains("1 of 2"), "{listed}");
    // Somebody who has room comes by.
    let willing = with("pins.max-bytes", "10MiB")?;
    eventually("the copy is placed when it can be", PATIENCE, || {
        Ok((keepers(&replicas(&owner, &cid)?) == [willing.peer_id()?]).then_some(()))
    })?;
    let many = owner.adit(&["pin", "add", &cid, "--replicas", "33"])?;
    ensure!(many.code != 0 && many.stderr.contains("1 to 32"), "{}", many.stderr);
    let named = owner.adit(&["pin", "add", &cid, "--name", "kept-for/me"])?;
    ensure!(named.code != 0 && named.stderr.contains("other nodes"), "{}", named.stderr);
    Ok(())
}

#[test]
fn what_is_not_renewed_expires() -> Result<()> {
    let settings =
        [("pins.accept", "anyone"), ("pins.check", "1s"), ("pins.grace", "4s"), ("pins.lease", "5s")];
    let mut nodes = nodes(2, &settings)?;
    let cid = add(&nodes[0], &noise(500_000, 32))?;
    nodes[0].json(&["pin", "add", &cid, "--replicas", "2"])?;
    let until = |node: &Node| Ok::<_, anyhow::Error>(node.json(&["pin", "ls"])?[0]["expires"].as_u64());
    let first = until(&nodes[1])?;
    ensure!(first.is_some(), "the copy has no end");
    eventually("it is renewed", PATIENCE, || Ok((until(&nodes[1])? > first).then_some(())))?;
    nodes[0].kill()?;
    eventually("it expires", PATIENCE, || Ok(kept_for(&nodes[1], &cid)?.is_empty().then_some(())))?;
    let collected = nodes[1].json(&["repo", "gc"])?;
    ensure!(collected["blocks_deleted"].as_u64() >= Some(1), "{collected}");
    ensure!(nodes[1].json(&["repo", "stat"])?["pins"] == 0);
    Ok(())
}
