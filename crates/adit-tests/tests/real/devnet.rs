//! `adit devnet`, as its user sees it: real daemons, a job of one over the data of another, and nothing left behind.

use crate::{guest, noise, programs};
use adit_tests::{eventually, processes_below};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

/// A running devnet; killed, and its nodes with it, when the test ends early.
struct Devnet {
    process: Child,
    nodes: Vec<Value>,
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Devnet {
    /// Starts it with everything temporary below `folder`, and waits for the nodes that it prints.
    fn start(folder: &Path, words: &[&str]) -> Result<Self> {
        let mut command = programs().adit(&folder.join("unused"));
        command.args(["--json", "devnet"]).args(words).env("TMPDIR", folder);
        command.stdout(Stdio::piped()).stderr(fs::File::create(folder.join("log"))?);
        let mut devnet = Devnet { process: command.spawn()?, nodes: Vec::new() };
        let mut stdout = devnet.process.stdout.take().context("a pipe")?;
        let (mut text, mut piece) = (Vec::new(), [0; 4096]);
        // It goes on after what it prints, so there is no end of file to wait for.
        while devnet.nodes.is_empty() {
            let read = stdout.read(&mut piece)?;
            ensure!(read > 0, "it ended:\n{}", fs::read_to_string(folder.join("log"))?);
            text.extend_from_slice(&piece[..read]);
            devnet.nodes = serde_json::from_slice(&text).unwrap_or_default();
        }
        Ok(devnet)
    }

    /// Runs a command of one of its nodes' users.
    fn adit(&self, node: usize, words: &[&str]) -> Result<Output> {
        let repo = self.nodes[node]["repo"].as_str().context("a directory")?;
        Ok(programs().adit(Path::new(repo)).args(words).output()?)
    }

    fn json(&self, node: usize, words: &[&str]) -> Result<Value> {
        let output = self.adit(node, &[&["--json"], words].concat())?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: a signal to a child that has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
    }
}

/// Which of these processes still run.
fn alive(family: &[(u32, String)]) -> Vec<&(u32, String)> {
    let same = |(pid, words): &&(u32, String)| {
        let now = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&now).replace('\0', " ").trim_end() == words
    };
    family.iter().filter(same).collect()
}

#[test]
fn three_nodes_do_a_job_together_and_ctrl_c_leaves_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut devnet = Devnet::start(folder.path(), &["--nodes", "3", "--set", "host.cpus=1"])?;
    ensure!(devnet.nodes.len() == 3, "{:?}", devnet.nodes);
    for (number, node) in (1..).zip(&devnet.nodes) {
        ensure!(node["name"] == format!("node{number}"), "{node}");
        for key in ["node", "api", "repo"] {
            ensure!(node[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {node}");
        }
        ensure!(node["addresses"].as_array().is_some_and(|all| !all.is_empty()), "{node}");
        let pid = node["pid"].as_u64().context("a process")?;
        let words = fs::read(format!("/proc/{pid}/cmdline"))?;
        ensure!(String::from_utf8_lossy(&words).contains("daemon"), "a daemon like any other");
    }
    for node in 0..3 {
        let shown = devnet.json(node, &["config", "get", "host.cpus"])?;
        ensure!(shown.to_string().contains('1'), "{shown}");
        eventually("every node knows the others", Duration::from_secs(30), || {
            let known = devnet.json(node, &["node", "ls"])?;
            Ok((known.as_array().map_or(0, Vec::len) >= 2).then_some(()))
        })?;
    }

    let path = folder.path().join("data");
    fs::write(&path, noise(5_000_000, 1))?;
    let added = devnet.json(2, &["add", path.to_str().context("text")?])?;
    let data = format!("/in/data={}", added["cid"].as_str().context("a cid")?);
    let reply = devnet.json(1, &["run", &guest("lines"), "--in", &data])?;
    ensure!(reply["job"]["host"] == devnet.nodes[2]["node"], "the job goes to the data: {reply}");
    let receipt = reply["job"]["receipt"].as_str().context("a receipt")?;
    ensure!(devnet.adit(0, &["receipt", "verify", receipt])?.status.success(), "from the third node");

    let family = processes_below(devnet.process.id());
    ensure!(family.len() >= 6, "three daemons and their enclaves: {family:?}");
    devnet.signal(libc::SIGINT);
    let status =
        eventually("it ends on ctrl-C", Duration::from_secs(15), || Ok(devnet.process.try_wait()?))?;
    ensure!(status.success(), "{status}");
    eventually("all of its processes are gone", Duration::from_secs(5), || {
        Ok(alive(&family).is_empty().then_some(()))
    })?;
    let mut left: Vec<_> = fs::read_dir(folder.path())?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    left.sort();
    ensure!(left == ["data", "log"], "left behind: {left:?}");
    Ok(())
}

#[test]
fn a_devnet_that_is_killed_takes_its_nodes_with_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut devnet = Devnet::start(folder.path(), &["--nodes", "2"])?;
    let family = processes_below(devnet.process.id());
    ensure!(family.len() >= 4, "two daemons and their enclaves: {family:?}");
    devnet.signal(libc::SIGKILL);
    devnet.process.wait()?;
    eventually("all of its processes are gone", Duration::from_secs(15), || {
        Ok(alive(&family).is_empty().then_some(()))
    })
}

/// A directory that was given is kept, and taken up again with the same nodes.
#[test]
fn a_devnet_in_a_directory_comes_back_with_its_data() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kept = folder.path().join("net");
    let kept = kept.to_str().context("text")?;
    let path = folder.path().join("data");
    fs::write(&path, noise(100_000, 2))?;
    let mut names = Vec::new();
    let mut cid = String::new();
    for round in 0..2 {
        let mut devnet = Devnet::start(folder.path(), &["--nodes", "2", "--dir", kept])?;
        names.push(devnet.nodes.iter().map(|node| node["node"].to_string()).collect::<Vec<_>>());
        if round == 0 {
            let added = devnet.json(0, &["add", path.to_str().context("text")?])?;
            cid = added["cid"].as_str().context("a cid")?.to_owned();
        }
        ensure!(devnet.adit(0, &["cat", &cid])?.stdout == noise(100_000, 2), "round {round}");
        devnet.signal(libc::SIGTERM);
        let ended = eventually("it ends", Duration::from_secs(15), || Ok(devnet.process.try_wait()?))?;
        ensure!(ended.success(), "{ended}");
    }
    ensure!(names[0] == names[1], "the same nodes: {names:?}");
    Ok(())
}

#[test]
fn a_devnet_refuses_what_makes_no_sense() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = |words: &[&str]| -> Result<(Option<i32>, String)> {
        let mut command: Command = programs().adit(&folder.path().join("unused"));
        let output = command.arg("devnet").args(words).env("TMPDIR", folder.path()).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    for (words, says) in [
        (&["--nodes", "0"][..], "0"),
        (&["--nodes", "65"], "65"),
        (&["--set", "host.cpus"], "KEY=VALUE"),
        (&["--set", "host.cpu=1"], "host.cpus"),
        (&["--set", "host.memory=1"], "host.memory"),
    ] {
        let (code, stderr) = run(words)?;
        ensure!(code == Some(2) || code == Some(1), "{words:?}: {code:?} {stderr}");
        ensure!(stderr.contains(says), "{words:?}: {stderr}");
    }
    ensure!(fs::read_dir(folder.path())?.next().is_none(), "nothing is left behind");
    Ok(())
}
