//! What cannot be had and what makes no sense: every command that takes a CID says so, within its time, with an exit
//! code of its own and whose fault it is.

use crate::{guest, programs};
use adit_tests::{Finished, Node};
use adit_unixfs::{
    Block,
    block::{DAG_PB, RAW},
};
use anyhow::{Context, Result, ensure};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Blocks that nobody has: a raw one, and a dag-pb node.
fn absent() -> [String; 2] {
    [RAW, DAG_PB].map(|codec| Block::new(codec, &b"nobody has this"[..]).cid.to_string())
}

/// What is no CID, in all the ways that people and programs get it wrong.
const MALFORMED: [&str; 5] = [
    "not-a-cid",
    "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk",
    "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3N0",
    "/ipns/nodots",
    "zzzzzzzz",
];

/// What the API gives content to be found, and some for a busy machine.
const SEARCH: Duration = Duration::from_secs(40);

#[test]
fn absent_content_is_told_by_its_name_within_the_stated_time() -> Result<()> {
    let node = Node::start(&programs(), &[("jobs.fetch-timeout", "2s")])?;
    let (lines, echo) = (guest("lines"), guest("echo"));
    let target = node.repository().with_extension("got");
    let target = target.to_str().context("text")?;
    // (words, exit code, limit): each is tried with both of the CIDs in place of `ABSENT`.
    let job = Duration::from_secs(15);
    let commands: [(&[&str], i32, Duration); 11] = [
        (&["cat", "ABSENT"], 3, SEARCH),
        (&["cat", "ABSENT/below"], 3, SEARCH),
        (&["get", "ABSENT", "-o", target], 3, SEARCH),
        (&["ls", "ABSENT"], 3, SEARCH),
        (&["stat", "ABSENT"], 3, SEARCH),
        (&["pin", "add", "ABSENT"], 3, SEARCH),
        (&["dag", "export", "ABSENT"], 3, SEARCH),
        (&["receipt", "show", "ABSENT"], 3, SEARCH),
        (&["run", &lines, "--in", "/in/data=ABSENT", "--timeout", "12s"], 0, job),
        (&["run", &echo, "--stdin", "ABSENT", "--timeout", "12s"], 0, job),
        (&["run", "ABSENT", "--timeout", "12s"], 103, job),
    ];
    let mut cases = Vec::new();
    for (words, code, limit) in commands {
        for absent in absent() {
            let words: Vec<_> = words.iter().map(|word| word.replace("ABSENT", &absent)).collect();
            cases.push((words, absent, code, limit));
        }
    }
    // All at once: each waits for peers that do not come.
    let node = &node;
    let ended = thread::scope(|scope| {
        let run = |words: &[String]| -> Result<(Finished, Duration)> {
            let start = Instant::now();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            Ok((node.adit(&words)?, start.elapsed()))
        };
        let running: Vec<_> = cases.iter().map(|(words, ..)| scope.spawn(move || run(words))).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    for ((words, absent, code, limit), ended) in cases.iter().zip(ended) {
        let (finished, took) = ended?;
        ensure!(took < *limit, "{words:?} took {took:?}");
        ensure!(
            finished.code == *code || *code == 0 && finished.code > 100,
            "{words:?}: {} {}",
            finished.code,
            finished.stderr
        );
        ensure!(
            finished.stderr.contains(absent.as_str()),
            "{words:?} does not say what is absent: {}",
            finished.stderr
        );
        ensure!(finished.stdout.is_empty(), "{words:?} printed {}", finished.text());
    }
    ensure!(!Path::new(target).exists(), "nothing is left of what was not got");
    Ok(())
}

#[test]
fn malformed_cids_are_usage_errors_in_every_command() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let echo = guest("echo");
    let commands: [&[&str]; 14] = [
        &["cat", "CID"],
        &["get", "CID"],
        &["ls", "CID"],
        &["stat", "CID"],
        &["pin", "add", "CID"],
        &["pin", "rm", "CID"],
        &["dag", "export", "CID"],
        &["job", "show", "CID"],
        &["job", "logs", "CID"],
        &["job", "wait", "CID"],
        &["job", "result", "CID"],
        &["job", "cancel", "CID"],
        &["run", &echo, "--at", "CID"],
        &["config", "set", "host.deny-code", "CID"],
    ];
    for words in commands {
        for malformed in MALFORMED {
            let words: Vec<_> = words.iter().map(|word| word.replace("CID", malformed)).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let finished = node.adit(&words)?;
            let code = if words[0] == "run" { 102 } else { 2 };
            ensure!(
                finished.code == code || finished.code == 2,
                "{words:?}: {} {}",
                finished.code,
                finished.stderr
            );
            ensure!(
                finished.stderr.contains(malformed.trim_start_matches("/ipns/")),
                "{words:?} does not repeat what it was given: {}",
                finished.stderr
            );
        }
    }
    // What could be a file's name is looked for as one, too.
    for malformed in MALFORMED {
        for words in [
            &["run", malformed][..],
            &["run", &echo, "--in", &format!("/in/data={malformed}")],
            &["run", &echo, "--stdin", malformed],
        ] {
            let finished = node.adit(words)?;
            ensure!(matches!(finished.code, 102 | 103), "{words:?}: {} {}", finished.code, finished.stderr);
        }
        for verb in ["show", "verify"] {
            let finished = node.adit(&["receipt", verb, malformed])?.expect(3)?;
            ensure!(finished.stderr.contains("no CID"), "{}", finished.stderr);
        }
    }
    Ok(())
}

/// The HTTP API itself, without the command line's checks before it.
#[test]
fn malformed_cids_are_bad_requests_at_every_route() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let mut api = node.http()?;
    let routes = [
        ("GET", "cat/X"),
        ("GET", "get/X"),
        ("GET", "ls/X"),
        ("GET", "stat/X"),
        ("GET", "blocks/X"),
        ("GET", "dag/export/X"),
        ("PUT", "pins/X"),
        ("DELETE", "pins/X"),
        ("GET", "jobs/X"),
        ("GET", "jobs/X/logs"),
        ("GET", "jobs/X/wait"),
        ("GET", "jobs/X/result"),
        ("POST", "jobs/X/cancel"),
        ("GET", "receipts/X"),
    ];
    for (method, route) in routes {
        for malformed in ["not-a-cid", "bafkrei", "%ff%fe", "%2e%2e%2f%2e%2e", &"b".repeat(4000)] {
            let path = format!("/api/v1/{}", route.replace('X', malformed));
            let reply = api.request(method, &path, None, b"")?;
            ensure!(reply.status == 400, "{method} {path:.80}: {} {:?}", reply.status, reply.json());
        }
    }
    let bodies =
        [r#"{"code":"nothing"}"#, r#"{"code":7}"#, r#"{"code":"bafkqaaa","inputs":{"/in/a":"x"}}"#, "{", ""];
    for body in bodies {
        for path in ["/api/v1/run", "/api/v1/jobs", "/api/v1/run/plan"] {
            let reply = api.post_json(path, body.as_bytes())?;
            ensure!(matches!(reply.status, 400 | 422), "{path} {body}: {}", reply.status);
        }
    }
    Ok(())
}
