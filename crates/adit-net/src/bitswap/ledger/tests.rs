use proptest::prelude::*;

use super::*;
use crate::bitswap::client::tests::cid;

fn want(n: usize) -> Entry {
    Entry::want(cid(n), WantKind::Block)
}

/// Looks everything up: blocks below 100 are here, of a size that `size` gives.
fn resolve(ledger: &mut Ledger, size: impl Fn(usize) -> u64) {
    let known: HashMap<Cid, usize> = (0..100).map(|n| (cid(n), n)).collect();
    while ledger.has_lookups() {
        for c in ledger.lookups(7) {
            ledger.resolved(&c, known.get(&c).map(|n| size(*n)));
        }
    }
}

#[test]
fn answers_hold_two_mebibytes_or_one_block() {
    let mut ledger = Ledger::new(100);
    ledger.apply((0..4).map(want), false);
    resolve(&mut ledger, |n| if n == 3 { MAX_BLOCK as u64 } else { 1 << 20 });
    let sizes: Vec<Vec<usize>> = std::iter::from_fn(|| {
        ledger.has_answers().then(|| ledger.plan().blocks.iter().map(|(_, len)| *len).collect())
    })
    .collect();
    assert_eq!(sizes, [vec![1 << 20], vec![1 << 20], vec![1 << 20], vec![MAX_BLOCK]]);
    assert!(ledger.is_empty());
}

#[test]
fn small_blocks_come_in_place_of_have() {
    let mut ledger = Ledger::new(100);
    ledger.apply((0..2).map(|n| Entry::want(cid(n), WantKind::Have)), false);
    resolve(&mut ledger, |n| if n == 0 { 1024 } else { 1025 });
    let plan = ledger.plan();
    assert_eq!((plan.blocks, plan.haves), (vec![(cid(0), 1024)], vec![cid(1)]));
}

#[test]
fn an_absent_block_is_denied_once_and_sent_when_it_arrives() {
    let mut ledger = Ledger::new(100);
    ledger.apply(vec![want(500)], false);
    resolve(&mut ledger, |_| 10);
    assert_eq!(ledger.plan().dont_haves, [cid(500)]);
    assert!(!ledger.has_answers() && ledger.is_waiting());

    assert!(!ledger.arrived(&cid(501)), "nobody waits for that");
    assert!(ledger.arrived(&cid(500)));
    let looked = ledger.lookups(10);
    ledger.resolved(&looked[0], Some(10));
    assert_eq!(ledger.plan().blocks, [(cid(500), 10)]);
    assert!(ledger.is_empty());
}

#[test]
fn a_recheck_denies_nothing_twice() {
    let mut ledger = Ledger::new(100);
    ledger.apply(vec![want(500)], false);
    resolve(&mut ledger, |_| 10);
    ledger.recheck();
    resolve(&mut ledger, |_| 10);
    assert_eq!(ledger.plan().dont_haves.len(), 1);
    ledger.recheck();
    resolve(&mut ledger, |_| 10);
    assert!(!ledger.has_answers() && ledger.is_waiting());
}

#[test]
fn a_cancel_takes_back_a_want_in_every_state() {
    for steps in 0..4 {
        let mut ledger = Ledger::new(100);
        ledger.apply(vec![want(if steps == 3 { 500 } else { 1 })], false);
        let looking = if steps > 0 { ledger.lookups(1) } else { Vec::new() };
        if steps > 1 {
            ledger.resolved(&looking[0], (steps == 2).then_some(10));
        }
        ledger.apply(vec![Entry::cancel(looking.first().copied().unwrap_or(cid(1)))], false);
        looking.iter().for_each(|c| ledger.resolved(c, Some(10)));
        assert!(ledger.is_empty() && !ledger.has_answers() && !ledger.has_lookups(), "{steps}");
    }
}

#[test]
fn a_full_list_replaces_and_a_block_want_outlives_a_have_want() {
    let mut ledger = Ledger::new(100);
    ledger.apply(vec![want(1), want(2)], false);
    ledger.apply(vec![want(3)], true);
    ledger.apply(vec![Entry::want(cid(3), WantKind::Have)], false);
    resolve(&mut ledger, |_| 5000);
    let plan = ledger.plan();
    assert_eq!((plan.blocks, plan.haves), (vec![(cid(3), 5000)], vec![]));
}

#[test]
fn high_priority_goes_first() {
    let mut ledger = Ledger::new(100);
    let entries = [1, 5, 3].map(|n| Entry { priority: n, ..want(n as usize) });
    ledger.apply(entries.to_vec(), false);
    resolve(&mut ledger, |_| 10);
    let order: Vec<Cid> = ledger.plan().blocks.into_iter().map(|(c, _)| c).collect();
    assert_eq!(order, [cid(5), cid(3), cid(1)]);
}

#[test]
fn a_flood_of_wants_is_denied_beyond_the_limit_and_memory_stays_bounded() {
    let mut ledger = Ledger::new(50);
    for round in 0..20 {
        ledger.apply((0..200).map(|n| want(1000 + round * 200 + n)), false);
        assert!(ledger.wants.len() <= 50 && ledger.dont_haves.len() <= 50);
    }
    let mut ledger = Ledger::new(4096);
    ledger.apply((0..4096).map(|n| want(1000 + n)), false);
    resolve(&mut ledger, |_| 10);
    assert!(ledger.waiting.len() <= MAX_WAITING && ledger.wants.len() <= MAX_WAITING);
}

#[test]
fn what_no_message_could_hold_is_denied() {
    let mut ledger = Ledger::new(10);
    ledger.apply(vec![want(1)], false);
    resolve(&mut ledger, |_| MAX_BLOCK as u64 + 1);
    assert_eq!(ledger.plan().dont_haves, [cid(1)]);
    assert!(ledger.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Want(usize, bool),
    Cancel(usize),
    LookUp(usize),
    Arrive(usize),
    Recheck,
    Plan,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40usize, any::<bool>()).prop_map(|(n, have)| Step::Want(n, have)),
        1 => (0..40usize).prop_map(Step::Cancel),
        2 => (1..10usize).prop_map(Step::LookUp),
        1 => (20..40usize).prop_map(Step::Arrive),
        1 => Just(Step::Recheck),
        1 => Just(Step::Plan),
    ]
}

proptest! {
    /// Whatever happens, the lists agree with the wants, nothing is sent that is not wanted or
    /// not there, and in the end everything wanted and there has been sent.
    #[test]
    fn the_books_balance(steps in prop::collection::vec(step(), 0..200)) {
        let mut ledger = Ledger::new(30);
        let mut here: BTreeSet<Cid> = (0..20).map(cid).collect();
        let mut wanted: HashMap<Cid, ()> = HashMap::new();
        let mut looking = Vec::new();
        let settle = |plan: Plan, wanted: &mut HashMap<Cid, ()>, here: &BTreeSet<Cid>| {
            assert!(plan.load() <= MAX_MESSAGE_OUT || plan.blocks.len() == 1);
            for c in plan.blocks.iter().map(|(c, _)| c).chain(&plan.haves) {
                assert!(wanted.remove(c).is_some(), "sent what is not wanted");
                assert!(here.contains(c), "sent what is not there");
            }
        };
        for step in steps.into_iter().chain([Step::LookUp(100), Step::Recheck, Step::LookUp(100)]) {
            match step {
                Step::Want(n, have) => {
                    let kind = if have { WantKind::Have } else { WantKind::Block };
                    if wanted.len() < 30 || wanted.contains_key(&cid(n)) {
                        wanted.insert(cid(n), ());
                    }
                    ledger.apply(vec![Entry::want(cid(n), kind)], false);
                }
                Step::Cancel(n) => {
                    wanted.remove(&cid(n));
                    ledger.apply(vec![Entry::cancel(cid(n))], false);
                }
                Step::LookUp(n) => {
                    looking.extend(ledger.lookups(n));
                    for c in looking.drain(..) {
                        ledger.resolved(&c, here.contains(&c).then_some(300_000));
                    }
                }
                Step::Arrive(n) => {
                    here.insert(cid(n));
                    ledger.arrived(&cid(n));
                }
                Step::Recheck => ledger.recheck(),
                Step::Plan => settle(ledger.plan(), &mut wanted, &here),
            }
            let listed = ledger.fresh.len() + ledger.ready.len() + ledger.waiting.len();
            prop_assert_eq!(listed, ledger.wants.len());
            prop_assert_eq!(ledger.wants.len(), wanted.len());
        }
        while ledger.has_answers() {
            settle(ledger.plan(), &mut wanted, &here);
        }
        prop_assert!(wanted.keys().all(|c| !here.contains(c)), "something was never sent");
    }
}
