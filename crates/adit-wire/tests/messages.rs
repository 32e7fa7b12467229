//! Proves of the messages between node and enclave: what is encoded decodes to itself; a frame that was cut,
//! prolonged or changed never panics and never decodes to something whose own encoding is another; every limit
//! and descriptor count is enforced by the receiver.

use adit_wire::{DecodeError, MAX_DESCRIPTORS, MAX_FRAME, Message, codec, control, session};
use bytes::Bytes;
use cid::Cid;
use multihash::Multihash;
use proptest::{collection::vec, option, prelude::*};

fn cid() -> impl Strategy<Value = Cid> {
    (prop_oneof![Just(0x55_u64), Just(0x70), Just(0x71)], any::<[u8; 32]>())
        .prop_map(|(codec, digest)| Cid::new_v1(codec, Multihash::wrap(0x12, &digest).unwrap()))
}

fn bytes(limit: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=limit).prop_map(Bytes::from)
}

fn blocks() -> impl Strategy<Value = Vec<(Cid, Bytes)>> {
    vec((cid(), bytes(40)), 0..5)
}

fn to_session() -> impl Strategy<Value = session::ToEnclave> {
    use session::*;
    let start = (any::<u32>(), bytes(99), bytes(99), any::<u64>(), any::<bool>(), any::<bool>(), blocks())
        .prop_map(|(job, task, invocation, deadline_ms, fresh, live_logs, blocks)| {
            ToEnclave::Start(Box::new(Start { job, task, invocation, deadline_ms, fresh, live_logs, blocks }))
        });
    let delivered = prop_oneof![
        bytes(40).prop_map(Delivered::Inline),
        (0..MAX_DESCRIPTORS as u8, any::<u64>(), 0..=MAX_BLOCK as u32)
            .prop_map(|(file, offset, length)| Delivered::File { file, offset, length }),
        (prop_oneof![Just(Fault::Network), Just(Fault::Host)], ".{0,20}")
            .prop_map(|(fault, detail)| Delivered::Missing { fault, detail }),
    ];
    let delivery = (any::<u64>(), delivered).prop_map(|(ticket, block)| Delivery { ticket, block });
    prop_oneof![
        start,
        vec(delivery, 0..9).prop_map(ToEnclave::Blocks),
        any::<u32>().prop_map(|job| ToEnclave::Stored { job }),
        (any::<u32>(), prop_oneof![Just(CancelReason::Requester), Just(CancelReason::Shutdown)])
            .prop_map(|(job, reason)| ToEnclave::Cancel { job, reason }),
    ]
}

fn stats() -> impl Strategy<Value = session::JobStats> {
    (any::<[u64; 7]>(), any::<bool>(), any::<bool>()).prop_map(|(numbers, remembered, warm)| {
        let [fuel, bytes_read, blocks_read, bytes_written, compile_us, run_us, total_us] = numbers;
        session::JobStats {
            fuel,
            bytes_read,
            blocks_read,
            bytes_written,
            compile_us,
            run_us,
            total_us,
            remembered,
            warm,
        }
    })
}

fn from_session() -> impl Strategy<Value = session::FromEnclave> {
    use session::*;
    let stream = prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)];
    let output = (cid(), any::<u64>(), 0..=MAX_BLOCK as u32).prop_map(|(cid, offset, length)| OutputBlock {
        cid,
        offset,
        length,
    });
    let kind = prop_oneof![
        Just(Failure::NotImplemented),
        Just(Failure::Refused),
        Just(Failure::Unresolvable),
        Just(Failure::Host),
        Just(Failure::Worker),
        Just(Failure::Deadline),
        Just(Failure::Cancelled)
    ];
    prop_oneof![
        vec((any::<u64>(), cid()).prop_map(|(ticket, cid)| Wanted { ticket, cid }), 0..9)
            .prop_map(FromEnclave::Want),
        (stream, bytes(99)).prop_map(|(stream, bytes)| FromEnclave::Log { stream, bytes }),
        vec(output, 0..9).prop_map(FromEnclave::Output),
        (bytes(99), stats(), blocks(), option::of(bytes(99))).prop_map(
            |(outcome, stats, blocks, receipt)| {
                FromEnclave::Finished(Box::new(Finished { outcome, stats, blocks, receipt }))
            }
        ),
        bytes(99).prop_map(|envelope| FromEnclave::Receipt { envelope }),
        (kind, ".{0,20}").prop_map(|(kind, detail)| FromEnclave::Failed { kind, detail }),
    ]
}

fn to_control() -> impl Strategy<Value = control::ToEnclave> {
    use control::*;
    let hello = (any::<[u32; 3]>(), any::<[u8; 20]>(), bytes(64), any::<[u64; 4]>()).prop_map(
        |([version, workers, remembered], host, node, [memory, output, code_cache, idle_ms])| {
            ToEnclave::Hello(Hello {
                version,
                host,
                node,
                workers,
                memory,
                output,
                code_cache,
                remembered,
                idle_ms,
            })
        },
    );
    prop_oneof![
        hello,
        bytes(99).prop_map(|endorsement| ToEnclave::Endorse { endorsement }),
        Just(ToEnclave::OpenSession),
        Just(ToEnclave::GetStats),
        Just(ToEnclave::Shutdown),
    ]
}

fn from_control() -> impl Strategy<Value = control::FromEnclave> {
    use control::*;
    prop_oneof![
        (vec(any::<u8>(), 33), ".{0,20}")
            .prop_map(|(key, runtime)| FromEnclave::Ready { job_key: key.try_into().unwrap(), runtime }),
        ".{0,20}".prop_map(|detail| FromEnclave::Refused { detail }),
        (cid(), any::<bool>()).prop_map(|(code, cached)| FromEnclave::Code { code, cached }),
        any::<[u64; 4]>().prop_map(|[sessions, jobs, codes_cached, blocks_refused]| {
            FromEnclave::Stats(Stats { sessions, jobs, codes_cached, blocks_refused, ..Stats::default() })
        }),
    ]
}

fn survives<M: Message + PartialEq + std::fmt::Debug>(message: M, cut: usize, flip: (usize, u8)) {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    let descriptors = message.descriptors();
    assert_eq!(M::decode(&frame, descriptors).unwrap(), message);
    assert!(matches!(M::decode(&frame, descriptors + 1), Err(DecodeError::Descriptors { .. })));

    assert!(M::decode(&frame[..cut % frame.len()], descriptors).is_err(), "a cut frame was taken");
    frame.push(0);
    assert!(matches!(M::decode(&frame, descriptors), Err(DecodeError::Trailing)));
    frame.pop();

    let at = flip.0 % frame.len();
    frame[at] ^= flip.1;
    for descriptors in 0..=MAX_DESCRIPTORS {
        if let Ok(other) = M::decode(&frame, descriptors) {
            let mut again = Vec::new();
            other.encode(&mut again);
            assert_eq!(again, frame, "two encodings of one message");
        }
    }
}

proptest! {
    #[test]
    fn session_messages_to_the_enclave(message in to_session(), cut: usize, flip: (usize, u8)) {
        survives(message, cut, flip);
    }
    #[test]
    fn session_messages_from_the_enclave(message in from_session(), cut: usize, flip: (usize, u8)) {
        survives(message, cut, flip);
    }
    #[test]
    fn control_messages_to_the_enclave(message in to_control(), cut: usize, flip: (usize, u8)) {
        survives(message, cut, flip);
    }
    #[test]
    fn control_messages_from_the_enclave(message in from_control(), cut: usize, flip: (usize, u8)) {
        survives(message, cut, flip);
    }
    #[test]
    fn noise_is_refused_or_canonical(noise in vec(any::<u8>(), 0..200)) {
        for descriptors in 0..=2 {
            let mut again = Vec::new();
            if let Ok(message) = session::ToEnclave::decode(&noise, descriptors) {
                message.encode(&mut again);
                prop_assert_eq!(&again, &noise);
            }
            if let Ok(message) = session::FromEnclave::decode(&noise, descriptors) {
                message.encode(&mut again);
                prop_assert_eq!(&again, &noise);
            }
        }
    }
}

#[test]
fn every_limit_is_enforced_by_the_receiver() {
    use session::*;
    let cid = Cid::new_v1(0x55, Multihash::wrap(0x12, &[1; 32]).unwrap());
    let refused = |message: &FromEnclave| {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        matches!(FromEnclave::decode(&frame, message.descriptors()), Err(DecodeError::TooMany { .. }))
    };
    assert!(refused(&FromEnclave::Want(vec![Wanted { ticket: 0, cid }; MAX_BATCH + 1])));
    assert!(refused(&FromEnclave::Log { stream: Stream::Stdout, bytes: vec![0; MAX_LOG + 1].into() }));
    assert!(refused(&FromEnclave::Receipt { envelope: vec![0; MAX_RECORD + 1].into() }));
    assert!(refused(&FromEnclave::Output(vec![OutputBlock {
        cid,
        offset: 0,
        length: MAX_BLOCK as u32 + 1
    }])));

    let mut frame = Vec::new();
    let block = Delivered::Inline(vec![0; MAX_INLINE + 1].into());
    ToEnclave::Blocks(vec![Delivery { ticket: 1, block }]).encode(&mut frame);
    assert!(matches!(ToEnclave::decode(&frame, 0), Err(DecodeError::TooMany { .. })));

    // A count that promises four thousand million items costs nothing.
    let mut frame = vec![1];
    frame.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(ToEnclave::decode(&frame, 0), Err(DecodeError::TooMany { .. })));

    // Explanations are cut by the sender, at a character.
    let detail = "ä".repeat(codec::MAX_DETAIL);
    FromEnclave::Failed { kind: Failure::Host, detail }.encode(&mut frame);
    assert!(frame.len() < MAX_FRAME && FromEnclave::decode(&frame, 0).is_ok());
}
