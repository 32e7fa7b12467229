//! What an operator's denylist names is not served to anybody: by HTTP, to peers, to jobs; from the moment that it is
//! listed.

use crate::{guest, noise, programs};
use adit_tests::{Connection, Node, eventually};
use anyhow::{Context, Result, ensure};
use std::{fs, time::Duration};

/// Lists are looked at every five seconds.
const SOON: Duration = Duration::from_secs(30);

/// A node with a list that is empty, the list's path, and a file that the node holds.
fn node_with_a_list() -> Result<(tempfile::TempDir, Node, std::path::PathBuf, String)> {
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("mine.deny");
    fs::write(&list, "version: 1\nname: mine\n---\n# nothing yet\n")?;
    let lists = folder.path().to_str().context("text")?;
    let node = Node::start(&programs(), &[("deny.files", lists), ("gateway.listen", "127.0.0.1:0")])?;
    let file = folder.path().join("data");
    fs::write(&file, noise(3_000_000, 7))?;
    let cid = node.add(&file)?;
    Ok((folder, node, list, cid))
}

/// The status of the gateway's answer.
fn gateway(node: &Node, path: &str) -> Result<u16> {
    let text = fs::read_to_string(node.repository().join("api.json"))?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    let address = value["gateway"].as_str().context("a gateway")?.trim_start_matches("http://").parse()?;
    Ok(Connection::open(address)?.get(path)?.status)
}

#[test]
fn what_is_listed_while_the_node_runs_is_served_no_more() -> Result<()> {
    let (_folder, node, list, cid) = node_with_a_list()?;
    let peer = Node::start(&programs(), &[("swarm.bootstrap", &node.addresses()?.join(","))])?;
    let input = format!("/in/data={cid}");
    let path = format!("/ipfs/{cid}");
    ensure!(gateway(&node, &path)? == 200);
    node.adit(&["run", &guest("lines"), "--in", &input, "--fresh"])?.expect(0)?;

    fs::write(&list, format!("{path}\n"))?;
    eventually("the gateway says 410", SOON, || Ok((gateway(&node, &path)? == 410).then_some(())))?;
    ensure!(gateway(&node, &format!("{path}?format=raw"))? == 410, "raw blocks are served");
    let cat = node.adit(&["cat", &cid])?;
    ensure!(cat.code != 0 && cat.stderr.contains("denied by this node's operator"), "{}", cat.stderr);
    // Its own jobs, and others' that name it.
    let own = node.adit(&["run", &guest("lines"), "--in", &input, "--fresh"])?;
    ensure!(own.code > 100 && own.stderr.contains("denied by this node's operator"), "{}", own.stderr);
    let host = node.peer_id()?;
    let asked = ["run", &guest("lines"), "--in", &input, "--at", &host, "--timeout", "20s"];
    let others = peer.adit(&asked)?;
    ensure!(others.code > 100 && others.stderr.contains("does not use"), "{}", others.stderr);
    let old = node.http()?.request("POST", &format!("/api/v0/cat?arg={cid}"), None, b"")?;
    ensure!(old.status != 200 && old.body.len() < 1000, "/api/v0 serves it: {}", old.status);
    // A peer that asks for blocks gets none.
    let asked = format!("/api/v1/block/{cid}");
    let (api, token) = (peer.api()?, peer.token()?);
    let mut connection = Connection::open(api)?;
    connection.bearer = Some(token);
    let fetched = connection.get(&asked)?;
    ensure!(fetched.status != 200, "a peer got the block by bitswap");

    // An exception, appended: the last rule that matches decides.
    fs::write(&list, format!("{path}\n!{path}\n"))?;
    eventually("it is served again", SOON, || Ok((gateway(&node, &path)? == 200).then_some(())))?;
    ensure!(peer.adit(&["cat", &cid])?.expect(0)?.stdout == noise(3_000_000, 7));
    Ok(())
}

#[test]
fn a_path_may_be_denied_and_its_neighbour_served() -> Result<()> {
    let (folder, node, list, _) = node_with_a_list()?;
    let tree = folder.path().join("tree");
    fs::create_dir(&tree)?;
    for name in ["good", "bad", "badly"] {
        fs::write(tree.join(name), name)?;
    }
    let root = node.add(&tree)?;
    fs::write(&list, format!("/ipfs/{root}/bad*\n!/ipfs/{root}/badly\n"))?;
    let bad = format!("/ipfs/{root}/bad");
    eventually("the path is denied", SOON, || Ok((gateway(&node, &bad)? == 410).then_some(())))?;
    ensure!(gateway(&node, &format!("/ipfs/{root}/good"))? == 200);
    ensure!(gateway(&node, &format!("/ipfs/{root}/badly"))? == 200);
    Ok(())
}

#[test]
fn a_list_that_cannot_be_used_keeps_the_node_from_starting_but_not_from_running() -> Result<()> {
    let (_folder, mut node, list, cid) = node_with_a_list()?;
    let path = format!("/ipfs/{cid}");
    fs::write(&list, format!("{path}\n"))?;
    eventually("the gateway says 410", SOON, || Ok((gateway(&node, &path)? == 410).then_some(())))?;
    fs::write(&list, "version: 99\n---\n")?;
    eventually("the log says what is wrong", SOON, || {
        Ok(node.log().contains("the old rules stay").then_some(()))
    })?;
    ensure!(gateway(&node, &path)? == 410, "the rules that were there are gone");
    node.stop()?;
    let mut command = node.command(&["daemon"]);
    let output = command.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && stderr.contains("version 99"), "{stderr}");
    Ok(())
}
