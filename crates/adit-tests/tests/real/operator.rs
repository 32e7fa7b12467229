//! What an operator can set under `host.*`: each shown by a refusal, with its reason in `adit job show` of whoever asked,
//! and by what is still accepted.

use crate::{endless, guest, noise, programs};
use adit_tests::{Node, eventually};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, time::Duration};

/// A host with these settings, and somebody who asks it for something.
struct Pair {
    host: Node,
    requester: Node,
    peer: String,
}

impl Pair {
    fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let requester = Node::start(&programs(), &[])?;
        Self::with(requester, settings)
    }

    /// The same for a requester that is known already.
    fn with(requester: Node, settings: &[(&str, &str)]) -> Result<Self> {
        let host = Node::start(&programs(), settings)?;
        let peer = host.peer_id()?;
        connect(&requester, &host)?;
        Ok(Pair { host, requester, peer })
    }

    /// Asks the host for a job that it must refuse: the reason stands on standard error and in `adit job show`.
    fn refused(&self, words: &[&str], reason: &str) -> Result<()> {
        let ran = self.requester.adit(&self.at_the_host(words))?;
        ensure!(ran.code > 100, "{words:?} ended with {}: {}", ran.code, ran.stderr);
        ensure!(ran.stderr.contains(reason), "standard error does not say {reason:?}: {}", ran.stderr);
        let job = &self.requester.json(&["job", "ls", "--limit", "1"])?[0];
        let id = job["id"].as_str().context("a job")?;
        let shown: Value = self.requester.json(&["job", "show", id])?;
        let attempt = shown["attempts"].as_array().and_then(|all| all.last()).context("an attempt")?;
        ensure!(attempt["node"] == self.peer.as_str() && attempt["result"] == "refused", "{shown}");
        ensure!(attempt["reason"].as_str().is_some_and(|text| text.contains(reason)), "{shown}");
        let text = self.requester.adit(&["job", "show", id])?.expect(0)?.text();
        ensure!(text.contains(reason), "job show does not say {reason:?}: {text}");
        Ok(())
    }

    fn accepted(&self, words: &[&str]) -> Result<()> {
        self.requester.adit(&self.at_the_host(words))?.expect(0)?;
        Ok(())
    }

    fn at_the_host<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [&["run", "--at", &self.peer, "--timeout", "30s"], words].concat()
    }
}

fn connect(from: &Node, to: &Node) -> Result<()> {
    let addresses = to.addresses()?;
    from.adit(&["swarm", "connect", addresses.first().context("an address")?])?.expect(0)?;
    Ok(())
}

fn account(node: &Node) -> Result<String> {
    let id = node.json(&["id"])?;
    id["operator"].as_str().map(str::to_owned).with_context(|| format!("no account in {id}"))
}

#[test]
fn an_allowlist_lets_in_whom_it_names_and_nobody_else() -> Result<()> {
    let friend = Node::start(&programs(), &[])?;
    let list = [("host.accept", "allowlist"), ("host.allow-requesters", &*account(&friend)?)];
    let pair = Pair::with(friend, &list)?;
    pair.accepted(&[&guest("echo")])?;
    let stranger = Node::start(&programs(), &[])?;
    connect(&stranger, &pair.host)?;
    let pair = Pair { requester: stranger, ..pair };
    pair.refused(&[&guest("echo")], "accept = allowlist")?;
    // Its own jobs run whoever is on the list.
    pair.host.adit(&["run", &guest("echo"), "--local"])?.expect(0)?;
    Ok(())
}

#[test]
fn a_requester_on_the_deny_list_is_refused_though_anyone_is_accepted() -> Result<()> {
    let unwanted = Node::start(&programs(), &[])?;
    let denied = account(&unwanted)?;
    let pair = Pair::with(unwanted, &[("host.accept", "anyone"), ("host.deny-requesters", &denied)])?;
    pair.refused(&[&guest("echo")], "does not work for that requester")?;
    // What was refused is counted, with its reason.
    let status = pair.host.json(&["node", "status"])?;
    ensure!(status.to_string().contains("requester-denied"), "{status}");
    Ok(())
}

#[test]
fn programs_are_allowed_and_denied_by_their_cid() -> Result<()> {
    let requester = Node::start(&programs(), &[])?;
    let cid = |name: &str| requester.add(guest(name).as_ref());
    let (echo, lines) = (cid("echo")?, cid("lines")?);
    let pair = Pair::with(requester, &[("host.deny-code", &echo)])?;
    pair.refused(&[&echo], "does not run that program")?;
    pair.accepted(&[&guest("fs"), "--", "mkdir /out/d"])?;
    let Pair { requester, .. } = pair;
    let pair = Pair::with(requester, &[("host.allow-code", &lines)])?;
    pair.refused(&[&echo], "not among those that this host runs")
}

#[test]
fn outside_its_hours_a_host_works_for_itself_only() -> Result<()> {
    // An hour that begins in eleven hours: far from now, whatever the clock says while this runs.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let hour = |from_now: u64| (now / 3600 + from_now) % 24;
    let hours = format!("{:02}:00-{:02}:00", hour(11), hour(12));
    let pair = Pair::start(&[("host.hours", &hours)])?;
    pair.refused(&[&guest("echo")], &hours)?;
    pair.host.adit(&["run", &guest("echo"), "--local"])?.expect(0)?;
    let Pair { requester, .. } = pair;
    let around_now = format!("{:02}:00-{:02}:00", hour(23), hour(2));
    Pair::with(requester, &[("host.hours", &around_now)])?.accepted(&[&guest("echo")])
}

#[test]
fn a_job_that_wants_more_than_the_host_gives_is_refused() -> Result<()> {
    let settings = [("host.memory", "128MiB"), ("host.scratch", "32MiB"), ("host.longest", "40s")];
    let pair = Pair::start(&settings)?;
    let echo = guest("echo");
    let small = [&*echo, "--memory", "64MiB", "--max-output", "8MiB"];
    pair.accepted(&small)?;
    pair.refused(&[&echo, "--memory", "129MiB", "--max-output", "8MiB"], "memory")?;
    pair.refused(&[&echo, "--memory", "64MiB", "--max-output", "33MiB"], "may write")?;
    let words = [&["run"], &small[..], &["--at", &pair.peer, "--timeout", "10m"]].concat();
    let long = pair.requester.adit(&words)?;
    ensure!(long.code > 100 && long.stderr.contains("this host grants 40"), "{}: {}", long.code, long.stderr);
    Ok(())
}

#[test]
fn a_full_queue_refuses_and_a_free_slot_accepts_again() -> Result<()> {
    let pair = Pair::start(&[("host.cpus", "1"), ("host.queue", "0")])?;
    let program = endless(&pair.requester)?;
    let program = program.to_str().context("text")?;
    let fuel = ["--fuel", "1000000000000000", "--memory", "64MiB"];
    let words = [&["run", program, "--detach", "--at", &pair.peer, "--timeout", "60s"], &fuel[..]].concat();
    let started = pair.requester.json(&words)?;
    let job = started["job"].as_str().context("a job")?;
    eventually("it runs", Duration::from_secs(20), || {
        Ok((pair.requester.json(&["job", "show", job])?["state"] == "running").then_some(()))
    })?;
    pair.refused(&[&guest("echo"), "--memory", "64MiB"], "slots")?;
    pair.requester.adit(&["job", "cancel", job])?.expect(0)?;
    eventually("the slot is free again", Duration::from_secs(10), || {
        Ok(pair.accepted(&[&guest("echo"), "--memory", "64MiB"]).ok())
    })
}

/// A limited host fetches a job's data no faster than it may.
#[test]
fn a_jobs_missing_data_comes_within_the_bandwidth() -> Result<()> {
    let pair = Pair::start(&[("host.bandwidth", "2MiB")])?;
    let path = pair.requester.repository().with_extension("data");
    fs::write(&path, noise(8 << 20, 1))?;
    let data = format!("/in/data={}", pair.requester.add(&path)?);
    let start = std::time::Instant::now();
    pair.accepted(&[&guest("lines"), "--in", &data])?;
    // A second's worth is saved up, and the last block is paid for after it came.
    ensure!(start.elapsed() > Duration::from_millis(1900), "8 MiB took {:?} at 2 MiB/s", start.elapsed());
    Ok(())
}

/// A node that is to be stopped takes nothing new, from anybody, and says when the last job has ended.
#[test]
fn a_node_drains_before_it_is_stopped() -> Result<()> {
    let pair = Pair::start(&[])?;
    let program = endless(&pair.requester)?;
    let program = program.to_str().context("text")?;
    let fuel = ["--fuel", "1000000000000000", "--memory", "64MiB"];
    let words = [&["run", program, "--detach", "--at", &pair.peer, "--timeout", "60s"], &fuel[..]].concat();
    let started = pair.requester.json(&words)?;
    let job = started["job"].as_str().context("a job")?;
    eventually("it runs", Duration::from_secs(20), || {
        Ok((pair.requester.json(&["job", "show", job])?["state"] == "running").then_some(()))
    })?;
    let impatient = pair.host.adit(&["drain", "--timeout", "1s"])?.expect(124)?;
    ensure!(impatient.stderr.contains("1 jobs have not ended"), "{}", impatient.stderr);
    pair.refused(&[&guest("echo")], "takes nothing new")?;
    ensure!(pair.host.adit(&["run", &guest("echo"), "--local"])?.code > 100, "its own jobs are not taken");
    ensure!(pair.host.http()?.get("/readyz")?.status == 503, "it still says that it is ready");
    pair.requester.adit(&["job", "cancel", job])?.expect(0)?;
    ensure!(pair.host.json(&["drain"])?["jobs"] == 0);
    Ok(())
}

/// What a host made for somebody else survives a collection until the time that it promised, and no longer.
#[test]
fn a_result_is_kept_for_as_long_as_the_host_promised() -> Result<()> {
    let pair = Pair::start(&[("host.keep-results", "8s")])?;
    let code = pair.requester.add(guest("echo").as_ref())?;
    let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    pair.accepted(&[&code, "--", "kept for a while"])?;
    let job = pair.requester.json(&["job", "ls", "--limit", "1"])?[0]["id"].clone();
    let shown = pair.requester.json(&["job", "show", job.as_str().context("a job")?])?;
    let until = shown["kept_until"].as_u64().with_context(|| format!("no promise in {shown}"))?;
    let collect = || -> Result<(u64, u64)> {
        pair.host.adit(&["repo", "gc"])?.expect(0)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let blocks = pair.host.json(&["repo", "stat"])?["blocks"].as_u64().context("a number of blocks")?;
        Ok((now, blocks))
    };
    let (now, kept) = collect()?;
    ensure!(now < until && until >= began + 8, "promised until {until}, began at {began}, now {now}");
    ensure!(kept > 0, "nothing of the result is left before its time");
    let (after, left) = eventually("the result is collected", Duration::from_secs(20), || {
        let (now, left) = collect()?;
        Ok((left < kept).then_some((now, left)))
    })?;
    ensure!(after >= until, "{} of {kept} blocks went {} s too early", kept - left, until - after);
    Ok(())
}

#[test]
fn settings_that_make_no_sense_are_refused_before_the_node_starts() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    for (key, value, says) in [
        ("host.accept", "everyone", "self, allowlist, anyone"),
        ("host.cpus", "many", "whole number"),
        ("host.memory", "lots", "lots"),
        ("host.hours", "25:00-26:00", "25:00"),
        ("host.longest", "forever", "forever"),
        ("host.allow-code", "nothing", "CID"),
    ] {
        let refused = node.adit(&["config", "set", key, value])?.expect(2)?;
        ensure!(refused.stderr.contains(says), "{key} {value}: {}", refused.stderr);
    }
    for (key, value, says) in [
        ("host.accept", "allowlist", "host.allow-requesters"),
        ("host.memory", "1MiB", "host.memory"),
        ("host.deny-requesters", "0xdeadbeef", "host.deny-requesters"),
    ] {
        let mut command = node.command(&["daemon", "--repo"]);
        let other = node.repository().with_extension("other");
        command.arg(&other);
        node.adit(&["init", "--repo", other.to_str().context("text")?])?;
        command.env(format!("ADIT_{}", key.to_ascii_uppercase().replace(['.', '-'], "_")), value);
        let output = command.output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && stderr.contains(says), "{key}={value}: {stderr}");
    }
    let unknown = node.adit(&["config", "set", "host.cpu", "1"])?.expect(3)?;
    ensure!(unknown.stderr.contains("host.cpus"), "{}", unknown.stderr);
    // Where each value comes from is told.
    let shown = node.json(&["config", "show", "--origin"])?;
    ensure!(shown.to_string().contains("ADIT_HOST_ACCEPT"), "{shown}");
    Ok(())
}
