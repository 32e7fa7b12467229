//! Single rules, each in the smallest network that shows it.

use std::time::Duration;

use super::{
    super::{Action, Core, Failure, Urgency},
    cid,
    network::{BLOCK, Network, PeerPlan, Temper},
};
use crate::bitswap::{
    Config,
    wire::{Entry, WantKind},
};

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn fetch(plans: Vec<PeerPlan>, blocks: usize) -> Network {
    let mut network = Network::new(plans, Config::default(), 7);
    network.fetch(blocks, secs(600));
    network
}

#[test]
fn providers_share_the_work_by_how_fast_they_are() {
    let fast = PeerPlan { bytes_a_second: 80e6, hinted: true, ..PeerPlan::honest() };
    let slow = PeerPlan { bytes_a_second: 8e6, hinted: true, ..PeerPlan::honest() };
    let network = fetch(vec![fast, slow], 1000);
    assert_eq!(network.got.len(), 1000);
    let (fast, slow) = (network.served(0), network.served(1));
    assert!(fast > 5 * slow && slow > 20, "{fast} and {slow}");
    // Together they deliver 88 MB/s; 10 % for the beginning and the end.
    let best = (1000 * BLOCK) as f64 / 88e6;
    let took = network.elapsed().as_secs_f64();
    assert!(took < best * 1.25, "{took} s, at best {best} s");
    assert!(network.doubled < 40, "{} blocks came twice", network.doubled);
}

#[test]
fn one_provider_of_several_dies_and_the_others_finish() {
    let plan = PeerPlan { hinted: true, bytes_a_second: 20e6, ..PeerPlan::honest() };
    let mut network = Network::new(vec![plan.clone(), plan.clone(), plan], Config::default(), 7);
    network.drop_peer(1, Duration::from_millis(500));
    network.fetch(400, secs(600));
    assert_eq!((network.got.len(), network.failed.len()), (400, 0));
    assert!(network.elapsed() < secs(6), "{:?}", network.elapsed());
}

#[test]
fn a_silent_provider_costs_its_stall_and_no_more() {
    let silent = PeerPlan { hinted: true, ..PeerPlan::of(Temper::Silent) };
    let good = PeerPlan { hinted: true, ..PeerPlan::honest() };
    let network = fetch(vec![silent, good], 200);
    assert_eq!(network.got.len(), 200);
    assert!(network.elapsed() < secs(4), "{:?}", network.elapsed());
}

/// Anybody can say HAVE. Whoever delivers is found among those who do not, and then asked first.
#[test]
fn many_that_promise_and_never_deliver_do_not_stop_the_one_who_does() {
    let boaster = PeerPlan::of(Temper::Boaster);
    for boasters in [1, 2, 16, 40] {
        let mut plans = vec![boaster.clone(); boasters];
        plans.push(PeerPlan::honest());
        let network = fetch(plans.clone(), 1);
        assert_eq!((network.got.len(), network.failed.len()), (1, 0));
        assert!(network.elapsed() < secs(2), "one block took {:?} beside {boasters}", network.elapsed());
        let network = fetch(plans, 400);
        assert_eq!((network.got.len(), network.failed.len()), (400, 0));
        assert!(network.elapsed() < secs(8), "400 blocks took {:?} beside {boasters}", network.elapsed());
    }
}

/// Strangers that say HAVE first do not stand before one who has delivered.
#[test]
fn who_has_delivered_is_asked_at_once_beside_strangers() {
    let now = std::time::Instant::now();
    let honest = libp2p::PeerId::random();
    let strangers: Vec<_> = (0..16).map(|_| libp2p::PeerId::random()).collect();
    let mut core = Core::new(Config::default().into());
    core.connected(honest, now);
    core.open(1, vec![honest], now);
    core.want(1, cid(1), Urgency::Now, now);
    core.pump(now);
    core.blocks(honest, &[(cid(1), 100)], (0, 0), now);
    strangers.iter().for_each(|peer| core.connected(*peer, now));

    core.open(2, vec![], now);
    core.want(2, cid(2), Urgency::Now, now);
    core.pump(now);
    for stranger in &strangers {
        core.haves(*stranger, &[cid(2)], now);
        core.pump(now);
    }
    core.haves(honest, &[cid(2)], now);
    let asked = Action::Send { peer: honest, entries: vec![Entry::want(cid(2), WantKind::Block)] };
    assert_eq!(core.pump(now), std::slice::from_ref(&asked));
    // Once: the same word again changes nothing, and strangers are not asked beside it.
    core.haves(honest, &[cid(2)], now);
    core.haves(strangers[9], &[cid(2)], now);
    assert_eq!(core.pump(now), []);
}

#[test]
fn what_half_the_providers_lack_comes_from_the_other() {
    let half = PeerPlan { has: 1, hinted: true, ..PeerPlan::honest() };
    let whole = PeerPlan { hinted: true, ..PeerPlan::honest() };
    let network = fetch(vec![half, whole], 300);
    assert_eq!(network.got.len(), 300);
    assert!(network.served(0) > 30, "the half is used, too: {}", network.served(0));
}

#[test]
fn a_liar_is_left_after_a_few_blocks() {
    let liar = PeerPlan { hinted: true, ..PeerPlan::of(Temper::Liar) };
    let good = PeerPlan { hinted: true, bytes_a_second: 10e6, ..PeerPlan::honest() };
    let network = fetch(vec![liar, good], 300);
    assert_eq!(network.got.len(), 300);
    assert!(network.closes >= 1);
    assert!(network.served(0) <= 64, "{} blocks were believed", network.served(0));
}

#[test]
fn a_forgetful_peer_is_asked_again_by_cancel_and_want() {
    // Helia thinks that what was lost has been answered: a plain repeat would get nothing.
    let plan = PeerPlan { hinted: true, loss: 10, ..PeerPlan::of(Temper::Forgetful) };
    let network = fetch(vec![plan], 100);
    assert_eq!((network.got.len(), network.failed.len()), (100, 0));
}

#[test]
fn a_flaky_peer_is_dialled_again_until_all_is_here() {
    let plan = PeerPlan { hinted: true, bytes_a_second: 4e6, ..PeerPlan::of(Temper::Flaky) };
    let network = fetch(vec![plan], 100);
    assert_eq!((network.got.len(), network.failed.len()), (100, 0));
    assert!(network.elapsed() > secs(6), "it broke several times");
}

#[test]
fn a_peer_that_answers_nothing_is_closed_and_left_alone() {
    let plan = PeerPlan { hinted: true, ..PeerPlan::of(Temper::Silent) };
    let network = fetch(vec![plan], 3);
    assert!(network.closes >= 1);
    assert_eq!(network.failed.len(), 3);
    assert!(network.elapsed() < secs(90), "{:?}", network.elapsed());
}

#[test]
fn connected_strangers_are_asked_and_those_that_have_it_deliver() {
    let without = PeerPlan { has: 0, ..PeerPlan::honest() };
    let network = fetch(vec![without.clone(), PeerPlan::honest(), without], 100);
    assert_eq!(network.got.len(), 100);
    assert!(network.asked(0) < 20 && network.asked(2) < 20, "strangers are asked about the root");
}

#[test]
fn providers_are_searched_when_nobody_connected_has_it() {
    let without = PeerPlan { has: 0, ..PeerPlan::honest() };
    let elsewhere = PeerPlan { connected: false, ..PeerPlan::honest() };
    let mut network = Network::new(vec![without, elsewhere], Config::default(), 7);
    network.findable = vec![1];
    network.fetch(50, secs(60));
    assert_eq!(network.got.len(), 50);
    assert!(network.elapsed() < secs(4), "{:?}", network.elapsed());
}

#[test]
fn absence_is_said_soon_and_with_its_reason() {
    let without = PeerPlan { has: 0, ..PeerPlan::honest() };
    let network = fetch(vec![without.clone(), without], 1);
    assert_eq!(network.failed, [(cid(0), Failure::Absent { asked: 2 })]);
    assert!(network.elapsed() < secs(10), "{:?}", network.elapsed());

    let network = fetch(vec![], 1);
    assert_eq!(network.failed, [(cid(0), Failure::Alone)]);
}

#[test]
fn an_unreachable_hint_does_not_hold_up_the_answer() {
    let dead = PeerPlan { connected: false, hinted: true, ..PeerPlan::of(Temper::Silent) };
    let network = fetch(vec![dead], 1);
    assert_eq!(network.failed.len(), 1);
    assert!(network.elapsed() < secs(40), "{:?}", network.elapsed());
}

/// Wants of two sessions for one block are one want, and end when the last withdraws.
#[test]
fn sessions_share_wants() {
    let now = std::time::Instant::now();
    let peer = libp2p::PeerId::random();
    let mut core = Core::new(Config::default().into());
    core.connected(peer, now);
    core.open(1, vec![peer], now);
    core.open(2, vec![peer], now);
    core.want(1, cid(1), Urgency::Ahead, now);
    core.want(2, cid(1), Urgency::Now, now);
    let want = |kind| vec![Action::Send { peer, entries: vec![Entry::want(cid(1), kind)] }];
    assert_eq!(core.pump(now), want(WantKind::Block));
    core.want(1, cid(1), Urgency::Now, now);
    core.unwant(1, &cid(1));
    assert_eq!(core.pump(now), [], "the other session still wants it");
    core.close(2, now);
    let cancel = vec![Entry::cancel(cid(1))];
    assert_eq!(core.pump(now), [Action::Send { peer, entries: cancel }]);
    assert!(!core.is_busy());

    // The block comes after all: late, but nobody's fault.
    core.blocks(peer, &[(cid(1), 100)], (0, 0), now);
    core.open(3, vec![peer], now);
    core.want(3, cid(2), Urgency::Now, now);
    let sent = core.pump(now);
    assert!(matches!(&sent[..], [Action::Send { .. }]), "the peer is not punished: {sent:?}");
}

#[test]
fn what_a_reader_waits_for_goes_before_what_it_may_want() {
    let now = std::time::Instant::now();
    let peer = libp2p::PeerId::random();
    let mut core = Core::new(Config::default().into());
    core.connected(peer, now);
    core.open(1, vec![peer], now);
    (0..50).for_each(|n| core.want(1, cid(n), Urgency::Ahead, now));
    core.want(1, cid(99), Urgency::Now, now);
    core.want(1, cid(40), Urgency::Now, now);
    let actions = core.pump(now);
    let [Action::Send { entries, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!([entries[0].cid, entries[1].cid, entries[2].cid], [cid(99), cid(40), cid(0)]);
}

#[test]
fn a_probe_answers_who_has_it_and_forgets_who_is_silent() {
    let now = std::time::Instant::now();
    let [with, without, silent] = std::array::from_fn(|_| libp2p::PeerId::random());
    let mut core = Core::new(Config::default().into());
    [with, without, silent].iter().for_each(|peer| core.connected(*peer, now));
    core.probe(5, cid(1), None);
    assert_eq!(core.pump(now).len(), 3);
    core.haves(with, &[cid(1)], now);
    core.dont_haves(without, &[cid(1)], now);
    assert_eq!(core.pump(now), [], "one has not answered");
    core.end_probe(5);
    let actions = core.pump(now);
    assert!(actions.contains(&Action::Probed { probe: 5, have: vec![with] }), "{actions:?}");
    let cancel = Action::Send { peer: silent, entries: vec![Entry::cancel(cid(1))] };
    assert!(actions.contains(&cancel), "{actions:?}");
    // A small block in place of HAVE counts as one, and as nothing wrong.
    core.probe(6, cid(2), Some(vec![with]));
    core.blocks(with, &[(cid(2), 10)], (0, 0), now);
    assert!(core.pump(now).contains(&Action::Probed { probe: 6, have: vec![with] }));
}

#[test]
fn unasked_blocks_have_a_limit() {
    let now = std::time::Instant::now();
    let peer = libp2p::PeerId::random();
    let mut core = Core::new(Config::default().into());
    core.connected(peer, now);
    (0..2).for_each(|n| {
        core.blocks(peer, &[(cid(n), 1000)], (0, 0), now);
    });
    assert_eq!(core.pump(now), []);
    core.blocks(peer, &[(cid(3), 1000)], (0, 0), now);
    assert!(matches!(core.pump(now)[..], [Action::Close { .. }]));
    // Large ones at once.
    let other = libp2p::PeerId::random();
    core.connected(other, now);
    core.blocks(other, &[], (0, 16 << 20), now);
    assert!(matches!(core.pump(now)[..], [Action::Close { .. }]));
}
