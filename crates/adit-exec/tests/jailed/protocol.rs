//! The conversation: several jobs for one worker, malformed frames, wants that nobody answers, deaths.

use crate::{
    content::Content,
    enclave::{self, CompileError, Worker, code, compile, guest, job, job_on},
};
use adit_exec::{
    engine::Profile,
    fault::CodeFaultKind,
    worker_wire::{End, FromWorker, ToWorker},
};
use bytes::Bytes;

crate::tests![
    one_worker_serves_many_jobs_and_none_sees_another,
    a_small_job_takes_one_frame_each_way,
    what_is_not_code_is_refused_with_a_reason,
    a_block_that_does_not_come_ends_the_job_without_a_fault,
    a_killed_worker_takes_nobody_with_it,
    a_malformed_frame_ends_the_worker_cleanly,
    live_logs_are_the_same_bytes_as_the_collected_ones,
    equal_jobs_have_equal_ends_in_any_worker,
];

fn one_worker_serves_many_jobs_and_none_sees_another() {
    let code = code(guest("lines"));
    let mut worker = Worker::loaded(&code);
    for count in 1..50_usize {
        let mut content = Content::default();
        let data = content.file("line\n".repeat(count));
        let ran = worker.run(job_on(data.cid, &["lines"]), &content);
        assert_eq!((ran.exit(), ran.text()), (0, &*format!("{count} /in/data\n")));
        assert_eq!(ran.wanted, [data.cid]);
    }
}

fn a_small_job_takes_one_frame_each_way() {
    let mut content = Content::default();
    let data = content.file("a\nb\n");
    let mut job = job_on(data.cid, &["lines"]);
    job.pushed = enclave::pushed(&content, &[data.cid]);
    let ran = enclave::run(&code(guest("lines")), job, &content);
    assert_eq!(ran.text(), "2 /in/data\n");
    assert_eq!((ran.want_frames, ran.live_frames), (0, 0));
    assert_eq!((ran.done.blocks_read, ran.done.bytes_read), (1, 4));
}

fn what_is_not_code_is_refused_with_a_reason() {
    let good = guest("lines");
    let broken = [&b"\0asm\x01\0\0\0"[..], &[1, 255, 255, 255]].concat();
    for (what, bytes) in [
        ("nothing", &b""[..]),
        ("text", b"#!/bin/sh"),
        ("cut off", &good[..good.len() / 2]),
        ("broken", &broken),
    ] {
        match compile(Profile::Deterministic, bytes) {
            Err(CompileError::Refused(fault)) => {
                assert_eq!(fault.kind, CodeFaultKind::Invalid, "{what}: {fault}");
            }
            other => panic!("{what}: {:?}", other.err()),
        }
    }
    // Valid as far as a first look goes, with a body that does not type-check.
    let mut bad =
        wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start") i32.const 1 drop))"#)
            .unwrap();
    let drop = bad.iter().rposition(|byte| *byte == 0x1a).unwrap();
    bad[drop] = 0x01;
    assert!(matches!(compile(Profile::Fast, &bad), Err(CompileError::Refused(_))));
}

fn a_block_that_does_not_come_ends_the_job_without_a_fault() {
    let code = code(guest("lines"));
    let mut content = Content::default();
    let data = content.file(vec![b'\n'; 3 << 20]);
    let whole = content.clone();
    let leaf = *content.blocks.keys().find(|cid| **cid != data.cid).unwrap();
    content.blocks.remove(&leaf);
    let mut worker = Worker::loaded(&code);
    let ran = worker.run(job_on(data.cid, &["lines"]), &content);
    assert_eq!(ran.done.end, End::Unserved(leaf));
    let ran = worker.run(job_on(data.cid, &["lines"]), &whole);
    assert_eq!(ran.text(), format!("{} /in/data\n", 3 << 20), "the worker is as good as new");
}

fn a_killed_worker_takes_nobody_with_it() {
    let forever = code(r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#);
    let fine = code(guest("lines"));
    let mut other = Worker::loaded(&fine);
    let mut endless = Worker::loaded(&forever);
    let mut job_without_end = job(&[]);
    job_without_end.limits.fuel = u64::MAX / 2;
    endless.send(&ToWorker::Run(Box::new(job_without_end)));
    endless.kill();
    assert_eq!(endless.receive(), None);
    let mut content = Content::default();
    let data = content.file("x\n");
    assert_eq!(other.run(job_on(data.cid, &["lines"]), &content).exit(), 0);
}

fn a_malformed_frame_ends_the_worker_cleanly() {
    let code = code(guest("lines"));
    for frame in [&b"\xff"[..], &[2, 1, 2, 3], &[3, 0, 0, 0, 0, 0, 0, 0, 0], &[0; 17]] {
        let mut worker = Worker::loaded(&code);
        worker.channel.send(frame, &[]).unwrap();
        assert_eq!(worker.receive(), None, "{frame:?}");
        assert_eq!(worker.ended(), "exit 1", "{frame:?}");
    }
    // An answer that nobody asked for, in the middle of a job.
    let mut worker = Worker::loaded(&code);
    let mut content = Content::default();
    let data = content.file("x\n");
    worker.send(&ToWorker::Run(Box::new(job_on(data.cid, &["lines"]))));
    let Some(FromWorker::Want(wants)) = worker.receive() else { panic!("no want") };
    worker.send(&ToWorker::Have { slot: wants[0].slot + 1, length: 2 });
    assert_eq!(worker.receive(), None);
    assert_eq!(worker.ended(), "exit 1");
    // Hanging up is how a worker is dismissed.
    assert_eq!(Worker::loaded(&code).ended(), "exit 0");
}

fn live_logs_are_the_same_bytes_as_the_collected_ones() {
    let code = code(guest("echo"));
    let mut job = job(&["echo", "one", "two"]);
    job.live_logs = true;
    let ran = enclave::run(&code, job, &Content::default());
    assert!(ran.live_frames > 0);
    assert_eq!((&ran.live[0], &ran.live[1]), (&ran.stdout, &ran.stderr));
    assert!(!ran.stdout.is_empty());
}

fn equal_jobs_have_equal_ends_in_any_worker() {
    let code = code(guest("du"));
    let mut content = Content::default();
    let files: Vec<_> =
        (0..40).map(|n| (format!("f{n}"), content.file(Bytes::from(vec![n; 5000])))).collect();
    let entries: Vec<_> = files.iter().map(|(name, built)| (name.as_str(), *built)).collect();
    let root = content.directory(&entries);
    let job = || job_on(root.cid, &["du", "/in/data"]);
    let first = enclave::run(&code, job(), &content);
    let mut warm = Worker::loaded(&code);
    for _ in 0..3 {
        let again = warm.run(job(), &content);
        assert_eq!(again.done.end, first.done.end);
        assert_eq!((again.done.fuel, &again.stdout), (first.done.fuel, &first.stdout));
    }
    let mut pushed = job();
    pushed.pushed = enclave::pushed(&content, &[root.cid]);
    assert_eq!(warm.run(pushed, &content).done.fuel, first.done.fuel, "how blocks come costs no fuel");
}
