//! Jobs on one node: what goes in, what comes out, what is said about it.

use crate::{endless, guest, noise, programs};
use adit_tests::{Node, eventually, is_busy, processes_below};
use anyhow::{Context, Result};
use std::{fs, time::Duration};

fn input(node: &Node, content: &[u8]) -> Result<String> {
    let path = node.repository().with_extension("input");
    fs::write(&path, content)?;
    Ok(format!("/in/data={}", node.add(&path)?))
}

#[test]
fn output_exit_code_and_receipt_come_back() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let data = input(&node, b"one\ntwo\nthree\n")?;
    let ran = node.adit(&["run", &guest("lines"), "--in", &data])?.expect(0)?;
    assert_eq!(ran.text(), "3 /in/data\n");
    let reply = node.json(&["run", &guest("lines"), "--in", &data])?;
    let receipt = reply["job"]["receipt"].as_str().context("a receipt")?;
    node.adit(&["receipt", "verify", receipt])?.expect(0)?;
    let shown = node.json(&["receipt", "show", receipt])?;
    assert_eq!(shown["evidence"], "none");
    assert_eq!(shown["valid"], true);
    Ok(())
}

#[test]
fn arguments_environment_stdin_and_exit_codes_arrive_intact() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    for code in [0, 1, 3, 42, 99] {
        let words =
            ["run", &guest("echo"), "--env", "COLOUR=green", "--", "a b", "", &format!("exit={code}")];
        let ran = node.adit(&words)?.expect(code)?;
        assert_eq!(ran.text(), "arg a b\narg \nenv COLOUR=green\nstdin 0 bytes\n");
    }
    let out = node.repository().with_extension("out");
    let program = guest("echo");
    let words = ["run", &program, "--stdin", "-", "-o", out.to_str().unwrap(), "--", "out=copy"];
    let ran = node.adit_with(&words, &noise(300_000, 5))?.expect(0)?;
    assert_eq!(ran.text(), "stdin 300000 bytes\n");
    assert_eq!(fs::read(out.join("copy"))?, noise(300_000, 5), "-o brings /out home");
    let ran = node.adit(&["run", &guest("echo"), "--", "err=to stderr"])?.expect(0)?;
    assert!(ran.stderr.contains("to stderr"), "{}", ran.stderr);
    Ok(())
}

#[test]
fn the_same_task_is_remembered_and_gives_the_same_outcome() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let data = input(&node, &noise(100_000, 8))?;
    let first = node.json(&["run", &guest("lines"), "--in", &data])?;
    let again = node.json(&["run", &guest("lines"), "--in", &data])?;
    assert_eq!(first["job"]["stats"]["remembered"], false);
    assert_eq!(again["job"]["stats"]["remembered"], true);
    assert_eq!(first["outcome"], again["outcome"]);
    assert_ne!(first["receipt"], again["receipt"], "another request, another receipt");
    let fresh = node.json(&["run", &guest("lines"), "--in", &data, "--fresh"])?;
    assert_eq!(fresh["job"]["stats"]["remembered"], false);
    assert_eq!(first["outcome"], fresh["outcome"], "computed twice, the same bytes");
    Ok(())
}

#[test]
fn only_needed_blocks_are_read_on_a_seek() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let data = input(&node, &noise(64 << 20, 9))?;
    let ran =
        node.json(&["run", &guest("seek"), "--in", &data, "--", "1000", "0", "40000000", "67000000"])?;
    let read = ran["job"]["stats"]["bytes_read"].as_u64().context("bytes_read")?;
    assert!(read < 16 << 20, "{read} of {} bytes read for three seeks", 64 << 20);
    Ok(())
}

#[test]
fn an_endless_job_ends_at_its_timeout_and_leaves_no_process() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let wat = endless(&node)?;
    let wat = wat.to_str().unwrap();
    let ran = node.adit(&["run", wat, "--timeout", "1s", "--fuel", "1000000000000000"])?;
    assert_eq!(ran.code, 224, "124 for a timeout, and 100 because it is adit's own: {}", ran.stderr);
    eventually("the worker is gone", Duration::from_secs(5), || {
        let busy = processes_below(node.pid()).iter().filter(|(pid, _)| is_busy(*pid)).count();
        Ok((busy == 0).then_some(()))
    })
}

#[test]
fn a_detached_job_can_be_listed_cancelled_and_asked_for() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let path = endless(&node)?;
    let path = path.to_str().unwrap();
    let started = node.json(&["run", path, "--detach", "--timeout", "60s", "--fuel", "1000000000000000"])?;
    let job = started["job"].as_str().context("a job")?;
    eventually("it runs", Duration::from_secs(10), || {
        Ok((node.json(&["job", "show", job])?["state"] == "running").then_some(()))
    })?;
    assert!(node.json(&["job", "ls"])?.to_string().contains(job));
    node.adit(&["job", "cancel", job])?.expect(0)?;
    eventually("it is cancelled", Duration::from_secs(5), || {
        Ok((node.json(&["job", "show", job])?["state"] == "cancelled").then_some(()))
    })?;
    let data = input(&node, b"a\nb\n")?;
    let started = node.json(&["run", &guest("lines"), "--in", &data, "--detach"])?;
    let job = started["job"].as_str().context("a job")?;
    node.adit(&["job", "wait", job])?.expect(0)?;
    let result = node.adit(&["job", "logs", job])?.expect(0)?;
    assert_eq!(result.text(), "2 /in/data\n");
    Ok(())
}

#[test]
fn what_is_no_program_is_refused_with_a_reason() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let tiny = fs::read(guest("tiny"))?;
    for (name, bytes) in
        [("text", b"hello".to_vec()), ("empty", Vec::new()), ("truncated", tiny[..tiny.len() / 2].to_vec())]
    {
        let path = node.repository().with_extension(name);
        fs::write(&path, bytes)?;
        let ran = node.adit(&["run", path.to_str().unwrap()])?;
        assert!(ran.code >= 100 && !ran.stderr.is_empty(), "{name}: {} {}", ran.code, ran.stderr);
    }
    Ok(())
}

#[test]
fn absent_content_is_a_clear_error_within_the_stated_time() -> Result<()> {
    let node = Node::start(&programs(), &[("jobs.fetch-timeout", "2s")])?;
    // Of words that nobody adds. (The block of no bytes would do no longer: every node has it.)
    let absent = "bafkreicjlbdnvz7seit6uztprabtl24dbfk4hdhbhvz4bl5c2iypxv6aim";
    let input = format!("/in/data={absent}");
    let ran = node.adit(&["run", &guest("lines"), "--in", &input, "--timeout", "20s"])?;
    assert!(ran.code > 100, "{} {}", ran.code, ran.stderr);
    assert!(ran.stderr.contains(absent), "{}", ran.stderr);
    Ok(())
}
