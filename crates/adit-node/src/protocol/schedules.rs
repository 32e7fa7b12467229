//! Generated conversations: both ends run against each other over a link that delays, reorders
//! nothing, and breaks whenever it likes, while the job takes its own time.

use adit_model::AccountId;
use bytes::Bytes;
use proptest::prelude::*;

use super::host_side::ORPHAN_GRACE;
use super::message::RunOrder;
use super::*;
use crate::clock::Micros;
use crate::host::{Refusal, RefusalKind};
use crate::placement::Bid;
use crate::view::{Failure, Fault, JobStats, LogStream};

fn ask() -> FromRequester {
    FromRequester::Ask {
        task: Bytes::from_static(b"task"),
        issuer: AccountId([1; 20]),
        wall_ms: 1000,
        fresh: false,
    }
}

fn run() -> FromRequester {
    FromRequester::Run(RunOrder { invocation: Bytes::from_static(b"invocation"), live_logs: true })
}

fn finished() -> FromHost {
    FromHost::Finished {
        outcome: Bytes::new(),
        envelope: Bytes::new(),
        blocks: Vec::new(),
        stats: JobStats::default(),
        kept_until: 0,
    }
}

/// One step of a generated life of a stream, as the host sees it.
#[derive(Clone, Debug)]
enum Step {
    Say(FromRequester),
    Decide(bool),
    Accept,
    RefuseOrder,
    Started,
    Log,
    Finish,
    Fail,
    Break,
    Wait(Micros),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Say(ask())),
        3 => Just(Step::Say(run())),
        1 => Just(Step::Say(FromRequester::Cancel)),
        2 => Just(Step::Say(FromRequester::Ack)),
        3 => any::<bool>().prop_map(Step::Decide),
        3 => Just(Step::Accept),
        1 => Just(Step::RefuseOrder),
        1 => Just(Step::Started),
        1 => Just(Step::Log),
        2 => Just(Step::Finish),
        1 => Just(Step::Fail),
        1 => Just(Step::Break),
        2 => (1u64..8_000_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever is said and whenever the stream breaks: a started job ends by itself or is
    /// cancelled within the grace; nothing is cancelled that was not started; a closed stream says
    /// nothing; every offer is taken up, refused by silence, or counted as lost exactly once.
    #[test]
    fn a_requester_that_disappears_leaves_nothing(steps in proptest::collection::vec(step(), 0..60)) {
        let mut side = HostSide::default();
        let mut now: Micros = 0;
        let mut job = false;
        let mut offers_open = 0i32;
        let mut broken_at = None;
        let mut sends_after_break = 0;
        for step in steps {
            let mut actions = Vec::new();
            match step {
                Step::Say(message) if broken_at.is_none() => match side.on_message(message) {
                    Ok(more) => actions.extend(more),
                    Err(_) => {
                        broken_at = Some(now);
                        actions.extend(side.on_closed(now));
                    }
                },
                Step::Say(_) => {}
                Step::Decide(true) => actions.extend(side.decided(Ok(Bid::default()), now)),
                Step::Decide(false) => {
                    actions.extend(side.decided(Err(Refusal::new(RefusalKind::Busy, "full")), now));
                }
                Step::Accept => actions.extend(side.accepted(Bytes::new(), now)),
                Step::RefuseOrder if side.next_wake().is_none() => {
                    let refusal = side.refused(Refusal::new(RefusalKind::Expired, "late"));
                    job &= refusal.is_none();
                    actions.extend(refusal);
                }
                Step::RefuseOrder => {}
                Step::Started => actions.extend(side.started(now)),
                Step::Log => {
                    let log = FromHost::Log { stream: LogStream::Stdout, offset: 0, bytes: Bytes::new() };
                    actions.extend(side.from_job(log, now));
                }
                Step::Finish if job => { job = false; actions.extend(side.from_job(finished(), now)); }
                Step::Fail if job => {
                    job = false;
                    actions.extend(side.from_job(FromHost::Failed(Failure::new(Fault::Host, "died")), now));
                }
                Step::Finish | Step::Fail => {}
                Step::Break => {
                    broken_at = broken_at.or(Some(now));
                    actions.extend(side.on_closed(now));
                }
                Step::Wait(time) => {
                    let end = now + time;
                    while let Some(at) = side.next_wake().filter(|at| *at <= end) {
                        now = now.max(at);
                        actions.extend(side.poll(now));
                    }
                    now = end;
                }
            }
            for action in actions {
                match action {
                    HostAction::Start { .. } => {
                        prop_assert!(!job, "one stream runs one job at a time");
                        job = true;
                        offers_open -= 1;
                    }
                    HostAction::Cancel => {
                        prop_assert!(job, "nothing to cancel");
                        job = false;
                    }
                    HostAction::Send(FromHost::Bid(_)) => offers_open += 1,
                    HostAction::Send(_) if broken_at.is_some() => sends_after_break += 1,
                    HostAction::OfferLost => offers_open = (offers_open - 1).max(0),
                    _ => {}
                }
            }
            prop_assert!((0..=1).contains(&offers_open));
        }
        let _ = side.on_closed(now);
        let grace = now + ORPHAN_GRACE.as_micros() as Micros;
        while let Some(at) = side.next_wake().filter(|at| *at <= grace) {
            if let Some(HostAction::Cancel) = side.poll(at) {
                job = false;
            }
        }
        prop_assert!(!job, "a job outlived its requester: {:?}", side);
        prop_assert!(side.is_closed());
        prop_assert_eq!(sends_after_break, 0);
    }

    /// A host that talks out of turn is caught, whatever it says, and no event leaks through.
    #[test]
    fn a_host_out_of_turn_is_caught(order in proptest::collection::vec(0usize..7, 0..20)) {
        let say = |which| match which {
            0 => FromHost::Bid(Bid::default()),
            1 => FromHost::Refuse(Refusal::new(RefusalKind::Busy, "full")),
            2 => FromHost::Accept { acceptance: Bytes::new() },
            3 => FromHost::Log { stream: LogStream::Stdout, offset: 0, bytes: Bytes::new() },
            4 => FromHost::Alive { running: true },
            5 => finished(),
            _ => FromHost::Failed(Failure::new(Fault::Host, "died")),
        };
        let mut side = RequesterSide::default();
        side.asked();
        let (mut bids, mut accepted, mut ends) = (0, 0, 0);
        for which in order {
            match side.on_message(say(which)) {
                Ok(RequesterEvent::Bid(_)) => { bids += 1; side.ordered(); }
                Ok(RequesterEvent::Accepted(_)) => { prop_assert_eq!(bids, 1); accepted += 1; }
                Ok(RequesterEvent::Log(..) | RequesterEvent::Alive(_)) => prop_assert_eq!(accepted, 1),
                Ok(RequesterEvent::Finished(_) | RequesterEvent::Failed(_)) => {
                    prop_assert_eq!(accepted, 1);
                    ends += 1;
                }
                Ok(RequesterEvent::Refused(_)) => ends += 1,
                Ok(RequesterEvent::Stale) => unreachable!("nothing was cancelled"),
                Err(violation) => { prop_assert!(!violation.message.is_empty()); break; }
            }
        }
        prop_assert!(ends <= 1 && bids <= 1);
    }
}

#[test]
fn logs_with_gaps_or_repeats_are_violations() {
    let mut side = RequesterSide::default();
    side.asked();
    side.on_message(FromHost::Bid(Bid::default())).unwrap();
    side.ordered();
    side.on_message(FromHost::Accept { acceptance: Bytes::new() }).unwrap();
    let log = |stream, offset| FromHost::Log { stream, offset, bytes: Bytes::from_static(b"12345") };
    side.on_message(log(LogStream::Stdout, 0)).unwrap();
    side.on_message(log(LogStream::Stderr, 0)).unwrap();
    side.on_message(log(LogStream::Stdout, 5)).unwrap();
    assert!(side.on_message(log(LogStream::Stdout, 5)).is_err());
}

#[test]
fn a_stream_is_used_again_after_the_receipt_is_acknowledged() {
    let mut host = HostSide::default();
    for _ in 0..3 {
        assert!(matches!(host.on_message(ask()).unwrap()[..], [HostAction::Evaluate { .. }]));
        host.decided(Ok(Bid::default()), 0).unwrap();
        assert!(matches!(host.on_message(run()).unwrap()[..], [HostAction::Start { .. }]));
        host.accepted(Bytes::new(), 0).unwrap();
        host.from_job(finished(), 0).unwrap();
        assert_eq!(host.on_message(FromRequester::Ack).unwrap(), [HostAction::Acknowledged]);
    }
}

#[test]
fn an_offer_nobody_takes_up_is_counted_as_lost_and_the_stream_lives_on() {
    let mut host = HostSide::default();
    host.on_message(ask()).unwrap();
    host.decided(Ok(Bid::default()), 0).unwrap();
    let late = host.next_wake().unwrap();
    assert_eq!(host.poll(late), Some(HostAction::OfferLost));
    assert!(host.on_message(run()).is_err(), "the offer is gone");
}
