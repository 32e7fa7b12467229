//! What a lying holder can make others believe: only what is its own.

use crate::world::{FIRST, GRANT, World, owner, say, secret, used};
use adit_holder::{Distrust, Effect, Head, Input};
use adit_model::{AccountId, SignerId};
use adit_release::{Act, Entry, Id, Message, Promise};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

/// The body of a packet, written down a second time: the format is for other implementations too.
#[derive(Clone, Serialize, Deserialize)]
struct Body {
    v: u8,
    grant: Id,
    from: u8,
    to: u8,
    message: Message,
    entries: ByteBuf,
    starts: ByteBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    words: Option<ByteBuf>,
}

fn open(packet: &[u8]) -> Body {
    serde_ipld_dagcbor::from_slice(&packet[65..]).unwrap()
}

/// Signed by the holder that it says it is from.
fn seal(body: &Body) -> Bytes {
    let bytes = serde_ipld_dagcbor::to_vec(body).unwrap();
    let digest: [u8; 32] =
        Sha256::new_with_prefix(b"adit/holder-message/1\0").chain_update(&bytes).finalize().into();
    [&AccountId::sign(&secret(body.from + 1), &digest)[..], &bytes].concat().into()
}

/// A world in which holder 0 has started again, and what holder 1 honestly answers it.
fn answered() -> (World, Body) {
    let mut world = World::new(3, 2);
    assert_eq!(world.use_slot(used(0, 1)), 3);
    world.under_way.clear();
    world.lose(0);
    // It asks, hears that it had started with this number before, and asks again.
    let next = |world: &mut World, to: u8| {
        let (_, packet) =
            world.under_way.iter().find(|(by, _)| *by == secret(to + 1).account()).unwrap().clone();
        world.under_way.clear();
        assert_eq!(world.turn(to, vec![Input::Packet(packet)]), []);
    };
    next(&mut world, 1);
    let stale = open(&world.under_way[0].1);
    assert!(matches!(stale.message, Message::Stale { .. }), "{:?}", stale.message);
    next(&mut world, 0);
    next(&mut world, 1);
    let answer = world.under_way.pop_front().unwrap().1;
    let body = open(&answer);
    assert!(matches!(body.message, Message::Recalled { .. }), "{:?}", body.message);
    assert_eq!(seal(&body), answer, "this is how packets are made");
    (world, body)
}

fn believed(world: &mut World, body: &Body) -> Result<(), Distrust> {
    match &world.turn(0, vec![Input::Packet(seal(body))])[..] {
        [] => Ok(()),
        [Effect::Distrusted { why, .. }] => Err(*why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_another_holder_wrote_can_only_be_repeated() {
    let (mut world, honest) = answered();
    let Message::Recalled { chains, .. } = &honest.message else { unreachable!() };
    let logs = chains.clone();
    for holder in 0..3 {
        let entries = logs[holder].1.len();
        assert!(entries > 1, "holder {holder}'s log is told");
        for at in 0..entries {
            let mut body = honest.clone();
            let Message::Recalled { chains, .. } = &mut body.message else { unreachable!() };
            chains[holder].1[at].time += 1;
            // What it wrote itself it can also sign: the rest of its log doesn't follow then, but nobody else is wronged.
            assert_eq!(believed(&mut world, &body), Err(Distrust::EntryNotByHolder), "{holder}, {at}");
        }
        // A use that never was, at the end of a log, signed by the liar.
        let mut body = honest.clone();
        let Message::Recalled { chains, .. } = &mut body.message else { unreachable!() };
        let last = chains[holder].1.last().unwrap().clone();
        let entry = Entry { before: last.id(), act: Act::Used(used(1, 66)), ..last };
        let mark = AccountId::sign(&secret(2), &entry.id().0);
        let before: usize = chains[..=holder].iter().map(|(_, entries)| entries.len()).sum();
        chains[holder].1.push(entry);
        body.entries.splice(before * 65..before * 65, mark);
        let wanted = if holder == 1 { Ok(()) } else { Err(Distrust::EntryNotByHolder) };
        assert_eq!(believed(&mut world, &body), wanted, "{holder}");
    }
}

#[test]
fn a_start_of_another_holder_can_only_be_repeated() {
    let (mut world, honest) = answered();
    for holder in 0..3 {
        let mut body = honest.clone();
        let Message::Recalled { promises, .. } = &mut body.message else { unreachable!() };
        promises[holder].boot += 1;
        assert_eq!(believed(&mut world, &body), Err(Distrust::StartNotByHolder), "{holder}");
    }
    // That holder 0 has started with this number before: with nothing of its own to show for it.
    let known = Promise { boot: 1 << 20, nonce: 1 };
    let mut body = Body { message: Message::Stale { known }, words: None, ..honest };
    (body.entries, body.starts) = (ByteBuf::new(), ByteBuf::from(body.starts[..65].to_vec()));
    assert_eq!(believed(&mut world, &body), Err(Distrust::StartNotByHolder));
}

#[test]
fn the_owners_words_can_only_be_repeated() {
    let (mut world, honest) = answered();
    let with = |head: Head, words: Option<Bytes>| {
        let mut body = honest.clone();
        let Message::Recalled { head: said, .. } = &mut body.message else { unreachable!() };
        *said = head;
        body.words = words.map(|words| ByteBuf::from(words.to_vec()));
        body
    };
    let more = Head { number: 2, uses: 1_000, ..FIRST };
    let not_his = [
        with(more, Some(say(&owner(), FIRST))),
        with(more, Some(say(&secret(2), more))),
        with(more, None),
        with(FIRST, None),
        with(FIRST, Some(Bytes::from_static(b"words"))),
    ];
    for body in not_his {
        assert_eq!(believed(&mut world, &body), Err(Distrust::NotByOwner));
    }
    assert_eq!(believed(&mut world, &with(more, Some(say(&owner(), more)))), Ok(()), "if he said so");
    assert_eq!(world.holder(0).head(&GRANT).unwrap().0, more);
}

#[test]
fn every_signature_is_there_and_none_too_many() {
    let (mut world, honest) = answered();
    let cut = |list: &ByteBuf, len: usize| ByteBuf::from(list[..len].to_vec());
    let (entries, starts) = (&honest.entries, &honest.starts);
    let longer = |list: &ByteBuf| ByteBuf::from([&list[..], &[0; 65]].concat());
    let bodies = [
        (Body { entries: cut(entries, entries.len() - 65), ..honest.clone() }, Distrust::EntryNotByHolder),
        (Body { entries: cut(entries, entries.len() - 1), ..honest.clone() }, Distrust::EntryNotByHolder),
        (Body { entries: longer(entries), ..honest.clone() }, Distrust::EntryNotByHolder),
        (Body { starts: cut(starts, 0), ..honest.clone() }, Distrust::StartNotByHolder),
        (Body { starts: longer(starts), ..honest.clone() }, Distrust::StartNotByHolder),
        (Body { v: 2, ..honest.clone() }, Distrust::Unreadable),
        (Body { grant: Id([1; 32]), ..honest.clone() }, Distrust::UnknownObject),
    ];
    for (body, why) in bodies {
        assert_eq!(believed(&mut world, &body), Err(why));
    }
    // More or fewer logs and starts than there are holders.
    for count in [0, 2, 4, 300] {
        let mut body = honest.clone();
        let Message::Recalled { chains, promises, .. } = &mut body.message else { unreachable!() };
        chains.resize(count, (0, Vec::new()));
        promises.resize(count, Promise::default());
        assert_eq!(believed(&mut world, &body), Err(Distrust::Unreadable), "{count}");
    }
    assert_eq!(believed(&mut world, &honest), Ok(()));
}

/// Two entries of one holder that follow the same one, both signed: whoever has both can show that it lied.
#[test]
fn a_holder_that_tells_two_stories_signs_both() {
    let mut world = World::new(3, 2);
    let start = open_start(&mut world);
    let (chain, _) = world.holder(2).log(&GRANT, 1).unwrap();
    let last = chain.entries().last().unwrap().clone();
    let story = |invocation| Entry { before: last.id(), act: Act::Used(used(0, invocation)), ..last.clone() };
    let len = chain.len();
    for (to, invocation) in [(0, 1), (2, 2)] {
        let entry = story(invocation);
        let entries = ByteBuf::from(AccountId::sign(&secret(2), &entry.id().0).to_vec());
        let message = Message::Witness { start: start.0, at: len, entries: vec![entry] };
        let starts = ByteBuf::from(start.1.to_vec());
        let body = Body { v: 1, grant: GRANT, from: 1, to, message, entries, starts, words: None };
        assert_eq!(world.turn(to, vec![Input::Packet(seal(&body))]), []);
    }
    let entry_at = |world: &World, at: u8| {
        let (chain, marks) = world.holder(at).log(&GRANT, 1).unwrap();
        (chain.entries()[len].clone(), marks[len])
    };
    let (one, two) = (entry_at(&world, 0), entry_at(&world, 2));
    assert_ne!(one.0, two.0);
    assert_eq!(one.0.before, two.0.before);
    for (entry, mark) in [one, two] {
        assert!(secret(2).account().check(&entry.id().0, &mark.0).is_ok());
    }
}

/// Holder 1's present start with its signature, from what it sends.
fn open_start(world: &mut World) -> (Promise, [u8; 65]) {
    world.under_way.clear();
    world.open(1);
    let body = open(&world.under_way[0].1);
    let Message::Recall { start, .. } = body.message else { panic!("it asks first") };
    let mark = body.starts[..].try_into().unwrap();
    world.settle();
    (start, mark)
}
