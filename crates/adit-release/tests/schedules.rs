//! Whole groups of holders under generated schedules: messages late, twice or never, crashes, old backups, liars, and
//! requesters that want the same slots. Also the other side of each bound: with one liar more, with one rule less, a
//! schedule is found that gives a slot twice.

mod world;

use adit_release::{Head, Id, Refusal, Terms, Use};
use world::{Random, Without, World};

/// Terms with their greatest number of liars.
const GROUPS: &[(u8, u8)] = &[(2, 2), (3, 2), (4, 3), (5, 3), (5, 4), (6, 5), (7, 5), (7, 6)];

/// Runs schedules until a slot was used twice; says in which.
fn search(terms: Terms, liars: u8, without: Without, schedules: u64) -> Option<u64> {
    (0..schedules).find(|seed| {
        let mut world = World::new(terms, liars, without, Random::new(*seed));
        world.run(400);
        world.used_twice()
    })
}

fn no_slot_is_used_twice(schedules: u64) {
    for (n, k) in GROUPS {
        let terms = Terms::new(*n, *k).unwrap();
        for liars in 0..=terms.faulty() {
            let found = search(terms, liars, Without::Nothing, schedules);
            assert_eq!(found, None, "{k} of {n}, {liars} liars");
        }
    }
}

#[test]
fn no_schedule_uses_a_slot_twice_while_no_more_lie_than_may() {
    no_slot_is_used_twice(400);
}

#[test]
#[ignore = "takes minutes: cargo xtask soak"]
fn soak_schedules() {
    no_slot_is_used_twice(30_000);
}

#[test]
fn one_liar_more_and_a_slot_is_used_twice() {
    for (n, k) in GROUPS {
        let terms = Terms::new(*n, *k).unwrap();
        // Where all are needed, the bound is about holders that start (below); nothing else is lost with one more.
        if n == k {
            continue;
        }
        let found = search(terms, terms.faulty() + 1, Without::Nothing, 20_000);
        assert!(found.is_some(), "{k} of {n}: one liar too many did no harm in any schedule");
    }
}

#[test]
fn without_any_of_its_rules_the_protocol_fails() {
    let terms = Terms::new(5, 4).unwrap();
    for rule in [Without::Hearing, Without::Witnesses] {
        assert!(search(terms, terms.faulty(), rule, 20_000).is_some(), "nothing happens without {rule:?}");
    }
}

/// What a holder keeps of another's log and then forgets must not count: too rare for generated schedules, so by hand.
#[test]
fn a_witness_that_forgot_is_none() {
    for (rule, harm) in [(Without::Nothing, false), (Without::Starts, true)] {
        let mut world = World::new(Terms::new(5, 3).unwrap(), 0, rule, Random::new(6));
        world.calm(&[]);
        let one = Use { policy: world.policy(), slot: 0, invocation: Id([1; 32]) };
        let two = Use { invocation: Id([2; 32]), ..one };
        // Holder 1 has the entry, forgets it, and hears those that never had it.
        world.commit(0, one).unwrap();
        world.among(&[0, 1]);
        world.restore(1, 0);
        world.among(&[1, 2, 3, 4]);
        assert!(world.book(1).is_serving());
        // One more witness would be enough, if the first still were one. What that one says tells.
        world.tick(0);
        world.among(&[0, 2]);
        assert_eq!(world.releases(&one), usize::from(harm));
        // Then holder 0 forgets, and hears those that don't know either.
        world.restore(0, 0);
        world.among(&[0, 1, 3, 4]);
        for (holder, used) in [(1, one), (2, one), (0, two), (3, two), (4, two)] {
            world.commit(holder, used).unwrap();
        }
        world.calm(&[]);
        assert_eq!(world.used_twice(), harm);
    }
}

#[test]
fn all_that_can_be_given_is_given_once_messages_arrive() {
    for (n, k) in GROUPS {
        let terms = Terms::new(*n, *k).unwrap();
        for seed in 0..50 {
            let mut world = World::new(terms, 0, Without::Nothing, Random::new(seed));
            world.run(150);
            world.calm(&[]);
            for holder in 0..*n {
                assert!(
                    world.book(holder).is_serving(),
                    "{k} of {n}, seed {seed}: holder {holder} does not serve"
                );
            }
            // From here on as many are silent as may be.
            let silent: Vec<_> = (*k..*n).collect();
            let invocation = Id([77; 32]);
            let slot = (0..4).find(|slot| (0..*k).all(|holder| world.is_free(holder, *slot)));
            let Some(slot) = slot else { continue };
            let used = Use { policy: world.policy(), slot, invocation };
            for holder in 0..*k {
                world.commit(holder, used).unwrap();
            }
            world.calm(&silent);
            assert_eq!(world.releases(&used), usize::from(*k), "{k} of {n}, seed {seed}");
        }
    }
}

#[test]
fn a_restored_holder_knows_again_what_it_had_given() {
    let terms = Terms::new(5, 4).unwrap();
    let mut world = World::new(terms, 0, Without::Nothing, Random::new(1));
    world.calm(&[]);
    let used = Use { policy: world.policy(), slot: 0, invocation: Id([1; 32]) };
    for holder in 0..4 {
        world.commit(holder, used).unwrap();
    }
    world.calm(&[]);
    assert_eq!(world.releases(&used), 4);
    let before = world.book(2).chain(2).unwrap().tip();
    world.restore(2, 0);
    let other = Use { invocation: Id([2; 32]), ..used };
    assert_eq!(world.commit(2, other).unwrap_err(), Refusal::Starting);
    world.calm(&[]);
    assert_eq!(world.commit(2, other).unwrap_err(), Refusal::Taken);
    assert_eq!(world.commit(2, Use { slot: 9, ..other }).unwrap_err(), Refusal::NoSuchSlot { uses: 4 });
    let chain = world.book(2).chain(2).unwrap();
    assert!((0..chain.len()).any(|len| chain.tip_at(len) == Some(before)), "its log goes on where it was");
    // The same use is no second one: its share can be had again.
    world.commit(2, used).unwrap();
    world.commit(4, used).unwrap();
    world.calm(&[]);
    assert_eq!(world.releases(&used), 5);
}

#[test]
fn a_holder_that_hears_too_few_gives_nothing() {
    let terms = Terms::new(5, 4).unwrap();
    let mut world = World::new(terms, 0, Without::Nothing, Random::new(3));
    world.calm(&[]);
    world.restore(0, 0);
    world.calm(&[1]);
    assert!(!world.book(0).is_serving());
    world.calm(&[]);
    assert!(world.book(0).is_serving());
}

#[test]
fn a_revocation_holds_once_enough_have_heard_it_and_is_not_forgotten() {
    for (n, k) in GROUPS {
        let terms = Terms::new(*n, *k).unwrap();
        let mut world = World::new(terms, 0, Without::Nothing, Random::new(9));
        world.calm(&[]);
        let revoked = Head { number: 2, policy: None, uses: 0 };
        let heard = terms.silent() + 1;
        for holder in 0..heard {
            world.hear_owner(holder, revoked).unwrap();
        }
        for holder in 0..heard {
            world.restore(holder, 0);
            world.calm(&[]);
        }
        let used = Use { policy: world.policy(), slot: 0, invocation: Id([5; 32]) };
        for holder in 0..*n {
            let answer = world.commit(holder, used);
            assert!(
                holder >= heard || answer == Err(Refusal::Revoked),
                "{k} of {n}, holder {holder}: {answer:?}"
            );
        }
        world.calm(&[]);
        assert!(world.releases(&used) < usize::from(*k));
        let old = Head { number: 1, policy: Some(used.policy), uses: 9 };
        assert_eq!(world.hear_owner(0, old), Err(Refusal::OldHead { known: 2 }));
        assert_eq!(world.hear_owner(0, Head { uses: 1, ..revoked }), Err(Refusal::TwoHeads(2)));
        let again = Head { number: 3, policy: Some(used.policy), uses: 1 };
        world.hear_owner(0, again).unwrap();
        assert_eq!(world.book(0).head(), &again);
    }
}

#[test]
fn two_that_want_one_slot_do_not_waste_it() {
    let terms = Terms::new(5, 4).unwrap();
    let mut world = World::new(terms, 0, Without::Nothing, Random::new(4));
    world.calm(&[]);
    let one = Use { policy: world.policy(), slot: 0, invocation: Id([1; 32]) };
    let two = Use { invocation: Id([2; 32]), ..one };
    for holder in 0..5 {
        let (first, second) = if holder < 3 { (one, two) } else { (two, one) };
        let until = world.reserve(holder, first).unwrap();
        assert_eq!(world.reserve(holder, first), Ok(until), "the same again");
        assert!(matches!(world.reserve(holder, second), Err(Refusal::Reserved { .. })));
        let too_few = Refusal::TooFewReserved { have: 3, needed: 4 };
        assert_eq!(world.commit_with(holder, one, &[0, 1, 2, 2, 9]).unwrap_err(), too_few);
    }
    world.pass(10_001);
    for holder in 0..5 {
        world.reserve(holder, two).unwrap();
        world.commit_with(holder, two, &[0, 1, 2, 3]).unwrap();
        assert_eq!(world.reserve(holder, one), Err(Refusal::Taken));
    }
    world.calm(&[]);
    assert_eq!(world.releases(&two), 5);
    assert_eq!(world.book(0).free_slot(), Some(1));
}
