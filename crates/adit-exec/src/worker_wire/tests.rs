use super::*;
use crate::fault::{CodeFaultKind, FaultKind, LimitKind};
use proptest::prelude::*;
use std::fmt::Debug;

fn cid(number: u8) -> Cid {
    format!(
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52z{}",
        ["y", "q"][usize::from(number % 2)]
    )
    .parse()
    .unwrap()
}

fn same<M: Message + PartialEq + Debug>(message: M) {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    assert!(frame.len() < adit_wire::MAX_FRAME);
    assert_eq!(M::decode(&frame, message.descriptors()).unwrap(), message);
    assert!(M::decode(&frame, message.descriptors() + 1).is_err(), "descriptors are counted");
    for cut in 0..frame.len().min(300) {
        assert!(M::decode(&frame[..cut], message.descriptors()).is_err(), "{cut} bytes are no message");
    }
    frame.push(0);
    assert!(M::decode(&frame, message.descriptors()).is_err(), "trailing bytes are refused");
}

#[test]
fn every_message_survives_and_nothing_shorter_or_longer_does() {
    let content = Content::Pages { length: 5000, runs: vec![Run { first: 7, count: 2 }] };
    same(ToWorker::Open { slots: 64, slot_size: 2 << 20, output: 1 << 30 });
    same(ToWorker::Load { length: 9, function: true });
    same(ToWorker::Serve);
    same(ToWorker::Run(Box::new(Job {
        limits: JobLimits { fuel: 1, memory: 2, output: 3 },
        args: vec!["a".into(), String::new()],
        env: vec![("K".into(), "V".into())],
        inputs: vec![("/in/data".into(), cid(0))],
        stdin: Some(cid(1)),
        seed: [7; 32],
        live_logs: true,
        pushed: vec![(cid(1), Bytes::from_static(b"block"))],
    })));
    same(ToWorker::Have { slot: 3, length: 4 });
    for why in [Refusal::Missing, Refusal::NotLinked, Refusal::TooBig] {
        same(ToWorker::Refused { slot: 3, why });
    }
    same(FromWorker::Ready);
    same(FromWorker::Loaded);
    same(FromWorker::Want(vec![Want { cid: cid(0), slot: 1 }, Want { cid: cid(1), slot: 2 }]));
    for stream in [LogStream::Stdout, LogStream::Stderr] {
        same(FromWorker::Log { stream, bytes: Bytes::from_static(b"line\n") });
    }
    same(FromWorker::Output(vec![
        OutputNode { path: "d".into(), kind: OutputKind::Directory },
        OutputNode { path: "d/f".into(), kind: OutputKind::File(content.clone()) },
        OutputNode { path: "d/s".into(), kind: OutputKind::Symlink("f".into()) },
    ]));
    let limits = [LimitKind::Fuel, LimitKind::Memory, LimitKind::Output, LimitKind::Resources];
    let kinds = [FaultKind::Malformed, FaultKind::Trap, FaultKind::Indeterminate];
    let faults = kinds.into_iter().chain(limits.map(FaultKind::Limit)).map(|kind| Fault::new(kind, "why"));
    let ends = [End::Exit(255), End::Unserved(cid(0)), End::Host("no".into())];
    for end in ends.into_iter().chain(faults.map(End::Fault)) {
        let inline = Content::Inline(Bytes::from_static(b"out"));
        let stderr = content.clone();
        same(FromWorker::Done(Box::new(Done {
            end,
            fuel: 9,
            stdout: inline,
            stderr,
            blocks_read: 1,
            bytes_read: 2,
        })));
    }
    same(ToCompiler { length: 3 });
    same(FromCompiler::Compiled { length: 3 });
    for kind in [CodeFaultKind::Invalid, CodeFaultKind::TooMuch, CodeFaultKind::NotACommand] {
        same(FromCompiler::Refused(CodeFault::new(kind, "why")));
        same(FromWorker::Refused(CodeFault::new(kind, "why")));
    }
    same(FromCompiler::Host("no".into()));
}

#[test]
fn more_items_or_bytes_than_allowed_are_refused_before_anything_is_allocated_for_them() {
    let mut frame = vec![2];
    frame.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(FromWorker::decode(&frame, 0), Err(DecodeError::TooMany { .. })));
    let many = FromWorker::Want(vec![Want { cid: cid(0), slot: 0 }; MAX_WANTS + 1]);
    many.encode(&mut frame);
    assert!(FromWorker::decode(&frame, 0).is_err());
    let log = FromWorker::Log { stream: LogStream::Stdout, bytes: vec![0; MAX_LOG + 1].into() };
    log.encode(&mut frame);
    assert!(FromWorker::decode(&frame, 0).is_err());
}

#[test]
fn a_job_whose_words_fill_no_frame_says_so() {
    assert!(Job::default().fits());
    assert!(!Job { args: vec!["x".repeat(MAX_WORDS)], ..Job::default() }.fits());
    assert!(!Job { env: vec![Default::default(); MAX_ITEMS + 1], ..Job::default() }.fits());
}

proptest! {
    #[test]
    fn no_bytes_at_all_upset_the_decoders(frame in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ToWorker::decode(&frame, 0);
        let _ = FromWorker::decode(&frame, 0);
        let _ = ToCompiler::decode(&frame, 0);
        let _ = FromCompiler::decode(&frame, 0);
    }
}
