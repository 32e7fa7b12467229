//! What programs other than `adit` rely on: jobs that are made once, events as they happen, receipts that anybody checks.

use crate::{guest, programs};
use adit_tests::{Finished, Node, eventually};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

/// A program that says `tick` ten times and counts for a while in between. (Asked to sleep, a deterministic program
/// would not wait.)
fn ticking(node: &Node) -> Result<String> {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 64) "tick\n")
        (func (export "_start") (local $left i32) (local $count i32)
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 5))
            (local.set $left (i32.const 10))
            (loop $again
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (local.set $count (i32.const 80000000))
                (loop $on
                    (i32.store (i32.const 128) (local.get $count))
                    (br_if $on (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
                (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#;
    let path = node.repository().with_extension("ticking.wasm");
    fs::write(&path, wat::parse_str(wat)?)?;
    Ok(path.to_str().context("text")?.to_owned())
}

#[test]
fn one_key_is_one_job_however_often_it_is_asked_for() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let echo = guest("echo");
    let words = |key: &'static str| {
        ["run", &*echo, "--detach", "--fresh", "--idempotency-key", key].map(str::to_owned)
    };
    let start = |key| -> Result<String> {
        let words = words(key);
        let reply = node.json(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(reply["job"].as_str().context("a job")?.to_owned())
    };
    let first = start("first")?;
    node.adit(&["job", "wait", &first])?.expect(0)?;
    ensure!(start("first")? == first, "the same key is the same job, also after its end");
    ensure!(start("second")? != first, "another key is another job");

    // Many at once, over HTTP: still one.
    let code = node.add(echo.as_ref())?;
    let body =
        json!({ "code": code, "fresh": true, "args": ["many"], "idempotency_key": "many" }).to_string();
    let jobs = std::thread::scope(|scope| {
        let ask = || -> Result<Value> {
            let reply = node.http()?.post_json("/api/v1/run", body.as_bytes())?;
            ensure!(reply.status == 200, "{}: {:?}", reply.status, reply.json());
            reply.json()
        };
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    for reply in &jobs {
        ensure!(
            reply["job"]["id"] == jobs[0]["job"]["id"] && reply["receipt"] == jobs[0]["receipt"],
            "{reply}"
        );
    }
    let listed = node.json(&["job", "ls"])?;
    ensure!(listed.as_array().map_or(0, Vec::len) == 3, "three keys, three jobs: {listed}");
    Ok(())
}

#[test]
fn events_follow_a_job_live_to_its_end() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let program = ticking(&node)?;
    let started = node.json(&["run", &program, "--detach", "--timeout", "30s"])?;
    let job = started["job"].as_str().context("a job")?;

    let (api, token) = (node.api()?, node.token()?);
    let mut stream = TcpStream::connect(api)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "GET /api/v1/jobs/{job}/logs HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )?;
    let (mut ticks, mut arrivals, mut done) = (String::new(), Vec::new(), None);
    for line in BufReader::new(&mut stream).lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let event: Value = serde_json::from_str(data)?;
        match event["event"].as_str() {
            Some("log") => {
                ensure!(event["stream"] == "stdout" && event["offset"] == ticks.len(), "{event}");
                ticks.push_str(event["content"]["text"].as_str().context("text")?);
                arrivals.push(Instant::now());
            }
            Some("done") => done = Some(event["job"].clone()),
            _ => ensure!(done.is_none(), "something after the end: {event}"),
        }
    }
    ensure!(ticks == "tick\n".repeat(10), "{ticks:?}");
    let (first, last) = (arrivals.first().context("a tick")?, arrivals.last().context("a tick")?);
    let spread = last.duration_since(*first);
    ensure!(arrivals.len() > 3 && spread > Duration::from_millis(200), "all at once, not live: {spread:?}");
    ensure!(done.context("the end")?["state"] == "finished");
    Ok(())
}

#[test]
fn job_logs_follow_until_the_end_and_print_everything_once() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let program = ticking(&node)?;
    let started = node.json(&["run", &program, "--detach", "--timeout", "30s"])?;
    let job = started["job"].as_str().context("a job")?;
    let mut command = node.command(&["job", "logs", "-f", job]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // The first line is there before the job has ended.
    let mut stdout = child.stdout.take().context("a pipe")?;
    let mut first = [0; 5];
    stdout.read_exact(&mut first)?;
    ensure!(&first == b"tick\n");
    ensure!(node.json(&["job", "show", job])?["state"] == "running", "the first line came only at the end");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest)?;
    ensure!(rest == "tick\n".repeat(9), "{rest:?}");
    ensure!(child.wait()?.success());
    // Afterwards as well, and of a job that somebody else runs.
    ensure!(node.adit(&["job", "logs", "-f", job])?.expect(0)?.text() == "tick\n".repeat(10));
    ensure!(node.adit(&["job", "logs", job])?.expect(0)?.text() == "tick\n".repeat(10));
    Ok(())
}

#[test]
fn a_job_without_a_key_ends_with_its_client() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let program = crate::endless(&node)?;
    let program = program.to_str().context("text")?;
    let mut command = node.command(&["run", program, "--timeout", "60s"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let state = || -> Result<String> {
        let jobs = node.json(&["job", "ls"])?;
        Ok(jobs[0]["state"].as_str().unwrap_or_default().to_owned())
    };
    eventually("it runs", Duration::from_secs(15), || Ok((state()? == "running").then_some(())))?;
    child.kill()?;
    child.wait()?;
    eventually("it is taken back", Duration::from_secs(10), || Ok((state()? == "cancelled").then_some(())))
}

/// The receipt of a small job, as a CID.
fn receipt_of_a_job(node: &Node) -> Result<String> {
    let reply = node.json(&["run", &guest("echo"), "--fresh", "--", "hello"])?;
    Ok(reply["job"]["receipt"].as_str().context("a receipt")?.to_owned())
}

#[test]
fn a_receipt_is_checked_from_a_file_without_any_node() -> Result<()> {
    let mut node = Node::start(&programs(), &[])?;
    let receipt = receipt_of_a_job(&node)?;
    let folder = tempfile::tempdir()?;
    let car = folder.path().join("receipt.car");
    let block = folder.path().join("receipt.bin");
    node.adit(&["dag", "export", &receipt, "-o", car.to_str().context("text")?])?;
    fs::write(&block, node.http()?.get(&format!("/api/v1/blocks/{receipt}"))?.body)?;
    let by_cid = node.adit(&["receipt", "verify", &receipt])?.expect(0)?;
    ensure!(by_cid.text().contains(&receipt), "{}", by_cid.text());
    node.stop()?;
    node.adit(&["receipt", "verify", &receipt])?.expect(4)?;

    let words = |verb: &str, path: &std::path::Path| -> Result<Finished> {
        node.adit(&["receipt", verb, path.to_str().context("text")?])
    };
    for path in [&car, &block] {
        if !path.exists() || fs::metadata(path)?.len() == 0 {
            continue;
        }
        ensure!(words("show", path)?.expect(0)?.text().contains(&receipt));
        words("verify", path)?.expect(0)?;
        // Whatever bit is turned, it does not hold any more, or is no receipt at all; and nothing panics.
        let sound = fs::read(path)?;
        let step = (sound.len() / 60).max(1);
        let wrong = folder.path().join("wrong");
        for at in (0..sound.len()).step_by(step) {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&wrong, &bytes)?;
            let verdict = words("verify", &wrong)?;
            let refused = matches!(verdict.code, 1 | 2 | 5) && !verdict.stderr.is_empty();
            ensure!(refused, "bit {at} of {}: {} {}", path.display(), verdict.code, verdict.stderr);
        }
        for length in [0, 1, sound.len() / 2, sound.len() - 1] {
            fs::write(&wrong, &sound[..length])?;
            ensure!(matches!(words("verify", &wrong)?.code, 1 | 2 | 5), "the first {length} bytes");
        }
    }
    Ok(())
}

#[test]
fn what_is_no_receipt_is_told_from_a_receipt_that_does_not_hold() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let path = node.repository().with_extension("text");
    fs::write(&path, "no receipt")?;
    let cid = node.add(&path)?;
    for name in [cid.as_str(), path.to_str().context("text")?] {
        for verb in ["show", "verify"] {
            let refused = node.adit(&["receipt", verb, name])?;
            ensure!(refused.code != 0 && !refused.stderr.is_empty(), "{name}: {}", refused.text());
        }
    }
    // The task and the outcome are records as well, and no receipts.
    let reply = node.json(&["run", &guest("echo")])?;
    for key in ["task", "outcome"] {
        let other = reply["job"][key].as_str().with_context(|| key.to_owned())?;
        let refused = node.adit(&["receipt", "verify", other])?;
        ensure!(refused.code != 0 && !refused.stderr.is_empty(), "{key}: {}", refused.text());
    }
    Ok(())
}
