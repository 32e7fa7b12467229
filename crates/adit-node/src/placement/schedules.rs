//! Generated schedules: a small world of candidates that answer, refuse, stall, break off or
//! forge, in any order and at any delay, driven in simulated time against the [`Placer`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use adit_model::NodeId;
use proptest::prelude::*;

use super::{Action, Assumptions, Bid, Candidate, Limits, Placer, Strategy};
use crate::clock::Micros;
use crate::view::AttemptResult;

/// How a simulated candidate behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    Delivers,
    RefusesToBid,
    NeverBids,
    RefusesToRun,
    NeverAccepts,
    BreaksOff,
    GoesSilent,
    Forges,
}

#[derive(Clone, Debug)]
struct Simulated {
    conduct: Conduct,
    delay: Micros,
    rtt_us: Option<u64>,
    holds: bool,
    missing: u64,
}

#[derive(Debug)]
enum Input {
    Bid(usize),
    Refused(usize),
    Accepted(usize),
    Failed(usize),
    Delivered(usize),
    Forged(usize),
}

#[derive(Debug, Default)]
struct Report {
    delivered_by: Option<usize>,
    gave_up: bool,
    runs: Vec<usize>,
    ended_at: Micros,
    asked: BTreeSet<usize>,
}

fn node(index: usize) -> NodeId {
    let mut key = [0; 32];
    key[0] = index as u8 + 1;
    NodeId::from_ed25519(key)
}

fn index_of(node: NodeId) -> usize {
    node.ed25519()[0] as usize - 1
}

fn simulate(world: &[Simulated], strategy: Strategy, wait: bool, until: Micros) -> (Report, Placer) {
    let mut placer = Placer::new(strategy, wait, Limits::default(), Assumptions::default());
    let mut queue: BTreeMap<(Micros, usize), Input> = BTreeMap::new();
    let mut serial = 0;
    let mut report = Report::default();
    let mut in_hand: Option<usize> = None;
    let mut now = 0;
    placer.candidates(world.iter().enumerate().map(|(i, s)| Candidate {
        node: node(i),
        rtt_us: s.rtt_us,
        bandwidth: None,
        holds_inputs: s.holds,
        ask_early: false,
    }));
    placer.discovery_ended();
    for _ in 0..10_000 {
        let mut searched = false;
        for action in placer.poll(now) {
            let mut later = |delay: Micros, input| {
                serial += 1;
                queue.insert((now + delay, serial), input);
            };
            match action {
                Action::Ask(who) => {
                    let i = index_of(who);
                    report.asked.insert(i);
                    match world[i].conduct {
                        Conduct::RefusesToBid => later(world[i].delay, Input::Refused(i)),
                        Conduct::NeverBids => {}
                        _ => later(world[i].delay, Input::Bid(i)),
                    }
                }
                Action::Run { node: who, why } => {
                    let i = index_of(who);
                    assert!(in_hand.is_none(), "given to {i} while {in_hand:?} still had it");
                    assert!(!why.is_empty());
                    in_hand = Some(i);
                    report.runs.push(i);
                    let d = world[i].delay;
                    match world[i].conduct {
                        Conduct::Delivers => {
                            later(d, Input::Accepted(i));
                            later(2 * d, Input::Delivered(i));
                        }
                        Conduct::RefusesToRun => later(d, Input::Refused(i)),
                        Conduct::BreaksOff => {
                            later(d, Input::Accepted(i));
                            later(2 * d, Input::Failed(i));
                        }
                        Conduct::GoesSilent => later(d, Input::Accepted(i)),
                        Conduct::Forges => {
                            later(d, Input::Accepted(i));
                            later(2 * d, Input::Forged(i));
                        }
                        Conduct::NeverAccepts => {}
                        Conduct::RefusesToBid | Conduct::NeverBids => panic!("{i} never offered"),
                    }
                }
                Action::Drop(who) => {
                    if in_hand == Some(index_of(who)) {
                        in_hand = None;
                    }
                }
                Action::Discover => searched = true,
                Action::GiveUp(failure) => {
                    assert!(!failure.reason.is_empty());
                    report.gave_up = true;
                }
            }
        }
        if report.gave_up || report.delivered_by.is_some() {
            break;
        }
        if searched {
            placer.discovery_ended();
            continue;
        }
        let next_input = queue.keys().next().map(|(at, _)| *at);
        let Some(next) = next_input.into_iter().chain(placer.next_wake()).min() else {
            panic!("the placer neither ended nor wants to be woken: {placer:?}");
        };
        now = now.max(next);
        if now > until {
            break;
        }
        let due: Vec<_> = queue.range(..=(now, usize::MAX)).map(|(k, _)| *k).collect();
        for key in due {
            let release = |in_hand: &mut Option<usize>, i| {
                if *in_hand == Some(i) {
                    *in_hand = None;
                }
            };
            match queue.remove(&key).unwrap() {
                Input::Bid(i) => placer.bid(
                    node(i),
                    Bid { bytes_present: 1000, bytes_missing: Some(world[i].missing), ..Bid::default() },
                    now,
                ),
                Input::Refused(i) => {
                    release(&mut in_hand, i);
                    placer.refused(node(i), "busy".into(), false);
                }
                Input::Accepted(i) => placer.accepted(node(i), now),
                Input::Failed(i) => {
                    release(&mut in_hand, i);
                    placer.lost(node(i), "connection lost".into());
                }
                Input::Delivered(i) => {
                    if in_hand == Some(i) {
                        placer.delivered(node(i));
                        report.delivered_by = Some(i);
                    }
                }
                Input::Forged(i) => {
                    release(&mut in_hand, i);
                    placer.forged(node(i), "the receipt is another task's".into());
                }
            }
        }
    }
    report.ended_at = now;
    (report, placer)
}

fn conduct() -> impl Strategy2<Value = Conduct> {
    prop_oneof![
        3 => Just(Conduct::Delivers),
        1 => Just(Conduct::RefusesToBid),
        1 => Just(Conduct::NeverBids),
        1 => Just(Conduct::RefusesToRun),
        1 => Just(Conduct::NeverAccepts),
        1 => Just(Conduct::BreaksOff),
        1 => Just(Conduct::GoesSilent),
        1 => Just(Conduct::Forges),
    ]
}

/// proptest's trait, under a name that does not collide with placement's strategies.
use proptest::strategy::Strategy as Strategy2;

fn world(max: usize) -> impl Strategy2<Value = Vec<Simulated>> {
    proptest::collection::vec(
        (conduct(), 1u64..400_000, proptest::option::of(10u64..300_000), any::<bool>(), 1u64..1 << 32)
            .prop_map(|(conduct, delay, rtt_us, holds, missing)| Simulated {
                conduct,
                delay,
                rtt_us,
                holds,
                missing,
            }),
        0..max,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Without `--wait` every world ends, in bounded time, and an honest candidate is found
    /// whenever there is one and fewer candidates than are asked in all.
    #[test]
    fn every_world_ends_and_an_honest_candidate_is_found(world in world(14)) {
        let (report, placer) = simulate(&world, Strategy::Cost, false, Micros::MAX);
        let honest = world.iter().any(|s| s.conduct == Conduct::Delivers);
        prop_assert_eq!(report.delivered_by.is_some(), honest, "{:?}", placer);
        prop_assert!(report.delivered_by.is_some() != report.gave_up);
        // Each candidate may cost one wait for a bid, one for acceptance and one silence.
        prop_assert!(report.ended_at < (world.len() as u64 + 1) * 20_000_000);
        // Nobody is given the same job twice.
        let distinct: BTreeSet<_> = report.runs.iter().collect();
        prop_assert_eq!(distinct.len(), report.runs.len());
        // Everybody who was given the job and everybody who was asked has a line that says what came of it.
        prop_assert_eq!(placer.attempts().len(), report.asked.len());
        for attempt in placer.attempts() {
            if attempt.result.is_bad() {
                prop_assert!(attempt.reason.is_some());
            }
        }
    }

    /// Nodes that hold the data are settled before any other is even asked.
    #[test]
    fn holders_come_first(world in world(10)) {
        let (report, _) = simulate(&world, Strategy::Cost, false, Micros::MAX);
        let holder_delivers = world.iter().any(|s| s.holds && s.conduct == Conduct::Delivers);
        if holder_delivers {
            prop_assert!(world[report.delivered_by.unwrap()].holds);
            prop_assert!(report.asked.iter().all(|i| world[*i].holds));
        }
    }

    /// `--near` goes by distance alone.
    #[test]
    fn near_takes_the_nearest_that_offers(mut world in world(4)) {
        for simulated in &mut world {
            simulated.conduct = Conduct::Delivers;
            simulated.rtt_us = simulated.rtt_us.or(Some(77));
        }
        let (report, _) = simulate(&world, Strategy::Near, false, Micros::MAX);
        if let Some(nearest) = world.iter().map(|s| s.rtt_us).min() {
            prop_assert_eq!(world[report.delivered_by.unwrap()].rtt_us, nearest);
        } else {
            prop_assert!(report.gave_up);
        }
    }

    /// `--at` never runs anywhere else.
    #[test]
    fn at_is_kept(world in world(6), wanted in 0usize..6) {
        let (report, _) = simulate(&world, Strategy::At(node(wanted)), false, Micros::MAX);
        prop_assert!(report.runs.iter().all(|i| *i == wanted));
        prop_assert!(report.asked.iter().all(|i| *i == wanted));
    }

    /// Under `--wait` only those who were caught or broke a promise are out for good; as long as
    /// anybody merely refuses, the placer neither gives up nor asks more often than its rests allow.
    #[test]
    fn waiting_is_patient_and_not_eager(world in world(6)) {
        let (report, placer) = simulate(&world, Strategy::Cost, true, 300_000_000);
        let honest = world.iter().any(|s| s.conduct == Conduct::Delivers);
        prop_assert_eq!(report.delivered_by.is_some(), honest);
        if !honest && world.iter().any(|s| matches!(s.conduct, Conduct::RefusesToBid | Conduct::NeverBids)) {
            prop_assert!(!report.gave_up, "{:?}", placer);
        }
    }
}

#[test]
fn a_local_offer_with_all_the_data_wins_without_asking() {
    let mut placer = Placer::new(Strategy::Cost, false, Limits::default(), Assumptions::default());
    placer.candidates([Candidate {
        node: node(1),
        rtt_us: Some(50),
        bandwidth: None,
        holds_inputs: false,
        ask_early: false,
    }]);
    placer.local(node(0), Ok(Bid { bytes_missing: Some(0), ..Bid::default() }), 0);
    let actions = placer.poll(0);
    assert!(matches!(&actions[..], [Action::Run { node: n, .. }] if *n == node(0)), "{actions:?}");
}

#[test]
fn a_late_first_choice_is_dropped_for_the_second_offer() {
    let world = [
        Simulated { conduct: Conduct::NeverAccepts, delay: 10, rtt_us: Some(10), holds: true, missing: 0 },
        Simulated { conduct: Conduct::Delivers, delay: 10, rtt_us: Some(900), holds: true, missing: 0 },
    ];
    let (report, placer) = simulate(&world, Strategy::Cost, false, Micros::MAX);
    assert_eq!(report.runs, [0, 1]);
    assert_eq!(report.delivered_by, Some(1));
    assert_eq!(placer.attempts()[0].result, AttemptResult::Late);
    assert!(report.ended_at < Duration::from_secs(3).as_micros() as u64);
}

#[test]
fn a_forger_is_never_asked_again_even_under_wait() {
    let world =
        [Simulated { conduct: Conduct::Forges, delay: 10, rtt_us: Some(10), holds: true, missing: 0 }];
    let (report, placer) = simulate(&world, Strategy::Cost, true, 60_000_000);
    assert!(report.gave_up && report.runs == [0]);
    assert_eq!(placer.attempts()[0].result, AttemptResult::Forged);
}

#[test]
fn with_nobody_known_the_failure_says_how_to_go_on() {
    let (report, placer) = simulate(&[], Strategy::Cost, false, Micros::MAX);
    assert!(report.gave_up && placer.attempts().is_empty());
}

#[test]
fn nodes_asked_early_that_hold_nothing_wait_for_the_search_to_end() {
    let mut placer = Placer::new(Strategy::Cost, false, Limits::default(), Assumptions::default());
    let candidate = |i, holds_inputs, ask_early| Candidate {
        node: node(i),
        rtt_us: Some(10),
        bandwidth: None,
        holds_inputs,
        ask_early,
    };
    placer.candidates([candidate(0, false, true)]);
    assert_eq!(placer.poll(0), [Action::Ask(node(0))]);
    placer.bid(node(0), Bid { bytes_missing: Some(1 << 20), ..Bid::default() }, 1);
    assert_eq!(placer.poll(1), [], "somebody who holds the data may still be found");
    placer.candidates([candidate(1, true, false)]);
    assert_eq!(placer.poll(2), [Action::Ask(node(1))]);
    placer.bid(node(1), Bid { bytes_missing: Some(0), bytes_present: 1 << 20, ..Bid::default() }, 3);
    assert!(matches!(&placer.poll(3)[..], [Action::Run { node: n, .. }] if *n == node(1)));
}

#[test]
fn a_dead_node_does_not_hold_up_a_job_that_a_live_one_offered_to_take() {
    let dead =
        Simulated { conduct: Conduct::NeverBids, delay: 10, rtt_us: Some(10), holds: true, missing: 0 };
    let live =
        Simulated { conduct: Conduct::Delivers, delay: 300, rtt_us: Some(300), holds: true, missing: 0 };
    let (report, _) = simulate(&[dead, live], Strategy::Cost, false, Micros::MAX);
    assert_eq!(report.delivered_by, Some(1));
    assert!(report.ended_at < 50_000, "{} µs", report.ended_at);
}
