//! IPNS between Adit and Kubo, in one DHT: published by either, resolved by the other.

use crate::programs;
use adit_tests::{Node, PrivateKubo, eventually};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes, once there is somebody to tell.
fn publish(node: &Node, words: &[&str]) -> Result<serde_json::Value> {
    node.json(&[&["name", "publish"], words].concat())
}

fn kubo_resolves(kubo: &PrivateKubo, name: &str, value: &str) -> Result<()> {
    eventually("Kubo resolves the name", PATIENCE, || {
        let output = kubo.command(&["name", "resolve", "--nocache", name]).output()?;
        Ok((String::from_utf8_lossy(&output.stdout).trim() == value).then_some(()))
    })
}

fn adit_resolves(node: &Node, name: &str, value: &str) -> Result<()> {
    eventually("Adit resolves the name", PATIENCE, || {
        let output = node.adit(&["name", "resolve", name])?;
        Ok((output.code == 0 && output.line() == value).then_some(()))
    })
}

#[test]
fn names_published_by_either_are_resolved_by_the_other() -> Result<()> {
    if !PrivateKubo::is_here()? {
        return Ok(());
    }
    let first = PrivateKubo::start(&[], None)?;
    let contact = first.addresses()?.into_iter().find(|a| a.contains("/tcp/")).context("an address")?;
    let second = PrivateKubo::start(std::slice::from_ref(&contact), None)?;
    let settings = [("swarm.dht", "lan"), ("swarm.bootstrap", contact.as_str()), ("host.cpus", "1")];
    let mut adit = Node::start(&programs(), &settings)?;
    let other = Node::start(&programs(), &settings)?;
    for node in [&adit, &other] {
        eventually("it knows the DHT", PATIENCE, || {
            let peers = node.json(&["swarm", "peers"])?;
            Ok((peers.as_array().map_or(0, Vec::len) >= 2).then_some(()))
        })?;
    }
    let path = adit.repository().with_extension("input");
    let mut cids = Vec::new();
    for text in ["one", "two", "three"] {
        std::fs::write(&path, text)?;
        cids.push(format!("/ipfs/{}", adit.add(&path)?));
    }

    // The node's own key, and a change of what it stands for.
    let published = publish(&adit, &[&cids[0], "--ttl", "1s"])?;
    let name = published["name"].as_str().context("a name")?.to_owned();
    ensure!(published["sequence"] == 0 && published["value"] == cids[0].as_str(), "{published}");
    kubo_resolves(&second, &name, &cids[0])?;
    kubo_resolves(&second, &adit.peer_id()?, &cids[0])?;
    adit_resolves(&other, &format!("/ipns/{name}"), &cids[0])?;
    let published = publish(&adit, &[&cids[1], "--ttl", "1s"])?;
    ensure!(published["sequence"] == 1, "{published}");
    kubo_resolves(&second, &name, &cids[1])?;
    adit_resolves(&other, &name, &cids[1])?;
    adit_resolves(&other, &format!("{name}/a/b"), &format!("{}/a/b", cids[1]))?;
    let read = other.adit(&["cat", &format!("/ipns/{name}")])?.expect(0)?;
    ensure!(read.line() == "two", "{read:?}");

    // A key of another name, which stands for the first name.
    let blog = adit.adit(&["key", "new", "blog"])?.expect(0)?.line();
    publish(&adit, &[&format!("/ipns/{name}"), "--key", "blog"])?;
    kubo_resolves(&second, &blog, &cids[1])?;
    adit_resolves(&other, &blog, &cids[1])?;
    ensure!(
        other.adit(&["name", "resolve", "--one-step", &blog])?.expect(0)?.line() == format!("/ipns/{name}")
    );
    adit.adit(&["name", "publish", &cids[0], "--key", "shop"])?.expect(3)?;
    adit.adit(&["name", "publish", "no path"])?.expect(2)?;

    // What Kubo publishes.
    let kept = second.add(b"of Kubo")?;
    second.ipfs(&["name", "publish", "--allow-offline", &format!("/ipfs/{kept}")])?;
    adit_resolves(&adit, &second.peer_id()?, &format!("/ipfs/{kept}"))?;

    // Published names survive `kill -9`, are told again, and their numbers go on.
    adit.kill()?;
    adit.launch()?;
    ensure!(adit.adit(&["name", "resolve", &name])?.expect(0)?.line() == cids[1]);
    let listed = adit.json(&["key", "ls"])?;
    ensure!(listed[0]["name"] == name.as_str() && listed[1]["name"] == blog.as_str(), "{listed}");
    let published = publish(&adit, &[&cids[2], "--ttl", "1s"])?;
    ensure!(published["sequence"] == 2, "{published}");
    kubo_resolves(&second, &name, &cids[2])?;
    adit_resolves(&other, &name, &cids[2])
}
