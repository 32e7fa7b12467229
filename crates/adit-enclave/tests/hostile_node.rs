//! The real `adit-enclave` against a node that lies, breaks off, and sends nonsense.
//!
//! The node brings every block, so it can fail to deliver; what it must not be able to do is to make the enclave sign
//! something that was computed from other bytes. Proved: no wrong block ever reaches a program, each failure says
//! whose it is and is never an Outcome, nonsense ends the session (or, on the control channel, the enclave) and
//! nothing else, and nothing makes the enclave use memory that the node did not pay for in frames.

#[allow(unreachable_pub, reason = "shared by several programs")]
mod fake_node;

use adit_model::{AccountSecret, Invocation, SealKey, Signed, Task};
use adit_wire::{
    Channel, Inbox, Message,
    channel::Frame,
    control, memory,
    session::{Delivered, Delivery, Failure, Fault, FromEnclave, Start, ToEnclave},
};
use bytes::Bytes;
use cid::Cid;
use fake_node::{Answer, Blocks, Ended, FakeNode, How, Session, task_on, unique};
use std::{
    fs::File,
    io::Read,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_adit-enclave"))
}

fn node() -> FakeNode {
    FakeNode::start(program(), &[], fake_node::hello())
}

fn guest(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guests/bin").join(name);
    let mut bytes = Vec::new();
    File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).expect("a guest");
    bytes
}

struct World {
    node: FakeNode,
    blocks: Blocks,
    task: Task,
    code: Cid,
    input: Cid,
}

fn world() -> World {
    let mut blocks = Blocks::default();
    let code = blocks.add_file(&guest("tiny.wasm"));
    let input = blocks.add_file(b"input");
    World { node: node(), blocks, task: task_on(code, input), code, input }
}

impl World {
    /// Runs the job with one block answered in a way of its own.
    fn run(&self, session: &mut Session, which: &Cid, answer: impl Fn() -> Answer) -> Ended {
        let task = unique(self.task.clone());
        let invocation = self.node.invoke(&task);
        session.start(&task, &invocation, &How::default());
        session.serve(|cid| if cid == which { answer() } else { self.blocks.answer(cid) }).0
    }

    fn is_served(&mut self) {
        let mut session = self.node.session();
        let (ended, heard) =
            session.run(&self.node, &self.blocks, &unique(self.task.clone()), &How::default());
        assert_eq!(heard.results.read(&ended.success().streams().0, ""), b"5\n");
    }
}

#[test]
fn a_lying_node_fails_the_job_and_says_whose_fault_it_is() {
    let mut world = world();
    let mut session = world.node.session();
    let wrong = Arc::new(File::from(memory::sealed(c"wrong", b"wrong bytes, and some more").unwrap()));
    let socket = Channel::pair().unwrap().0.into_socket();
    let socket = Arc::new(File::from(socket));
    let (code, input) = (world.code, world.input);
    for which in [code, input] {
        type Case<'a> = (&'a str, Box<dyn Fn() -> Answer + 'a>, Failure);
        let cases: Vec<Case<'_>> = vec![
            ("wrong bytes", Box::new(|| Answer::Inline(Bytes::from_static(b"INPUT"))), Failure::Host),
            ("no bytes", Box::new(|| Answer::Inline(Bytes::new())), Failure::Host),
            ("a wrong file", Box::new(|| Answer::File(wrong.clone(), 0, 5)), Failure::Host),
            ("a wrong offset", Box::new(|| Answer::File(wrong.clone(), 1 << 40, 5)), Failure::Host),
            ("an impossible offset", Box::new(|| Answer::File(wrong.clone(), u64::MAX, 5)), Failure::Host),
            ("a file too short", Box::new(|| Answer::File(wrong.clone(), 20, 2 << 20)), Failure::Host),
            ("no file at all", Box::new(|| Answer::File(socket.clone(), 0, 5)), Failure::Host),
            ("missing", Box::new(|| Answer::Missing(Fault::Network, "nobody".into())), Failure::Unresolvable),
            ("lost", Box::new(|| Answer::Missing(Fault::Host, "bad disk".into())), Failure::Host),
        ];
        for (what, answer, expected) in cases {
            let (kind, detail) = world.run(&mut session, &which, answer).failure();
            assert_eq!(kind, expected, "{what}: {detail}");
            assert!(detail.contains("block"), "{what}: {detail}");
        }
        // The same session still works, and nothing wrong was kept.
        world.is_served();
    }
    assert!(world.node.stats().blocks_refused >= 4);
    let ended = world.run(&mut session, &input, || world.blocks.answer(&input));
    ended.success();
}

#[test]
fn wrong_blocks_that_come_along_with_a_job_are_found_out() {
    let mut world = world();
    let mut session = world.node.session();
    for which in [world.code, world.input] {
        let push = vec![(which, Bytes::from_static(b"something else"))];
        let how = How { push, ..How::default() };
        let task = unique(world.task.clone());
        let (ended, _) = session.run(&world.node, &world.blocks, &task, &how);
        assert_eq!(ended.failure().0, Failure::Host);
    }
    // One that the job has no right to is never looked at.
    let push = vec![(world.blocks.add_file(b"not an input"), Bytes::from_static(b"whatever"))];
    let task = unique(world.task.clone());
    let (ended, _) = session.run(&world.node, &world.blocks, &task, &How { push, ..How::default() });
    ended.success();
}

#[test]
fn jobs_that_are_malformed_or_not_implemented_are_refused_by_name() {
    let mut world = world();
    let mut session = world.node.session();
    let invocation = world.node.invoke(&world.task);
    let start = |task: Bytes, invocation: Bytes, job| {
        ToEnclave::Start(Box::new(Start {
            job,
            task,
            invocation,
            deadline_ms: 60_000,
            fresh: false,
            live_logs: false,
            blocks: Vec::new(),
        }))
    };
    let good: Bytes = world.task.encode().into();
    let sealed = Invocation { reply_key: Some(SealKey([9; 32])), ..invocation.body().clone() };
    let sealed = Signed::sign(sealed, &world.node.requester).expect("it is valid");
    // Another task's invocation; noise; cut off; an abi of the future.
    let other = world.node.invoke(&unique(world.task.clone()));
    let mut future = good.to_vec();
    let at = future.windows(6).position(|part| part == b"wasip1").expect("the abi's name");
    future.splice(at - 1..at + 6, [b"\x6fwasi:http/proxy".as_slice()].concat());
    let cases = [
        (good.clone(), other.block().clone(), Failure::Refused, "another task"),
        (Bytes::from_static(b"noise"), invocation.block().clone(), Failure::Refused, "task"),
        (good.slice(..good.len() - 1), invocation.block().clone(), Failure::Refused, "task"),
        (good.clone(), Bytes::from_static(b"noise"), Failure::Refused, "invocation"),
        (future.into(), invocation.block().clone(), Failure::NotImplemented, "wasi:http/proxy"),
        (good, sealed.block().clone(), Failure::NotImplemented, "sealed output"),
    ];
    for (task, invocation, kind, part) in cases {
        session.job += 1;
        let job = session.job;
        session.send(&start(task, invocation, job), &[]);
        let (found, detail) = session.serve(|_| Answer::Silence).0.failure();
        assert_eq!(found, kind, "{detail}");
        assert!(detail.contains(part), "{detail}");
    }
    world.is_served();
}

/// Whether the enclave closed the session.
fn is_closed(session: &mut Session) -> bool {
    loop {
        match session.receive() {
            None => return true,
            Some((FromEnclave::Want(_), _)) => {}
            Some(_) => return false,
        }
    }
}

#[test]
fn nonsense_ends_the_session_and_nothing_else() {
    let mut world = world();
    let file = memory::sealed(c"file", b"content").unwrap();
    let delivery = |ticket, block| ToEnclave::Blocks(vec![Delivery { ticket, block }]);
    let of_file = Delivered::File { file: 0, offset: 0, length: 7 };
    let unasked = delivery(1 << 40, Delivered::Inline(Bytes::new()));

    // Between jobs.
    let mut session = world.node.session();
    session.channel.send(b"noise", &[]).unwrap();
    assert!(is_closed(&mut session));
    let mut session = world.node.session();
    let mut frame = Vec::new();
    ToEnclave::Stored { job: 1 }.encode(&mut frame);
    session.channel.send(&frame, &[file.as_fd()]).unwrap();
    assert!(is_closed(&mut session), "a descriptor that no message has");

    // During one.
    let nonsense: [(&str, ToEnclave, bool); 4] = [
        ("unasked", unasked, false),
        ("a file that did not come", delivery(1, of_file), false),
        ("stored too early", ToEnclave::Stored { job: 1 }, false),
        ("a descriptor too many", delivery(1, Delivered::Inline(Bytes::new())), true),
    ];
    for (what, message, with_file) in nonsense {
        let mut session = world.node.session();
        let task = unique(world.task.clone());
        let invocation = world.node.invoke(&task);
        session.start(&task, &invocation, &How::default());
        message.encode(&mut frame);
        let files: Vec<_> = with_file.then(|| file.as_fd()).into_iter().collect();
        session.channel.send(&frame, &files).unwrap();
        assert!(is_closed(&mut session), "{what}");
        world.is_served();
    }
    let mut session = world.node.session();
    for _ in 0..2 {
        let task = unique(world.task.clone());
        let invocation = world.node.invoke(&task);
        session.start(&task, &invocation, &How::default());
    }
    assert!(is_closed(&mut session), "a job during a job");
    world.is_served();
    assert!(world.node.end().success());
}

#[test]
fn late_words_about_earlier_jobs_are_passed_over() {
    let mut world = world();
    let mut session = world.node.session();
    world.run(&mut session, &world.input, || Answer::Missing(Fault::Network, "later".into())).failure();
    // What was wanted by a job that is over; a cancellation of it.
    let late = Delivery { ticket: 1, block: Delivered::Inline(Bytes::from_static(b"late")) };
    session.send(&ToEnclave::Blocks(vec![late.clone()]), &[]);
    session.cancel();
    let task = unique(world.task.clone());
    let invocation = world.node.invoke(&task);
    session.start(&task, &invocation, &How::default());
    session.send(&ToEnclave::Blocks(vec![late]), &[]);
    session.send(&ToEnclave::Stored { job: session.job - 1 }, &[]);
    session.serve(|cid| world.blocks.answer(cid)).0.success();
}

#[test]
fn more_sessions_than_workers_are_closed() {
    let mut world = world();
    let mut sessions = [world.node.session(), world.node.session(), world.node.session()];
    assert!(is_closed(&mut sessions[2]));
    let [first, second, _] = &mut sessions;
    for session in [first, second] {
        world.run(session, &world.input, || world.blocks.answer(&world.input)).success();
    }
}

/// Sends a frame as the very first, or after `Hello`, and waits for the enclave to end.
fn ends_on(frame: &[u8], greeted: bool) {
    let (mut child, control) = match greeted {
        true => {
            let node = node();
            (node.child, node.control)
        }
        false => fake_node::spawn(program(), &[]),
    };
    control.send(frame, &[]).unwrap();
    assert!(!fake_node::wait_for(&mut child).success());
}

#[test]
fn nonsense_on_the_control_channel_ends_the_enclave() {
    ends_on(b"noise", false);
    ends_on(b"noise", true);
    let mut frame = Vec::new();
    control::ToEnclave::GetStats.encode(&mut frame);
    ends_on(&frame, false);
    control::ToEnclave::Endorse { endorsement: Bytes::from_static(b"noise") }.encode(&mut frame);
    ends_on(&frame, true);
    control::ToEnclave::Hello(fake_node::hello()).encode(&mut frame);
    ends_on(&frame, true);
}

#[test]
fn a_node_of_another_version_is_told_so() {
    let (mut child, control) = fake_node::spawn(program(), &[]);
    let mut frame = Vec::new();
    control::ToEnclave::Hello(control::Hello { version: 99, ..fake_node::hello() }).encode(&mut frame);
    control.send(&frame, &[]).unwrap();
    let mut inbox = Inbox::new();
    let Frame { bytes, .. } = control.receive(&mut inbox).unwrap().expect("an answer");
    let Ok(control::FromEnclave::Refused { detail }) = control::FromEnclave::decode(bytes, 0) else {
        panic!("it is refused")
    };
    assert!(detail.contains("99"), "{detail}");
    assert!(!fake_node::wait_for(&mut child).success());
}

#[test]
fn started_by_hand_it_says_what_it_is() {
    let said = std::process::Command::new(program()).arg("--help").output().unwrap();
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("started by `adit daemon`"));
}

#[test]
fn no_receipt_is_signed_outside_of_the_endorsement() {
    let mut world = world();
    world.node.endorse(fake_node::now() - 1);
    let mut session = world.node.session();
    let input = world.input;
    // The session may be served before the endorsement is read: statistics come in order.
    world.node.stats();
    let (kind, detail) = world.run(&mut session, &input, || world.blocks.answer(&input)).failure();
    assert_eq!(kind, Failure::Host);
    assert!(detail.contains("endorsement"), "{detail}");
    world.node.endorse(fake_node::now() + 100);
    world.node.stats();
    world.run(&mut session, &input, || world.blocks.answer(&input)).success();
}

#[test]
fn receipts_are_for_the_invocation_that_came() {
    let mut world = world();
    let mut session = world.node.session();
    let other = AccountSecret::generate().expect("a key");
    let invocation = fake_node::invoke(&other, &world.task);
    session.start(&world.task, &invocation, &How::default());
    let success = session.serve(|cid| world.blocks.answer(cid)).0.success();
    let receipt = success.envelope.verify().expect("it verifies");
    assert_eq!(receipt.invocation, invocation.cid());
    assert_eq!(receipt.task, world.task.cid());
}
