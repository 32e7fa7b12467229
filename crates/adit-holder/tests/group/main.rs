//! Groups of holders with real databases: uses, crashes, old backups, forgeries.

mod forgeries;
mod world;

use adit_holder::{Distrust, Effect, Head, Id, Input, Refusal};
use adit_model::SignerId;
use adit_release::{Act, Refusal as Rule};
use world::{FIRST, GRANT, POLICY, World, owner, say, secret, used};

#[test]
fn a_use_is_given_once_and_every_log_says_so() {
    let mut world = World::new(5, 4);
    assert_eq!(world.use_slot(used(0, 1)), 5);
    assert_eq!(world.use_slot(used(0, 1)), 5, "the same again is no second use");
    assert_eq!(world.use_slot(used(0, 2)), 0, "the slot is taken");
    assert_eq!(world.use_slot(used(1, 2)), 5);
    assert_eq!(world.use_slot(used(2, 3)), 0, "the policy allows two uses");
    // Each holder's log is kept by the others, with that holder's own signatures.
    for at in 0..5 {
        for of in 0..5 {
            let (chain, marks) = world.holder(at).log(&GRANT, of).unwrap();
            let uses = chain.entries().iter().filter(|entry| matches!(entry.act, Act::Used(_))).count();
            assert_eq!((uses, marks.len()), (2, chain.len()), "{of}'s log at {at}");
            for (entry, mark) in chain.entries().iter().zip(marks) {
                assert!(secret(of + 1).account().check(&entry.id().0, &mark.0).is_ok());
            }
        }
    }
}

#[test]
fn nothing_is_given_while_too_few_holders_keep_the_entry() {
    let mut world = World::new(5, 4);
    let reserved: Vec<_> = (0..5).map(|holder| world.reserve(holder, used(0, 1)).unwrap()).collect();
    assert_eq!(
        world.commit(0, used(0, 1), &reserved[..3]),
        Some(Rule::TooFewReserved { have: 3, needed: 4 }.into())
    );
    assert_eq!(world.commit(0, used(0, 1), &reserved), None);
    assert_eq!(world.releases(&used(0, 1)), 0, "nobody else has it in his log yet");
    for holder in [3, 4] {
        world.kill(holder);
    }
    world.settle();
    assert_eq!(world.releases(&used(0, 1)), 0, "two are too few witnesses");
    world.open(3);
    world.settle();
    assert_eq!(world.releases(&used(0, 1)), 0, "one that starts must hear four others first");
    world.open(4);
    world.settle();
    assert_eq!(world.releases(&used(0, 1)), 1);
}

/// At every moment of a use any holder may be killed; afterwards the slot belongs to whoever got a share, and to nobody else.
#[test]
fn a_holder_killed_at_any_moment_forgets_nothing() {
    for victim in 0..3 {
        for moment in 0..12 {
            let mut world = World::new(3, 2);
            let reserved: Vec<_> = (0..3).map(|holder| world.reserve(holder, used(0, 1)).unwrap()).collect();
            let mut steps = 0;
            for holder in 0..3 {
                world.commit(holder, used(0, 1), &reserved);
                if steps == moment {
                    world.kill(victim);
                    world.open(victim);
                }
                steps += 1;
            }
            while world.step() {
                if steps == moment {
                    world.kill(victim);
                    world.open(victim);
                }
                steps += 1;
            }
            world.settle();
            world.now += 60_000;
            assert_eq!(world.use_slot(used(0, 2)), 0, "victim {victim} at {moment}");
            assert_eq!(world.use_slot(used(0, 1)), 3, "victim {victim} at {moment}");
        }
    }
}

#[test]
fn a_holder_from_an_old_backup_is_told_what_it_had_given() {
    let mut world = World::new(5, 4);
    let backup = world.backup(2);
    world.settle();
    assert_eq!(world.use_slot(used(0, 1)), 5);
    world.restore(2, &backup);
    assert_eq!(
        world.reserve(2, used(0, 2)),
        Err(Rule::Starting.into()),
        "it gives nothing before it has heard others"
    );
    world.settle();
    assert!(world.holder(2).is_serving(&GRANT));
    assert_eq!(world.reserve(2, used(0, 2)), Err(Rule::Taken.into()));
    assert_eq!(world.holder(2).free_slot(&GRANT), Some(1));
    // Again, with nothing left but the key and the share.
    world.lose(2);
    world.settle();
    assert_eq!(world.reserve(2, used(0, 2)), Err(Rule::Taken.into()));
    let (head, words) = world.holder(2).head(&GRANT).unwrap();
    assert_eq!((head, words), (FIRST, Some(&say(&owner(), FIRST))), "others passed on the owner's words");
}

#[test]
fn an_owner_is_heard_and_nobody_in_his_name() {
    let mut world = World::new(3, 2);
    let next = Head { number: 2, policy: Some(POLICY), uses: 1 };
    assert_eq!(world.words(0, say(&secret(50), next)), Some(Refusal::NotByOwner));
    assert_eq!(world.words(0, say(&owner(), next)), None);
    assert_eq!(world.words(0, say(&owner(), FIRST)), Some(Rule::OldHead { known: 2 }.into()));
    let contradiction = Head { uses: 9, ..next };
    assert_eq!(world.words(0, say(&owner(), contradiction)), Some(Rule::TwoHeads(2).into()));
    let revoked = Head { number: 3, policy: None, uses: 0 };
    for holder in 0..3 {
        assert_eq!(world.words(holder, say(&owner(), revoked)), None);
        assert_eq!(world.reserve(holder, used(0, 1)), Err(Rule::Revoked.into()));
    }
    // And after a restart.
    for holder in 0..3 {
        world.open(holder);
    }
    world.settle();
    assert_eq!(world.reserve(0, used(0, 1)), Err(Rule::Revoked.into()));
    let unknown = world.turn(0, vec![Input::Words { grant: Id([1; 32]), words: say(&owner(), revoked) }]);
    assert_eq!(unknown, [Effect::Refused { input: 0, why: Refusal::UnknownObject }]);
}

#[test]
fn reservations_of_nobody_or_for_something_else_are_forged() {
    let mut world = World::new(3, 2);
    let mine: Vec<_> = (0..3).map(|holder| world.reserve(holder, used(0, 1)).unwrap()).collect();
    let mut forged = mine.clone();
    forged[1].holder = 2;
    assert_eq!(world.commit(0, used(0, 1), &forged), Some(Refusal::ForgedReservation));
    assert_eq!(world.commit(0, used(1, 1), &mine), Some(Refusal::ForgedReservation), "for another slot");
    let twice = [mine[1], mine[1]];
    let why = Rule::TooFewReserved { have: 1, needed: 2 };
    assert_eq!(world.commit(0, used(0, 1), &twice), Some(why.into()), "one holder counts once");
    assert_eq!(world.commit(0, used(0, 1), &mine), None);
}

/// One changed bit anywhere, and nothing in the packet counts.
#[test]
fn a_changed_packet_is_thrown_away() {
    let mut world = World::new(3, 2);
    let reserved: Vec<_> = (0..3).map(|holder| world.reserve(holder, used(0, 1)).unwrap()).collect();
    world.commit(0, used(0, 1), &reserved);
    let (to, packet) = world.under_way.pop_front().expect("it tells another");
    let to = (0..3).find(|holder| secret(holder + 1).account() == to).unwrap();
    let before = world.holder(to).log(&GRANT, 0).unwrap().0.len();
    for at in 0..packet.len() {
        for bit in [0x01, 0x80] {
            let mut changed = packet.to_vec();
            changed[at] ^= bit;
            let effects = world.turn(to, vec![Input::Packet(changed.into())]);
            assert!(matches!(effects[..], [Effect::Distrusted { .. }]), "byte {at}: {effects:?}");
        }
    }
    for len in [0, 64, 65, 66, packet.len() - 1] {
        let effects = world.turn(to, vec![Input::Packet(packet.slice(..len))]);
        assert_eq!(effects, [Effect::Distrusted { input: 0, why: Distrust::Unreadable }], "cut at {len}");
    }
    assert_eq!(world.holder(to).log(&GRANT, 0).unwrap().0.len(), before);
    assert_eq!(world.turn(to, vec![Input::Packet(packet)]), []);
    assert_eq!(world.holder(to).log(&GRANT, 0).unwrap().0.len(), before + 1);
}

#[test]
fn packets_for_others_about_others_or_too_long_are_thrown_away() {
    let mut world = World::new(3, 2);
    let reserved: Vec<_> = (0..3).map(|holder| world.reserve(holder, used(0, 1)).unwrap()).collect();
    world.commit(0, used(0, 1), &reserved);
    let (to, packet) = world.under_way.pop_front().unwrap();
    let not_to = (1..3).find(|holder| secret(holder + 1).account() != to).unwrap();
    let thrown = |why| vec![Effect::Distrusted { input: 0, why }];
    assert_eq!(world.turn(not_to, vec![Input::Packet(packet.clone())]), thrown(Distrust::NotForUs));
    assert_eq!(world.turn(0, vec![Input::Packet(packet.clone())]), thrown(Distrust::NotForUs), "its own");
    let mut stranger = World::new(2, 2);
    let other = stranger.object(0);
    assert_eq!(other.grant, GRANT);
    assert!(stranger.turn(0, vec![Input::Packet(packet)]).len() == 1, "signed by a holder of another group");
    let long = vec![0; adit_holder::MOST_PACKET_BYTES + 1];
    assert_eq!(world.turn(0, vec![Input::Packet(long.into())]), thrown(Distrust::TooLong));
}

#[test]
fn refusals_are_written_down_and_shown_to_the_owner() {
    let mut world = World::new(3, 2);
    let refused = Input::Refused { grant: GRANT, invocation: Id([5; 32]), reason: 3 };
    world.turn(0, vec![refused]);
    world.settle();
    let wanted = Act::Refused { invocation: Id([5; 32]), reason: 3 };
    for at in 0..3 {
        let (chain, _) = world.holder(at).log(&GRANT, 0).unwrap();
        assert!(chain.entries().iter().any(|entry| entry.act == wanted), "at {at}");
    }
}

#[test]
fn a_share_is_taken_once_and_only_at_its_own_place() {
    let mut world = World::new(3, 2);
    let dir = tempfile::tempdir().unwrap();
    let (mut holder, effects) = adit_holder::Holder::open(dir.path(), secret(1), world::Owner).unwrap();
    assert_eq!(effects, []);
    for object in [
        world.object(1),
        adit_holder::Object { needed: 1, ..world.object(0) },
        adit_holder::Object { needed: 4, ..world.object(0) },
        adit_holder::Object { holders: vec![secret(1).account(); 3], ..world.object(0) },
        adit_holder::Object { holders: Vec::new(), ..world.object(0) },
    ] {
        let error = holder.enrol(object).unwrap_err();
        assert!(matches!(error, adit_holder::HolderError::Unsound), "{error}");
    }
    assert_eq!(holder.enrol(world.object(0)).unwrap().len(), 2, "it asks the two others");
    assert_eq!(holder.enrol(world.object(0)).unwrap(), []);
    let other = adit_holder::Object { share: vec![77; 48], ..world.object(0) };
    assert!(matches!(holder.enrol(other), Err(adit_holder::HolderError::Other)));
    world.settle();
}
