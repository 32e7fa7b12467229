//! Delegated routing: a Kubo that is in no DHT asks an Adit gateway where content and peers are and what names stand for.

use super::{assert_same, kubo};
use crate::{noise, programs};
use adit_tests::{Kubo, Node, eventually};
use anyhow::{Context, Result, ensure};
use std::{fs, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_kubo_in_no_dht_finds_content_peers_and_names_through_an_adit_gateway() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    let content = noise(700_000, 61);
    fs::write(&path, &content)?;
    let holder = Node::start(&programs(), &[("host.cpus", "1")])?;
    let bootstrap = holder.addresses()?.join(",");
    // It finds, and has nothing itself.
    let settings = [("swarm.bootstrap", bootstrap.as_str()), ("gateway.fetch", "false"), ("host.cpus", "1")];
    let router = Node::start(&programs(), &settings)?;
    let cid = holder.add(&path)?;
    let published = holder.json(&["name", "publish", &cid])?;
    let name = published["name"].as_str().context("a name")?.to_owned();

    let routers = format!("[{:?}]", router.gateway()?);
    let publishers = format!("[{:?}]", format!("{}/routing/v1/ipns", router.gateway()?));
    let settings = [
        ("Routing.Type", r#""delegated""#),
        ("Routing.DelegatedRouters", routers.as_str()),
        ("Ipns.DelegatedPublishers", publishers.as_str()),
    ];
    let kubo = Kubo::start(&program, &["autoconf-off"], &settings)?;
    ensure!(kubo.line(&["swarm", "peers"])?.is_empty(), "it knows somebody");

    let peer = holder.peer_id()?;
    eventually("Kubo is told who has it", PATIENCE, || {
        let found = kubo.command(&["routing", "findprovs", &cid]).output()?;
        Ok(String::from_utf8_lossy(&found.stdout).contains(&peer).then_some(()))
    })?;
    let address = kubo.line(&["routing", "findpeer", &peer])?;
    let first = &holder.addresses()?[0];
    ensure!(address.contains(first.split("/p2p/").next().context("an address")?), "{address} lacks {first}");
    let resolved = kubo.line(&["name", "resolve", "--nocache", &format!("/ipns/{name}")])?;
    ensure!(resolved == format!("/ipfs/{cid}"), "{resolved}");
    assert_same(&kubo.ipfs(&["cat", &format!("/ipns/{name}")])?, &content, "through the name");

    // What Kubo publishes through the gateway is what other nodes resolve.
    let target = format!("/ipfs/{cid}");
    kubo.ipfs(&["name", "publish", "--allow-delegated", &target])?;
    eventually("another node knows the name", PATIENCE, || {
        let resolved = holder.adit(&["name", "resolve", &kubo.peer_id()?])?;
        Ok((resolved.code == 0 && resolved.line() == target).then_some(()))
    })
}
