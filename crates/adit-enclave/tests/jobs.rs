//! Real jobs in the real `adit-enclave`, with a fake node that brings blocks honestly.
//!
//! Proved: results and receipts are right and verify; only needed blocks are asked for; a program is compiled once and
//! its worker is used again, for the same issuer only; whatever is killed, cancelled or too late ends at once and
//! disturbs no other job; large outputs are stored before the receipt; an idle enclave keeps no worker; the enclave
//! ends with its node and takes every process along.

#[allow(unreachable_pub, reason = "shared by several programs")]
mod fake_node;

use adit_model::{Abi, AccountSecret, ErrorKind, Input, Limits, OutcomeResult, Profile, Task};
use adit_wire::{
    control,
    session::{Failure, Stream},
};
use cid::Cid;
use fake_node::{Answer, Blocks, Ended, FakeNode, Heard, How, PATIENCE, Success, task, task_on, unique};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

fn enclave(hello: control::Hello) -> FakeNode {
    FakeNode::start(Path::new(env!("CARGO_BIN_EXE_adit-enclave")), &[], hello)
}

fn node() -> FakeNode {
    enclave(fake_node::hello())
}

fn guest(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guests/bin").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A module with one function, `_start`, of this body.
fn module(body: &[u8]) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01".to_vec();
    wasm.extend_from_slice(b"\x07\x13\x02\x06memory\x02\0\x06_start\0\0");
    wasm.extend_from_slice(&[10, body.len() as u8 + 4, 1, body.len() as u8 + 2, 0]);
    wasm.extend_from_slice(body);
    wasm.push(0x0b);
    wasm
}

/// `loop br 0 end`
const ENDLESS: &[u8] = &[0x03, 0x40, 0x0c, 0, 0x0b];
/// `unreachable`
const TRAP: &[u8] = &[0];

/// Runs a job that has to end in an Outcome, and returns its stdout as well.
fn outcome(node: &mut FakeNode, blocks: &Blocks, task: &Task) -> (Box<Success>, Heard, String) {
    let (ended, heard) = node.session().run(node, blocks, task, &How::default());
    let success = ended.success();
    // Code that could not be started wrote nothing.
    let stdout = match &success.outcome.out {
        OutcomeResult::Error { stdout: None, .. } => Vec::new(),
        _ => heard.results.read(&success.streams().0, ""),
    };
    (success, heard, String::from_utf8(stdout).expect("text"))
}

fn error_of(success: &Success) -> (ErrorKind, &str) {
    match &success.outcome.out {
        OutcomeResult::Error { kind, detail, .. } => (*kind, detail),
        other => panic!("{other:?} instead of an error"),
    }
}

/// Children of a process, by the kernel's account.
fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    found
}

fn is_running(pid: u32) -> bool {
    // A zombie is not running.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn kill(pid: u32) {
    // SAFETY: integers only.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

fn wait_until(what: &str, fits: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fits() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_job_reads_its_input_and_its_receipt_holds() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("tiny.wasm"));
    let input = blocks.add_file(&[7; 1000]);
    let (success, heard, stdout) = outcome(&mut node, &blocks, &task_on(code, input));
    assert_eq!((success.exit(), stdout.as_str()), (0, "1000\n"));
    assert_eq!(heard.wants, [code, input]);
    let stats = success.finished.stats;
    assert_eq!((stats.bytes_read, stats.blocks_read, stats.bytes_written), (1000, 1, 5));
    assert!(stats.fuel > 1000 && success.outcome.fuel == stats.fuel && stats.compile_us > 0);
    assert!(success.finished.receipt.is_some(), "a small result comes with its receipt in one frame");

    // Another enclave gives the same Outcome, to the byte.
    let (again, ..) = outcome(&mut self::node(), &blocks, &task_on(code, input));
    assert_eq!(again.finished.outcome, success.finished.outcome);
}

#[test]
fn a_small_job_takes_one_frame_there_and_one_back() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("tiny.wasm"));
    let input = blocks.add_file(&[7; 1000]);
    let push = blocks.memory.iter().map(|(cid, bytes)| (*cid, bytes.clone())).collect();
    let mut session = node.session();
    let how = How { push, ..How::default() };
    for warm in [false, true] {
        let (ended, heard) = session.run(&node, &Blocks::default(), &unique(task_on(code, input)), &how);
        let success = ended.success();
        assert_eq!((heard.frames, success.finished.stats.warm), (1, warm));
        assert_eq!(heard.results.read(&success.streams().0, ""), b"1000\n");
    }
    assert_eq!(node.stats().compiled, 1);
}

#[test]
fn what_a_task_gives_reaches_the_program_and_its_output_comes_back() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("echo.wasm"));
    let long: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let task = Task {
        args: ["exit=42", "err=to the other stream", "out=copy", "word"].map(String::from).into(),
        env: BTreeMap::from([("KEY".into(), "value".into())]),
        stdin: Some(blocks.add_file(&long)),
        ..task(code)
    };
    let (success, heard, stdout) = outcome(&mut node, &blocks, &task);
    let stderr = String::from_utf8(heard.results.read(&success.streams().1, "")).expect("text");
    assert_eq!((success.exit(), stderr.as_str()), (42, "to the other stream\n"), "exit codes arrive whole");
    assert_eq!(stdout, "arg word\nenv KEY=value\nstdin 3000000 bytes\n");
    assert_eq!(heard.results.list(&success.root()), ["copy"]);
    assert!(heard.results.read(&success.root(), "copy") == long);
    assert!(success.finished.receipt.is_none(), "the large result is stored before the receipt is signed");
}

#[test]
fn logs_stream_while_the_program_runs() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("echo.wasm"));
    let task = Task { args: vec!["word".into(), "err=warning".into()], ..task(code) };
    let how = How { live_logs: true, ..How::default() };
    let (ended, heard) = node.session().run(&node, &blocks, &task, &how);
    assert_eq!(ended.success().exit(), 0);
    let of = |which: Stream| -> Vec<u8> {
        heard
            .logs
            .iter()
            .filter(|(stream, _)| *stream == which)
            .flat_map(|(_, bytes)| bytes.to_vec())
            .collect()
    };
    assert_eq!(of(Stream::Stderr), b"warning\n");
    assert!(of(Stream::Stdout).starts_with(b"arg word\n"));
}

#[test]
fn a_seek_fetches_only_the_blocks_that_it_needs() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("seek.wasm"));
    let large: Vec<u8> = (0..40_u32 << 20).map(|i| (i >> 12) as u8).collect();
    let input = blocks.add_file(&large);
    let args = ["100", "20000000", "1000"].map(String::from).into();
    let (success, heard, stdout) = outcome(&mut node, &blocks, &Task { args, ..task_on(code, input) });
    assert_eq!(success.exit(), 0, "{stdout}");
    // The root, one leaf for each offset, and what little was read ahead of 41 blocks.
    assert!(success.finished.stats.blocks_read <= 9, "{:?}", success.finished.stats);
    assert!(heard.wants.contains(&input));
}

#[test]
fn programs_that_fail_make_outcomes_and_leave_the_worker_in_order() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let trap = blocks.add_file(&module(TRAP));
    let (success, ..) = outcome(&mut node, &blocks, &task(trap));
    assert_eq!(error_of(&success).0, ErrorKind::Trap);
    let endless = blocks.add_file(&module(ENDLESS));
    let limits = Limits { fuel: 1_000_000, ..task(endless).limits };
    for warm in [false, true] {
        let (success, ..) = outcome(&mut node, &blocks, &unique(Task { limits, ..task(endless) }));
        assert_eq!(error_of(&success).0, ErrorKind::LimitFuel);
        assert_eq!((success.outcome.fuel, success.finished.stats.warm), (1_000_000, warm));
    }
    for (bytes, part) in [(&b"not a program"[..], "WebAssembly"), (&guest("tiny.wasm")[..2000], "")] {
        let code = blocks.add_file(bytes);
        let (success, ..) = outcome(&mut node, &blocks, &task(code));
        let (kind, detail) = error_of(&success);
        assert_eq!(kind, ErrorKind::Malformed);
        assert!(detail.contains(part), "{detail}");
    }
    let code = blocks.add_file(&guest("tiny.wasm"));
    let (success, ..) = outcome(&mut node, &blocks, &Task { abi: Abi::WasiCliCommand, ..task(code) });
    assert_eq!(error_of(&success).0, ErrorKind::Malformed);
    // Failures are not remembered.
    let (success, ..) = outcome(&mut node, &blocks, &task(trap));
    assert!(!success.finished.stats.remembered);
}

#[test]
fn an_output_bomb_ends_at_its_limit() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("hostile-output_for_ever.wasm"));
    let limits = Limits { output: 8 << 20, ..task(code).limits };
    let (success, heard, _) = outcome(&mut node, &blocks, &Task { limits, ..task(code) });
    let written: usize = heard.results.memory.values().map(bytes::Bytes::len).sum();
    assert!(written <= 9 << 20, "{written} bytes for {:?}", success.outcome);
}

#[test]
fn more_than_the_host_gives_is_refused() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("tiny.wasm"));
    let mut session = node.session();
    for (limits, what) in [
        (Limits { memory: 1 << 40, ..task(code).limits }, "memory"),
        (Limits { output: 1 << 40, ..task(code).limits }, "output"),
    ] {
        let (ended, _) = session.run(&node, &blocks, &Task { limits, ..task(code) }, &How::default());
        let (kind, detail) = ended.failure();
        assert!(kind == Failure::Refused && detail.contains(what), "{detail}");
    }
}

#[test]
fn remembered_outcomes_are_the_enclaves_own_good_ones_only() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("tiny.wasm"));
    let input = blocks.add_file(b"input");
    let task = task_on(code, input);
    let mut session = node.session();
    let run = |session: &mut fake_node::Session, node: &FakeNode, task: &Task, fresh| {
        let how = How { fresh, ..How::default() };
        session.run(node, &blocks, task, &how).0.success().finished.stats.remembered
    };
    assert!(!run(&mut session, &node, &task, false));
    assert!(run(&mut session, &node, &task, false));
    assert!(!run(&mut session, &node, &task, true), "the node can ask for a fresh one");
    let fast = Task { profile: Profile::Fast, ..task };
    assert!(!run(&mut session, &node, &fast, false));
    assert!(!run(&mut session, &node, &fast, false), "nothing says that it would give the same");
}

#[test]
fn a_worker_never_serves_two_issuers() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("tiny.wasm"));
    let input = blocks.add_file(b"input");
    let mut session = node.session();
    let mut warm = |node: &FakeNode| {
        let (ended, _) = session.run(node, &blocks, &unique(task_on(code, input)), &How::default());
        ended.success().finished.stats.warm
    };
    assert!(!warm(&node) && warm(&node));
    node.requester = AccountSecret::generate().expect("a key");
    assert!(!warm(&node), "another issuer gets another worker");
    assert!(warm(&node));
}

/// Starts a job that never ends by itself and waits until it is running.
fn start_endless(node: &mut FakeNode, blocks: &mut Blocks, how: &How) -> fake_node::Session {
    let session = ask_for_endless(node, blocks, how);
    node.wait_for_stats("compiling", |stats| stats.codes_cached > 0);
    let pid = node.child.id();
    wait_until("starting the worker", || children(pid).into_iter().any(busy));
    session
}

fn ask_for_endless(node: &mut FakeNode, blocks: &mut Blocks, how: &How) -> fake_node::Session {
    let code = blocks.add_file(&module(ENDLESS));
    let task = unique(task(code));
    let invocation = node.invoke(&task);
    let mut session = node.session();
    let push = vec![(code, blocks.memory[&code].clone())];
    session.start(&task, &invocation, &How { push, ..how.clone() });
    session
}

/// Whether a process has used a tenth of a second of processor time, so is past starting.
fn busy(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    rest.split_whitespace()
        .nth(11)
        .and_then(|ticks| ticks.parse::<u64>().ok())
        .is_some_and(|ticks| ticks >= 10)
}

/// A job of another session that must not be disturbed.
fn is_served(node: &mut FakeNode, blocks: &mut Blocks) {
    let code = blocks.add_file(&guest("tiny.wasm"));
    let input = blocks.add_file(b"input");
    let (success, _, stdout) = outcome(node, blocks, &unique(task_on(code, input)));
    assert_eq!((success.exit(), stdout.as_str()), (0, "5\n"));
}

#[test]
fn killing_a_worker_fails_its_job_and_no_other() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let mut session = start_endless(&mut node, &mut blocks, &How::default());
    children(node.child.id()).into_iter().for_each(kill);
    let (kind, detail) = session.serve(|_| Answer::Silence).0.failure();
    assert_eq!(kind, Failure::Worker, "{detail}");
    is_served(&mut node, &mut blocks);
    // The session goes on.
    let code = blocks.add_file(&module(TRAP));
    assert!(matches!(session.run(&node, &blocks, &task(code), &How::default()).0, Ended::Finished(_)));
}

#[test]
fn cancelling_ends_a_job_at_once() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let mut session = start_endless(&mut node, &mut blocks, &How::default());
    is_served(&mut node, &mut blocks);
    let began = Instant::now();
    session.cancel();
    let (kind, _) = session.serve(|_| Answer::Silence).0.failure();
    assert_eq!(kind, Failure::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let pid = node.child.id();
    wait_until("ending the worker", || !children(pid).into_iter().any(busy));
    // A cancellation that comes too late is for nobody.
    session.cancel();
    let code = blocks.add_file(&module(TRAP));
    assert!(matches!(session.run(&node, &blocks, &task(code), &How::default()).0, Ended::Finished(_)));
}

#[test]
fn a_job_is_killed_at_its_deadline_whatever_it_waits_for() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let how = How { deadline: Some(Duration::from_millis(1500)), ..How::default() };
    // For the program's end.
    let mut session = ask_for_endless(&mut node, &mut blocks, &how);
    assert_eq!(session.serve(|_| Answer::Silence).0.failure().0, Failure::Deadline);
    // For the code, then for the input.
    let how = How { deadline: Some(Duration::from_millis(300)), ..How::default() };
    let code = blocks.add_file(&guest("tiny.wasm"));
    let input = blocks.add_file(b"input");
    let task = task_on(code, input);
    for missing in [code, input] {
        let invocation = node.invoke(&task);
        session.start(&task, &invocation, &how);
        let silent = |cid: &Cid| if *cid == missing { Answer::Silence } else { blocks.answer(cid) };
        assert_eq!(session.serve(silent).0.failure().0, Failure::Deadline);
        is_served(&mut node, &mut blocks.clone());
    }
}

#[test]
fn closing_a_session_ends_its_job() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let session = start_endless(&mut node, &mut blocks, &How::default());
    drop(session);
    let pid = node.child.id();
    wait_until("ending the worker", || !children(pid).into_iter().any(busy));
    is_served(&mut node, &mut blocks);
}

#[test]
fn the_enclave_ends_with_its_node_and_takes_its_workers_along() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let session = start_endless(&mut node, &mut blocks, &How::default());
    let workers = children(node.child.id());
    assert!(!workers.is_empty());
    assert!(node.end().success());
    wait_until("ending the workers", || !workers.iter().any(|pid| is_running(*pid)));
    drop(session);
}

#[test]
fn killing_the_enclave_kills_its_workers() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let _session = start_endless(&mut node, &mut blocks, &How::default());
    let workers = children(node.child.id());
    kill(node.child.id());
    wait_until("ending the workers", || !workers.iter().any(|pid| is_running(*pid)));
    fake_node::wait_for(&mut node.child);
}

#[test]
fn an_idle_enclave_keeps_no_worker() {
    let mut node = enclave(control::Hello { idle_ms: 300, ..fake_node::hello() });
    let mut blocks = Blocks::default();
    is_served(&mut node, &mut blocks);
    let pid = node.child.id();
    wait_until("letting the workers go", || children(pid).is_empty());
    assert_eq!(node.stats().workers_alive, 0);
    is_served(&mut node, &mut blocks);
}

#[test]
fn jobs_of_two_sessions_run_side_by_side() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("tiny.wasm"));
    let inputs: Vec<Cid> = (0..4_u32).map(|i| blocks.add_file(&vec![1; 1000 + i as usize])).collect();
    let mut sessions = [node.session(), node.session()];
    let node = &node;
    let blocks = &blocks;
    std::thread::scope(|scope| {
        for (i, session) in sessions.iter_mut().enumerate() {
            let inputs = &inputs;
            scope.spawn(move || {
                for round in 0..50 {
                    let which = (i + round) % inputs.len();
                    let task = unique(task_on(code, inputs[which]));
                    let (ended, heard) = session.run(node, blocks, &task, &How::default());
                    let stdout = heard.results.read(&ended.success().streams().0, "");
                    assert_eq!(String::from_utf8(stdout).unwrap(), format!("{}\n", 1000 + which));
                }
            });
        }
    });
}

#[test]
fn inputs_stand_where_the_task_says() {
    let (mut node, mut blocks) = (node(), Blocks::default());
    let code = blocks.add_file(&guest("lines.wasm"));
    let folder = blocks.add_directory(&[("one.txt", b"a\nb\n"), ("two.txt", b"c\n")]);
    let alone = blocks.add_file(b"x\ny\nz\n");
    let inputs = BTreeMap::from([
        ("/in/folder".to_owned(), Input::Cid(folder)),
        ("/in/deep/er/file".to_owned(), Input::Cid(alone)),
    ]);
    let args = ["/in/folder/one.txt", "/in/folder/two.txt", "/in/deep/er/file"].map(String::from).into();
    let (success, _, stdout) = outcome(&mut node, &blocks, &Task { inputs, args, ..task(code) });
    assert_eq!(success.exit(), 0);
    assert_eq!(stdout, "2 /in/folder/one.txt\n1 /in/folder/two.txt\n3 /in/deep/er/file\n");
}
