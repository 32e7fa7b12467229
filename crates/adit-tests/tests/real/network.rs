//! Several nodes: jobs go to the data, bytes come by need, and a receipt is believed only when it verifies.

use crate::{endless, guest, noise, programs};
use adit_tests::{Node, eventually};
use anyhow::{Context, Result};
use std::{fs, time::Duration};

/// `count` nodes that know each other.
pub(crate) fn nodes(count: usize, settings: &[(&str, &str)]) -> Result<Vec<Node>> {
    let first = Node::start(&programs(), settings)?;
    let bootstrap = first.addresses()?.join(",");
    let mut nodes = vec![first];
    while nodes.len() < count {
        let mut all = settings.to_vec();
        all.push(("swarm.bootstrap", &bootstrap));
        nodes.push(Node::start(&programs(), &all)?);
    }
    for node in &nodes {
        eventually("every node knows the others", Duration::from_secs(30), || {
            let known = node.json(&["node", "ls"])?;
            Ok((known.as_array().map_or(0, Vec::len) >= count - 1).then_some(()))
        })?;
    }
    Ok(nodes)
}

pub(crate) fn add(node: &Node, content: &[u8]) -> Result<String> {
    let path = node.repository().with_extension("input");
    fs::write(&path, content)?;
    node.add(&path)
}

#[test]
fn a_file_crosses_from_node_to_node() -> Result<()> {
    let nodes = nodes(2, &[])?;
    let cid = add(&nodes[0], &noise(20_000_000, 1))?;
    assert_eq!(nodes[1].adit(&["cat", &cid])?.expect(0)?.stdout, noise(20_000_000, 1));
    Ok(())
}

#[test]
fn a_job_goes_to_the_data_and_the_data_stays() -> Result<()> {
    let nodes = nodes(3, &[])?;
    let cid = add(&nodes[2], &noise(30_000_000, 2))?;
    let reply = nodes[1].json(&["run", &guest("lines"), "--in", &format!("/in/data={cid}")])?;
    assert_eq!(reply["job"]["host"], nodes[2].peer_id()?.as_str(), "{reply}");
    let stats = &reply["job"]["stats"];
    assert!(stats["bytes_read"].as_u64() >= Some(30_000_000), "{stats}");
    assert!(stats["bytes_moved"].as_u64() < Some(1_000_000), "{stats}");
    let receipt = reply["job"]["receipt"].as_str().context("a receipt")?;
    nodes[1].adit(&["receipt", "verify", receipt])?.expect(0)?;
    // Whoever ran it counts it, and so does whoever asked.
    assert_eq!(reply["job"]["role"], "requester");
    let status = nodes[2].json(&["node", "status"])?;
    assert!(status.to_string().contains("\"run\":1"), "{status}");
    Ok(())
}

#[test]
fn a_job_falls_to_the_second_copy_when_the_first_host_is_gone() -> Result<()> {
    let mut nodes = nodes(3, &[])?;
    let cid = add(&nodes[0], &noise(5_000_000, 3))?;
    nodes[2].adit(&["pin", "add", &cid])?.expect(0)?;
    nodes[0].kill()?;
    let reply = nodes[1].json(&["run", &guest("lines"), "--in", &format!("/in/data={cid}")])?;
    assert_eq!(reply["job"]["host"], nodes[2].peer_id()?.as_str(), "{reply}");
    Ok(())
}

#[test]
fn a_node_that_accepts_only_its_own_jobs_says_so() -> Result<()> {
    let nodes = nodes(2, &[("host.accept", "self")])?;
    let cid = add(&nodes[0], &noise(1_000_000, 4))?;
    let peer = nodes[0].peer_id()?;
    let ran = nodes[1].adit(&["run", &guest("lines"), "--in", &format!("/in/data={cid}"), "--at", &peer])?;
    assert!(ran.code > 100, "{} {}", ran.code, ran.stderr);
    assert!(ran.stderr.contains("accept"), "names the rule: {}", ran.stderr);
    // Without `--at` the data is brought here instead.
    let reply = nodes[1].json(&["run", &guest("lines"), "--in", &format!("/in/data={cid}")])?;
    assert_eq!(reply["job"]["host"], nodes[1].peer_id()?.as_str(), "{reply}");
    assert!(reply["job"]["stats"]["bytes_moved"].as_u64() >= Some(1_000_000), "{reply}");
    Ok(())
}

#[test]
fn a_requester_that_disappears_leaks_nothing() -> Result<()> {
    let mut nodes = nodes(2, &[])?;
    let path = endless(&nodes[1])?;
    let peer = nodes[0].peer_id()?;
    let words = [
        "run",
        path.to_str().unwrap(),
        "--detach",
        "--at",
        &peer,
        "--timeout",
        "120s",
        "--fuel",
        "1000000000000000",
    ];
    nodes[1].json(&words)?;
    let busy = |node: &Node| -> Result<usize> {
        let jobs = node.json(&["job", "ls"])?;
        Ok(jobs.as_array().map_or(0, |jobs| jobs.iter().filter(|job| job["state"] == "running").count()))
    };
    eventually("the host runs it", Duration::from_secs(20), || Ok((busy(&nodes[0])? == 1).then_some(())))?;
    nodes[1].kill()?;
    eventually("the host gives it up", Duration::from_secs(60), || Ok((busy(&nodes[0])? == 0).then_some(())))
}
