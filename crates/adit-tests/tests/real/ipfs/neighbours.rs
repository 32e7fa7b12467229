//! What others know of an Adit node beside a Kubo: the Kubo's own word, and jobs that find their way by it.

use super::kubo;
use crate::{guest, programs};
use adit_tests::{Kubo, Node, PrivateKubo, eventually};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);

fn lines(count: usize, word: &str) -> Vec<u8> {
    (0..count).map(|n| format!("{word} {n}\n")).collect::<String>().into_bytes()
}

/// One check of `adit doctor`, once it says this.
fn doctor_says(node: &Node, name: &str, words: &str) -> Result<Value> {
    eventually(&format!("doctor says of {name}: {words}"), PATIENCE, || {
        let checks = node.adit(&["--json", "doctor"])?.json()?;
        let check = checks.as_array().context("checks")?.iter().find(|check| check["name"] == name).cloned();
        Ok(check.filter(|check| check["found"].as_str().is_some_and(|found| found.contains(words))))
    })
}

/// Runs `lines` over content and gives the job.
fn run(asker: &Node, cid: &str, more: &[&str]) -> Result<Value> {
    let data = format!("/in/data={cid}");
    let reply = asker.json(&[&["run", &guest("lines"), "--in", &data], more].concat())?;
    Ok(reply["job"].clone())
}

/// The demo's path, where only the provider record of a Kubo leads to the data.
#[test]
fn a_job_finds_the_node_beside_the_kubo_that_announced_its_input() -> Result<()> {
    if !PrivateKubo::is_here()? {
        return Ok(());
    }
    let first = PrivateKubo::start(&[], None)?;
    let contact = first.addresses()?.into_iter().find(|a| a.contains("/tcp/")).context("TCP")?;
    let mut kubo = PrivateKubo::start(std::slice::from_ref(&contact), None)?;
    let backend = format!("kubo=http://{}", kubo.api()?);
    let lan = [("swarm.dht", "lan"), ("swarm.bootstrap", contact.as_str()), ("host.cpus", "1")];
    let mut beside = Node::start(&programs(), &[&lan[..], &[("ipfs.backend", &backend)]].concat())?;
    let asker = Node::start(&programs(), &lan)?;
    let third = Node::start(&programs(), &lan)?;
    let (id, neighbour) = (kubo.peer_id()?, beside.peer_id()?);
    doctor_says(&beside, "alias", &format!("Kubo {id} signed that"))?;
    ensure!(beside.json(&["node", "status"])?["kubo"]["peer"] == id.as_str());
    for node in [&asker, &third] {
        eventually("others hear of it, signed", PATIENCE, || {
            let known = node.json(&["node", "ls"])?;
            let signed = known.as_array().context("nodes")?.iter();
            let signed: Vec<_> = signed.filter(|node| node["kubo"] == id.as_str()).cloned().collect();
            Ok((signed.len() == 1 && signed[0]["node"] == neighbour.as_str()).then_some(()))
        })?;
    }

    // Once added through the node beside it, which has Kubo announce it, and once at Kubo itself, where Kubo's record is the only one.
    let (mine, theirs) = (lines(300_000, "mine"), lines(300_000, "theirs"));
    let path = beside.repository().with_extension("input");
    fs::write(&path, &mine)?;
    let roots = [beside.add(&path)?, kubo.add(&theirs)?];
    kubo.ipfs(&["routing", "provide", &roots[1]])?;
    for root in &roots {
        let (found, all) = eventually("the asker finds Kubo's record", PATIENCE, || {
            let found = asker.adit(&["--json", "routing", "findprovs", root])?;
            let found = if found.code == 0 { found.json()? } else { return Ok(None) };
            let all = found.as_array().context("a list")?.clone();
            Ok(all.iter().find(|peer| peer["peer"] == id.as_str()).map(|kubo| (kubo.clone(), all.len())))
        })?;
        ensure!(found["nodes"] == serde_json::json!([neighbour]), "{found}");
        ensure!(*root == roots[0] || all == 1, "{all} records");
        let job = run(&asker, root, &[])?;
        ensure!(job["host"] == neighbour.as_str(), "{job}");
        let moved = job["stats"]["bytes_moved"].as_u64().context("bytes_moved")?;
        ensure!(moved < 1_000_000, "{moved} bytes moved");
        asker.adit(&["receipt", "verify", job["receipt"].as_str().context("a receipt")?])?.expect(0)?;
        let again = run(&asker, root, &[])?;
        ensure!(again["stats"]["remembered"] == true && again["host"] == neighbour.as_str(), "{again}");
    }

    // A copy elsewhere, and the first of them gone with its Kubo: the copy does.
    third.adit(&["pin", "add", &roots[0]])?.expect(0)?;
    beside.kill()?;
    kubo.kill()?;
    let job = run(&asker, &roots[0], &["--env", "ANOTHER=job"])?;
    ensure!(job["host"] == third.peer_id()?.as_str(), "{job}");
    ensure!(job["stats"]["remembered"] == false, "{job}");
    Ok(())
}

#[test]
fn a_kubo_with_an_rsa_key_signs_too() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let mut kubo = Kubo::init(&program, &[], &[])?;
    kubo.ipfs(&["key", "rotate", "--oldkey=before", "--type=rsa", "--size=2048"])?;
    kubo.launch()?;
    let id = kubo.line(&["config", "Identity.PeerID"])?;
    ensure!(id.starts_with("Qm"), "{id}");
    let node = Node::start(&programs(), &[("ipfs.backend", &format!("kubo=http://{}", kubo.api()?))])?;
    doctor_says(&node, "alias", &format!("Kubo {id} signed that"))?;
    // The whole way: it is advertised, and another node believes it.
    let bootstrap = node.addresses()?.join(",");
    let other = Node::start(&programs(), &[("swarm.bootstrap", &bootstrap)])?;
    eventually("another node believes it", PATIENCE, || {
        Ok((other.json(&["node", "ls"])?[0]["kubo"] == id.as_str()).then_some(()))
    })
}

#[test]
fn a_kubo_that_may_not_sign_costs_the_alias_alone() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let paths =
        ["block", "dag", "pin", "repo", "routing", "version", "id"].map(|path| format!("/api/v0/{path}"));
    let allowed = serde_json::json!({"adit": {"AuthSecret": "bearer:hush", "AllowedPaths": paths}});
    let kubo = Kubo::start(&program, &[], &[("API.Authorizations", &allowed.to_string())])?;
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("secret");
    fs::write(&secret, "Bearer hush\n")?;
    let (backend, secret) = (format!("kubo=http://{}", kubo.api()?), secret.to_str().context("text")?);
    let settings = [("ipfs.backend", backend.as_str()), ("ipfs.authorization-file", secret)];
    let node = Node::start(&programs(), &settings)?;
    let check = doctor_says(&node, "alias", "`key sign`")?;
    ensure!(check["verdict"] == "warn" && check["advice"].to_string().contains("key/sign"), "{check}");
    ensure!(node.log().contains("has not signed"), "{}", node.log());
    let path = folder.path().join("lines");
    fs::write(&path, lines(1000, "any"))?;
    let job = run(&node, &node.add(&path)?, &[])?;
    ensure!(job["state"] == "finished", "{job}");
    let status = node.json(&["node", "status"])?;
    ensure!(status["kubo"]["peer"].is_null() && status["kubo"]["silent_s"].is_null(), "{status}");
    Ok(())
}
