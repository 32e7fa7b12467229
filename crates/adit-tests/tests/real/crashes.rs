//! `kill -9` at any moment: what was acknowledged is there afterwards, nothing is half there, and a restart is quick.

use crate::{endless, guest, noise, programs};
use adit_tests::{Finished, Node, cpu_ticks, eventually, processes_below};
use anyhow::{Context, Result};
use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

#[test]
fn what_was_added_survives_a_daemon_killed_at_any_moment() -> Result<()> {
    let mut node = Node::start(&programs(), &[])?;
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    for round in 0..6 {
        let first = round * 100;
        // Adds run one after another in the background while the daemon is killed under them.
        let mut done = Vec::new();
        let killed_after = Duration::from_millis(150 + 130 * round);
        let start = Instant::now();
        let mut seed = first;
        let mut running = None;
        while start.elapsed() < killed_after {
            let path = node.repository().with_extension(format!("in{seed}"));
            fs::write(&path, noise(2_000_000, seed))?;
            let mut command = node.command(&["--json", "add", path.to_str().unwrap()]);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            if start.elapsed() + Duration::from_millis(60) > killed_after {
                running = Some((seed, command, child));
                break;
            }
            let output = child.wait_with_output()?;
            done.push((Finished::of(&command, output), seed));
            seed += 1;
        }
        node.kill()?;
        if let Some((seed, command, child)) = running {
            done.push((Finished::of(&command, child.wait_with_output()?), seed));
        }
        for (finished, seed) in done {
            if finished.code == 0 {
                let cid = finished.json()?["cid"].as_str().context("a cid")?.to_owned();
                acknowledged.push((cid, seed));
            }
        }
        let start = Instant::now();
        node.launch()?;
        assert!(start.elapsed() < Duration::from_secs(5), "restart took {:?}", start.elapsed());
        for (cid, seed) in &acknowledged {
            assert_eq!(
                node.adit(&["cat", cid])?.expect(0)?.stdout,
                noise(2_000_000, *seed),
                "{cid} of round {round}"
            );
        }
        let verified = node.json(&["repo", "verify"])?;
        assert_eq!(verified["corrupt"], serde_json::json!([]), "{verified}");
    }
    assert!(
        acknowledged.len() >= 3,
        "only {} adds were acknowledged: nothing was proved",
        acknowledged.len()
    );
    Ok(())
}

#[test]
fn an_enclave_that_is_killed_comes_back() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let run = || node.adit(&["run", &guest("echo"), "--fresh"]);
    run()?.expect(0)?;
    for _ in 0..3 {
        let enclave = processes_below(node.pid()).into_iter().find(|(_, words)| is_enclave(words));
        let (pid, _) = enclave.context("an enclave process")?;
        // SAFETY: a signal to a process that descends from our daemon.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        eventually("jobs run again", Duration::from_secs(15), || Ok((run()?.code == 0).then_some(())))?;
    }
    Ok(())
}

fn is_enclave(words: &str) -> bool {
    words.contains("adit-enclave") && !words.contains(" worker") && !words.contains(" compile")
}

#[test]
fn a_worker_that_is_killed_takes_only_its_own_job_with_it() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let path = endless(&node)?;
    let words = ["run", path.to_str().unwrap(), "--detach", "--timeout", "60s", "--fuel", "1000000000000000"];
    let started = node.json(&words)?;
    let job = started["job"].as_str().context("a job")?;
    let worker = eventually("a busy worker", Duration::from_secs(10), || {
        let workers = processes_below(node.pid()).into_iter().filter(|(_, words)| words.contains(" worker"));
        Ok(workers.map(|(pid, _)| pid).find(|pid| cpu_ticks(*pid) > 20))
    })?;
    // SAFETY: a signal to a process that descends from our daemon.
    unsafe { libc::kill(worker as libc::pid_t, libc::SIGKILL) };
    let view = eventually("the job has ended", Duration::from_secs(15), || {
        let view = node.json(&["job", "show", job])?;
        Ok((view["state"] != "running").then_some(view))
    })?;
    assert_ne!(view["state"], "finished", "a killed worker is no outcome of the task: {view}");
    node.adit(&["run", &guest("echo"), "--fresh"])?.expect(0)?;
    Ok(())
}

#[test]
fn nothing_outlives_the_daemon() -> Result<()> {
    let mut node = Node::start(&programs(), &[])?;
    node.adit(&["run", &guest("echo")])?.expect(0)?;
    let family = processes_below(node.pid());
    assert!(!family.is_empty(), "an enclave at least");
    node.kill()?;
    eventually("all of its processes are gone", Duration::from_secs(10), || {
        let left = family.iter().filter(|(pid, words)| {
            let now = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&now).replace('\0', " ").trim_end() == words
        });
        Ok((left.count() == 0).then_some(()))
    })
}

#[test]
fn two_daemons_on_one_repository_are_one_too_many() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let second = node.adit(&["daemon"])?;
    assert_ne!(second.code, 0);
    assert!(second.stderr.contains("another"), "{}", second.stderr);
    node.adit(&["run", &guest("echo")])?.expect(0)?;
    Ok(())
}
