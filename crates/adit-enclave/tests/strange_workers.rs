//! The enclave against workers and compilers that are not ours.
//!
//! A worker holds a stranger's program: should that program ever break out of WebAssembly, it can say anything on
//! the worker's socket. So this program plays all parts: it is the enclave (the real code, but starting *this* binary
//! as worker and compiler), the strange worker, the strange compiler, and the fake node that judges what comes of it.
//!
//! Proved of every strangeness: the job fails with a fault of the host and never an Outcome, the strange process
//! is ended, no block is served that the job has no right to, and the next job, in another worker, is done.

#[allow(unreachable_pub, reason = "shared by several programs")]
mod fake_node;

use adit_exec::{
    enclave::{self, Program, Programs},
    worker_wire::{
        Content, Done, End, FromCompiler, FromWorker, LogStream, OutputKind, OutputNode, Run, ToCompiler,
        ToWorker, Want,
    },
};
use adit_model::{ErrorKind, OutcomeResult, Task};
use adit_unixfs::Block;
use adit_wire::{
    Channel, Inbox, Message,
    memory::{self, Mapping},
    session::Failure,
};
use bytes::Bytes;
use cid::Cid;
use fake_node::{Answer, Blocks, Ended, FakeNode, Heard, How, task, task_on, unique};
use std::{
    fs::File,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["enclave"] => {
            let this = |word: &str| Program { path: "/proc/self/exe".into(), words: vec![word.into()] };
            let programs = Programs { worker: this("worker"), compiler: this("compiler") };
            match enclave::serve(channel(), programs) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
        ["worker", ..] => {
            worker(channel());
            ExitCode::SUCCESS
        }
        ["compiler", ..] => {
            compiler(channel());
            ExitCode::SUCCESS
        }
        filters => tests(filters),
    }
}

fn channel() -> Channel {
    // Strange, but not so strange as to outlive the test. SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: whoever starts these parts passes the channel as descriptor 3, and nothing else claims it.
    Channel::from_socket(unsafe { OwnedFd::from_raw_fd(3) }).expect("a channel")
}

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("an_honest_stand_in_does_its_job", an_honest_stand_in_does_its_job),
    ("strange_workers_are_ended_and_disturb_nobody", strange_workers_are_ended_and_disturb_nobody),
    ("a_silent_worker_ends_at_the_deadline", a_silent_worker_ends_at_the_deadline),
    ("a_chattering_worker_ends_at_the_deadline", a_chattering_worker_ends_at_the_deadline),
    ("a_job_is_cancelled_whatever_its_worker_does", a_job_is_cancelled_whatever_its_worker_does),
    ("nothing_is_served_without_right", nothing_is_served_without_right),
    ("the_output_of_pages_is_put_together", the_output_of_pages_is_put_together),
    (
        "a_worker_that_changes_its_output_later_changes_nothing",
        a_worker_that_changes_its_output_later_changes_nothing,
    ),
    ("strange_compilers_give_no_code", strange_compilers_give_no_code),
    ("compilers_that_find_fault_make_outcomes", compilers_that_find_fault_make_outcomes),
    ("two_jobs_share_one_compilation", two_jobs_share_one_compilation),
];

/// A test harness as small as this program's double life allows: filters by name, as cargo passes them.
fn tests(filters: &[&str]) -> ExitCode {
    let names: Vec<_> = filters.iter().filter(|word| !word.starts_with("--")).collect();
    let chosen = |name: &str| names.is_empty() || names.iter().any(|filter| name.contains(**filter));
    if filters.contains(&"--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// ---------------------------------------------------------------- the strange compiler

/// Does as the "module" says, which is a WebAssembly header and a word.
fn compiler(channel: Channel) {
    let mut inbox = Inbox::new();
    let frame = channel.receive(&mut inbox).unwrap().unwrap();
    let ToCompiler { length } = ToCompiler::decode(frame.bytes, 1).unwrap();
    let module = Mapping::read_only(frame.descriptors[0].as_fd(), length as usize).unwrap();
    let word = str::from_utf8(&module.bytes()[8..]).unwrap().to_owned();
    let say = |message: FromCompiler, file: Option<&OwnedFd>| {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        let files: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
        let _ = channel.send(&frame, &files);
    };
    let compiled = |length| FromCompiler::Compiled { length };
    match word.as_str() {
        "compiler: dies" => {}
        // SAFETY: an integer.
        "compiler: denied" => drop(unsafe { libc::raise(libc::SIGSYS) }),
        "compiler: noise" => channel.send(b"noise", &[]).unwrap(),
        "compiler: open file" => {
            say(compiled(4), Some(&memory::scratch(c"code", 4).unwrap()));
        }
        "compiler: wrong length" => say(compiled(5), Some(&memory::sealed(c"code", b"code").unwrap())),
        "compiler: not a memory file" => {
            say(compiled(4), Some(&File::open("/proc/self/exe").unwrap().into()))
        }
        "compiler: too long" => say(compiled(u64::MAX), Some(&memory::sealed(c"code", b"code").unwrap())),
        "compiler: hangs" => std::thread::sleep(Duration::from_secs(600)),
        "compiler: host" => say(FromCompiler::Host("no memory".into()), None),
        "compiler: refuses" => {
            let kind = adit_exec::fault::CodeFaultKind::TooMuch;
            let fault = adit_exec::fault::CodeFault::new(kind, "too many functions");
            say(FromCompiler::Refused(fault), None);
        }
        other => {
            if other.contains("slowly") {
                std::thread::sleep(Duration::from_millis(300));
            }
            say(compiled(other.len() as u64), Some(&memory::sealed(c"code", other.as_bytes()).unwrap()));
        }
    }
}

// ---------------------------------------------------------------- the strange worker

struct Strange {
    channel: Channel,
    inbox: Inbox,
    frame: Vec<u8>,
}

impl Strange {
    fn say(&mut self, message: &FromWorker) {
        message.encode(&mut self.frame);
        let _ = self.channel.send(&self.frame, &[]);
    }

    fn hear(&mut self) -> (ToWorker, Vec<OwnedFd>) {
        let Ok(Some(frame)) = self.channel.receive(&mut self.inbox) else { std::process::exit(0) };
        (ToWorker::decode(frame.bytes, frame.descriptors.len()).unwrap(), frame.descriptors)
    }

    fn done(&mut self, end: End, stdout: &[u8]) {
        self.done_with(end, Content::Inline(Bytes::copy_from_slice(stdout)));
    }

    fn done_with(&mut self, end: End, stdout: Content) {
        let stderr = Content::Inline(Bytes::new());
        let done = Done { end, fuel: 10, stdout, stderr, blocks_read: 0, bytes_read: 0 };
        self.say(&FromWorker::Done(Box::new(done)));
    }
}

fn want(cid: Cid, slot: u32) -> Want {
    Want { cid, slot }
}

fn stranger() -> Cid {
    Block::new(adit_unixfs::block::RAW, &b"somebody else's secret"[..]).cid
}

fn forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(600));
    }
}

/// Does as its "machine code" says.
fn worker(channel: Channel) {
    let mut worker = Strange { channel, inbox: Inbox::new(), frame: Vec::new() };
    let (ToWorker::Open { slots, slot_size, output }, files) = worker.hear() else {
        panic!("Open comes first")
    };
    let slots_file = files[0].try_clone().unwrap();
    let output_file = File::from(files[1].try_clone().unwrap());
    assert_eq!(memory::length(output_file.as_fd()).unwrap(), output);
    let memory = Mapping::read_only(slots_file.as_fd(), (slots * slot_size) as usize).unwrap();
    worker.say(&FromWorker::Ready);
    let (ToWorker::Load { length, .. }, code) = worker.hear() else { panic!("Load comes second") };
    let code = memory::copy_out(code[0].as_fd(), 0, length as usize).unwrap();
    let code = String::from_utf8(code).unwrap();
    if code == "dies while loading" {
        return;
    }
    worker.say(&FromWorker::Loaded);
    loop {
        let (ToWorker::Run(job), _) = worker.hear() else { panic!("jobs come next") };
        let input = job.inputs.first().map(|(_, root)| *root);
        match code.as_str() {
            "dies" => return,
            "noise" => worker.channel.send(b"noise", &[]).unwrap(),
            "descriptor" => {
                worker.done(End::Exit(0), b"");
                // As if `Done` had come with a present.
                worker.channel.send(&worker.frame, &[slots_file.as_fd()]).unwrap();
            }
            "present" => {
                FromWorker::Want(vec![]).encode(&mut worker.frame);
                worker.channel.send(&worker.frame, &[slots_file.as_fd()]).unwrap();
            }
            "says ready again" => worker.say(&FromWorker::Ready),
            "wants no slot" => worker.say(&FromWorker::Want(vec![want(input.unwrap(), slots)])),
            "wants too much" => {
                let wants = (0..=slots).map(|i| want(input.unwrap(), i.min(slots - 1))).collect();
                worker.say(&FromWorker::Want(wants));
            }
            "done too early" => {
                worker.say(&FromWorker::Want(vec![want(input.unwrap(), 0)]));
                worker.done(End::Exit(0), b"");
            }
            "misses what it was not refused" => worker.done(End::Unserved(stranger()), b""),
            "too much output" => {
                let runs = vec![Run { first: 0, count: 1 }];
                worker.done_with(End::Exit(0), Content::Pages { length: 1 << 40, runs });
            }
            "pages outside" => {
                let runs = vec![Run { first: u32::MAX, count: u32::MAX }];
                worker.done_with(End::Exit(0), Content::Pages { length: 100, runs });
            }
            "too few pages" => {
                let runs = vec![Run { first: 0, count: 1 }];
                worker.done_with(End::Exit(0), Content::Pages { length: 5000, runs });
            }
            "too many pages" => {
                let runs = vec![Run { first: 0, count: 1 }; 2];
                worker.done_with(End::Exit(0), Content::Pages { length: 100, runs });
            }
            "no pages in a run" => {
                let runs = vec![Run { first: 0, count: 0 }];
                worker.done_with(End::Exit(0), Content::Pages { length: 100, runs });
            }
            "the same page many times" => {
                let runs = vec![Run { first: 0, count: 4096 }; 4096];
                worker.done_with(End::Exit(0), Content::Pages { length: 4096 * 4096 * 4096, runs });
            }
            "output up" | "output nowhere" | "output twice" | "output unnamed" | "output nul"
            | "output dots" => {
                let file = || OutputKind::File(Content::Inline(Bytes::new()));
                let node = |path: &str, kind| OutputNode { path: path.into(), kind };
                worker.say(&FromWorker::Output(match code.as_str() {
                    "output up" => vec![node("../up", file())],
                    "output nowhere" => vec![node("folder/file", file())],
                    "output twice" => vec![node("a", file()), node("a", file())],
                    "output nul" => vec![node("a\0b", file())],
                    "output dots" => vec![node("..", OutputKind::Directory)],
                    _ => vec![node("", file())],
                }));
                worker.done(End::Exit(0), b"");
            }
            "output without end" => loop {
                let node = |i: u32| OutputNode { path: format!("d{i}"), kind: OutputKind::Directory };
                worker.say(&FromWorker::Output((0..4000).map(node).collect()));
            },
            "logs unasked" => {
                worker.say(&FromWorker::Log { stream: LogStream::Stdout, bytes: vec![7; 100].into() });
                forever();
            }
            "host" => worker.done(End::Host("out of memory".into()), b""),
            "silent" => forever(),
            "chatters" => loop {
                worker.say(&FromWorker::Want(Vec::new()));
            },
            "asks and never reads" => loop {
                worker.say(&FromWorker::Want(vec![want(stranger(), 0); 16]));
            },
            "greedy" => {
                worker.say(&FromWorker::Want(vec![want(stranger(), 0), want(input.unwrap(), 1)]));
                let mut answers = vec![format!("{:?}", worker.hear().0), format!("{:?}", worker.hear().0)];
                answers.sort();
                let seen = &memory.bytes()[slot_size as usize..][..5];
                let text = format!("{answers:?} {}", str::from_utf8(seen).unwrap_or("?"));
                worker.done(End::Exit(0), text.as_bytes());
            }
            "pages" => {
                output_file.write_all_at(&[b'a'; 4096], 2 * 4096).unwrap();
                output_file.write_all_at(b"bcd", 5 * 4096).unwrap();
                let content = Content::Pages {
                    length: 4099,
                    runs: vec![Run { first: 2, count: 1 }, Run { first: 5, count: 1 }],
                };
                let nodes = vec![
                    OutputNode { path: "d".into(), kind: OutputKind::Directory },
                    OutputNode { path: "d-file".into(), kind: OutputKind::File(content.clone()) },
                    OutputNode { path: "d/e".into(), kind: OutputKind::Directory },
                    OutputNode { path: "d/e/link".into(), kind: OutputKind::Symlink("../../d-file".into()) },
                ];
                worker.say(&FromWorker::Output(nodes));
                worker.done_with(End::Exit(3), content);
            }
            "changes its output" => {
                let pages = 2048;
                let content = Content::Pages {
                    length: 4096 * u64::from(pages),
                    runs: vec![Run { first: 0, count: pages }],
                };
                worker.done_with(End::Exit(0), content);
                for i in 0.. {
                    let _ = output_file.write_all_at(&[i as u8; 64], i % 2048 * 4096);
                }
            }
            _ => worker.done(End::Exit(job.args.len() as u8), code.as_bytes()),
        }
    }
}

// ---------------------------------------------------------------- the tests

fn node() -> FakeNode {
    let this = std::env::current_exe().expect("this program");
    FakeNode::start(&this, &["enclave"], fake_node::hello())
}

/// Adds a "program": a WebAssembly header, then what compiler and worker are to do.
fn program(blocks: &mut Blocks, what: &str) -> Cid {
    blocks.add_file(&[b"\0asm\x01\0\0\0", what.as_bytes()].concat())
}

fn an_honest_stand_in_does_its_job() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let mut session = node.session();
    let code = program(&mut blocks, "fine");
    let task = Task { args: vec!["one".into(), "two".into()], ..task(code) };
    let (ended, heard) = session.run(&node, &blocks, &task, &How::default());
    let success = ended.success();
    assert_eq!(success.exit(), 3, "the program's name and two arguments");
    assert_eq!(heard.results.read(&success.streams().0, ""), b"fine");
    assert_eq!(heard.results.list(&success.root()), [""; 0]);
    assert_eq!(heard.frames, 2, "one want for the code, one last word with result and receipt");
    assert!(!success.finished.stats.warm && !success.finished.stats.remembered);

    // Again: remembered, but with a receipt of its own.
    let (ended, heard) = session.run(&node, &blocks, &task, &How::default());
    let again = ended.success();
    assert!(again.finished.stats.remembered && heard.wants.is_empty() && heard.results.memory.is_empty());
    assert_eq!(again.outcome, success.outcome);
    assert_ne!(again.envelope, success.envelope);

    // Not remembered when it is to be fresh; warm and without asking for code.
    let (ended, heard) = session.run(&node, &blocks, &task, &How { fresh: true, ..How::default() });
    let fresh = ended.success();
    assert!(fresh.finished.stats.warm && !fresh.finished.stats.remembered && heard.frames == 1);
    assert_eq!(fresh.outcome, success.outcome);
    let stats = node.stats();
    assert_eq!((stats.jobs, stats.remembered_jobs, stats.compiled, stats.codes_cached), (3, 1, 1, 1));
    assert_eq!(node.codes, [(code, true)]);
    assert!(node.end().success());
}

/// What each strange worker does, and a word of why the job failed.
const STRANGE: &[(&str, &str)] = &[
    ("dies", "process ended"),
    ("dies while loading", "process ended"),
    ("noise", "unknown message"),
    ("present", "descriptors"),
    ("says ready again", "Ready"),
    ("wants no slot", "slots"),
    ("wants too much", "slots"),
    ("done too early", "still wants"),
    ("misses what it was not refused", "not refused"),
    ("too much output", "more output"),
    ("pages outside", "outside"),
    ("too few pages", "fewer pages"),
    ("too many pages", "more pages"),
    ("no pages in a run", "outside"),
    ("the same page many times", "more output"),
    ("output up", "no directory"),
    ("output nowhere", "no directory"),
    ("output twice", "already has an entry"),
    ("output unnamed", "not allowed"),
    ("output nul", "not allowed"),
    ("output dots", "not allowed"),
    ("output without end", "more output nodes"),
    ("logs unasked", "logs"),
    ("asks and never reads", "does not read"),
    ("host", "out of memory"),
];

fn strange_workers_are_ended_and_disturb_nobody() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let input = blocks.add_file(b"input");
    let mut session = node.session();
    let fine = program(&mut blocks, "fine");
    for (strange, reason) in STRANGE {
        let code = program(&mut blocks, strange);
        let answer = |cid: &Cid| if *cid == input { Answer::Silence } else { blocks.answer(cid) };
        let task = unique(task_on(code, input));
        let invocation = node.invoke(&task);
        session.start(&task, &invocation, &How::default());
        let (kind, detail) = session.serve(answer).0.failure();
        assert_eq!(kind, Failure::Worker, "{strange}: {detail}");
        assert!(detail.contains(reason), "{strange}: {detail}");
        let (ended, _) = session.run(&node, &blocks, &unique(task_on(fine, input)), &How::default());
        assert_eq!(ended.success().exit(), 1, "after {strange}");
    }
    // All strange ones are gone: what is left is the warm one and, perhaps, a spare.
    node.wait_for_stats("ending the strange workers", |stats| stats.workers_alive <= 2);
    assert!(node.end().success());
}

/// Runs a job that will not end by itself; returns how it ended and how long that took.
fn run_for(what: &str, how: &How, meanwhile: impl FnOnce(&mut fake_node::Session)) -> (Ended, Duration) {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let mut session = node.session();
    // Compiled and started before time is taken.
    let code = program(&mut blocks, what);
    let task = task(code);
    let invocation = node.invoke(&task);
    let began = Instant::now();
    session.start(&task, &invocation, how);
    let mut heard = Heard::default();
    let wanted = session.receive().expect("a want for the code").0;
    let adit_wire::session::FromEnclave::Want(wants) = wanted else { panic!("{wanted:?}") };
    session.answer(&wants, &mut |cid| blocks.answer(cid));
    meanwhile(&mut session);
    let ended = session.serve_into(&mut heard, |cid| blocks.answer(cid));
    let took = began.elapsed();
    node.wait_for_stats("ending the worker", |stats| stats.workers_alive <= 1);
    (ended, took)
}

fn a_silent_worker_ends_at_the_deadline() {
    let how = How { deadline: Some(Duration::from_millis(400)), ..How::default() };
    let (ended, took) = run_for("silent", &how, |_| ());
    assert_eq!(ended.failure().0, Failure::Deadline);
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(20), "{took:?}");
}

fn a_chattering_worker_ends_at_the_deadline() {
    let how = How { deadline: Some(Duration::from_millis(400)), ..How::default() };
    let (ended, took) = run_for("chatters", &how, |_| ());
    assert_eq!(ended.failure().0, Failure::Deadline);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

fn a_job_is_cancelled_whatever_its_worker_does() {
    for what in ["silent", "chatters"] {
        let (ended, took) = run_for(what, &How::default(), |session| {
            std::thread::sleep(Duration::from_millis(100));
            session.cancel();
        });
        assert_eq!(ended.failure().0, Failure::Cancelled, "{what}");
        assert!(took < Duration::from_secs(20), "{what}: {took:?}");
    }
}

fn nothing_is_served_without_right() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let secret = blocks.add_file(b"somebody else's secret");
    assert_eq!(secret, stranger());
    let input = blocks.add_file(b"input");
    let code = program(&mut blocks, "greedy");
    let (ended, heard) = node.session().run(&node, &blocks, &task_on(code, input), &How::default());
    let stdout = heard.results.read(&ended.success().streams().0, "");
    let expected = r#"["Have { slot: 1, length: 5 }", "Refused { slot: 0, why: NotLinked }"] input"#;
    assert_eq!(str::from_utf8(&stdout).unwrap(), expected);
    assert_eq!(heard.wants, [code, input], "the node was not even asked");
}

fn the_output_of_pages_is_put_together() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = program(&mut blocks, "pages");
    let mut session = node.session();
    // Twice in the same worker: what the first left behind is gone.
    for _ in 0..2 {
        let (ended, heard) = session.run(&node, &blocks, &unique(task(code)), &How::default());
        let success = ended.success();
        assert_eq!(success.exit(), 3);
        let expected = [&[b'a'; 4096][..], b"bcd"].concat();
        assert_eq!(heard.results.read(&success.streams().0, ""), expected);
        assert_eq!(heard.results.read(&success.root(), "d-file"), expected);
        assert_eq!(heard.results.list(&success.root()), ["d", "d-file"]);
        assert_eq!(success.finished.stats.bytes_written, 2 * 4099);
    }
}

fn a_worker_that_changes_its_output_later_changes_nothing() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = program(&mut blocks, "changes its output");
    let mut session = node.session();
    let invocation = node.invoke(&task(code));
    session.start(&task(code), &invocation, &How::default());
    // Every block that arrives is checked against its CID by the fake node; a block hashed before it was copied
    // would not fit.
    let (ended, heard) = session.serve(|cid| blocks.answer(cid));
    let success = ended.success();
    assert_eq!(heard.results.read(&success.streams().0, "").len(), 2048 * 4096);
    assert!(success.finished.receipt.is_none(), "eight megabytes are stored before the receipt is given");
}

fn strange_compilers_give_no_code() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let mut session = node.session();
    for (strange, kind, reason) in [
        ("compiler: dies", Failure::Refused, "compiling"),
        ("compiler: denied", Failure::Worker, "its jail denies"),
        ("compiler: noise", Failure::Worker, "unknown"),
        ("compiler: open file", Failure::Worker, "not sealed"),
        ("compiler: wrong length", Failure::Worker, "another length"),
        ("compiler: not a memory file", Failure::Worker, ""),
        ("compiler: too long", Failure::Worker, "machine code"),
        ("compiler: host", Failure::Worker, "no memory"),
    ] {
        let code = program(&mut blocks, strange);
        let (ended, _) = session.run(&node, &blocks, &task(code), &How::default());
        let (found, detail) = ended.failure();
        assert_eq!(found, kind, "{strange}: {detail}");
        assert!(detail.contains(reason), "{strange}: {detail}");
    }
    assert_eq!(node.stats().codes_cached, 1, "only that the first is too slow for this host is kept");
    // Refused without trying again: the compiler is not started.
    let compiled = node.stats().compiled;
    let code = program(&mut blocks, "compiler: dies");
    let (ended, heard) = session.run(&node, &blocks, &unique(task(code)), &How::default());
    assert_eq!((ended.failure().0, heard.wants.len()), (Failure::Refused, 0));
    assert_eq!(node.stats().compiled, compiled);
    // One that hangs is ended with the job.
    let code = program(&mut blocks, "compiler: hangs");
    let how = How { deadline: Some(Duration::from_millis(300)), ..How::default() };
    let (ended, _) = session.run(&node, &blocks, &task(code), &how);
    assert_eq!(ended.failure().0, Failure::Deadline);
    node.wait_for_stats("ending the compiler", |stats| stats.workers_alive <= 1);
}

fn compilers_that_find_fault_make_outcomes() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let mut session = node.session();
    let not_wasm = blocks.add_file(b"#!/bin/sh");
    let folder = blocks.add_directory(&[("module.wasm", b"\0asm")]);
    let refused = program(&mut blocks, "compiler: refuses");
    for (code, reason) in
        [(not_wasm, "not WebAssembly"), (folder, "not a file"), (refused, "too many functions")]
    {
        let (ended, _) = session.run(&node, &blocks, &task(code), &How::default());
        let success = ended.success();
        let OutcomeResult::Error { kind: ErrorKind::Malformed, detail, stdout: None, .. } =
            &success.outcome.out
        else {
            panic!("{:?}", success.outcome);
        };
        assert!(detail.contains(reason), "{detail}");
        assert!(!success.finished.stats.remembered);
    }
    // Code of the other kind than the task says.
    let code = program(&mut blocks, "fine");
    let task = Task { abi: adit_model::Abi::WasiCliCommand, ..task(code) };
    let (ended, _) = session.run(&node, &blocks, &task, &How::default());
    let OutcomeResult::Error { detail, .. } = ended.success().outcome.out else { panic!("an error") };
    assert!(detail.contains("core module"), "{detail}");
}

fn two_jobs_share_one_compilation() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = program(&mut blocks, "slowly");
    let mut sessions = [node.session(), node.session()];
    let tasks = [unique(task(code)), unique(task(code))];
    for (session, task) in sessions.iter_mut().zip(&tasks) {
        let invocation = node.invoke(task);
        session.start(task, &invocation, &How::default());
        if task == &tasks[0] {
            // It wants the program: so it is the one that the other waits for, and is served first below.
            fake_node::wait_until_readable(&session.channel);
        }
    }
    let mut wants = 0;
    for session in &mut sessions {
        let (ended, heard) = session.serve(|cid| blocks.answer(cid));
        assert_eq!(ended.success().exit(), 1);
        wants += heard.wants.len();
    }
    assert_eq!((wants, node.stats().compiled), (1, 1));
}
