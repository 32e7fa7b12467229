//! A network in virtual time, and what must hold in it whatever happens.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use cid::Cid;
use libp2p::PeerId;
use proptest::prelude::*;

use super::{
    super::{Action, Core, Failure, Urgency, Verdict, want::MAX_ASKS},
    cid,
};
use crate::bitswap::{
    Config,
    wire::{Entry, WantKind},
};

pub(super) const BLOCK: usize = 256 << 10;
const SESSION: u64 = 1;

/// How a peer treats us.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Temper {
    Honest,
    /// Takes wants and never answers.
    Silent,
    /// Sends a block nobody asked for in place of each wanted one.
    Liar,
    /// Says HAVE to everything and delivers nothing.
    Boaster,
    /// Answers everything twice.
    Doubler,
    /// Its connection breaks every second.
    Flaky,
    /// As Helia: believes a want answered whose message was lost, until the connection is new or
    /// the want is cancelled.
    Forgetful,
}

#[derive(Debug, Clone)]
pub(super) struct PeerPlan {
    pub(super) temper: Temper,
    /// Has the blocks whose number modulo 2 is below this.
    pub(super) has: usize,
    pub(super) bytes_a_second: f64,
    pub(super) latency: Duration,
    /// Connected from the beginning; otherwise reachable by dialling.
    pub(super) connected: bool,
    pub(super) hinted: bool,
    /// One in this many of its messages is lost; 0 for none.
    pub(super) loss: u64,
}

impl PeerPlan {
    pub(super) fn honest() -> Self {
        Self {
            temper: Temper::Honest,
            has: 2,
            bytes_a_second: 50e6,
            latency: Duration::from_millis(5),
            connected: true,
            hinted: false,
            loss: 0,
        }
    }

    pub(super) fn of(temper: Temper) -> Self {
        Self { temper, ..Self::honest() }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Wants(usize, u32, Vec<Entry>),
    Block(usize, u32, Cid),
    Presence(usize, u32, Cid, bool),
    Up(usize),
    Down(usize, u32),
    DialFails(usize),
    Found(u64),
    Tick,
}

struct SimPeer {
    id: PeerId,
    plan: PeerPlan,
    up: bool,
    /// Which connection this is: messages of earlier ones are gone.
    epoch: u32,
    busy_until: Duration,
    /// Wants that it believes to have answered (for the forgetful).
    answered: BTreeSet<Cid>,
    served: usize,
    asked: usize,
}

/// The network around one core.
pub(super) struct Network {
    pub(super) core: Core,
    config: Arc<Config>,
    start: Instant,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64)>>,
    scheduled: HashMap<u64, Event>,
    next: u64,
    random: u64,
    peers: Vec<SimPeer>,
    waiting: BTreeSet<Cid>,
    /// What came, and from whom, and when the last did.
    pub(super) got: BTreeMap<Cid, usize>,
    pub(super) failed: Vec<(Cid, Failure)>,
    pub(super) doubled: usize,
    pub(super) closes: usize,
    /// Providers that a search finds.
    pub(super) findable: Vec<usize>,
}

impl Network {
    pub(super) fn new(plans: Vec<PeerPlan>, config: Config, seed: u64) -> Self {
        let config = Arc::new(config);
        let peers = plans.into_iter().map(|plan| SimPeer {
            id: PeerId::random(),
            plan,
            up: false,
            epoch: 0,
            busy_until: Duration::ZERO,
            answered: BTreeSet::new(),
            served: 0,
            asked: 0,
        });
        let mut network = Self {
            core: Core::new(Arc::clone(&config)),
            config,
            start: Instant::now(),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            scheduled: HashMap::new(),
            next: 0,
            random: seed | 1,
            peers: peers.collect(),
            waiting: BTreeSet::new(),
            got: BTreeMap::new(),
            failed: Vec::new(),
            doubled: 0,
            closes: 0,
            findable: Vec::new(),
        };
        for at in 0..network.peers.len() {
            if network.peers[at].plan.connected {
                network.connect(at);
            }
        }
        let hints = network.peers.iter().filter(|p| p.plan.hinted).map(|p| p.id).collect();
        let now = network.instant();
        network.core.open(SESSION, hints, now);
        network.schedule(Duration::from_millis(100), Event::Tick);
        network
    }

    /// Wants `count` blocks and runs until all have come or failed, or `limit` has passed.
    pub(super) fn fetch(&mut self, count: usize, limit: Duration) {
        let now = self.instant();
        for n in 0..count {
            let urgency = if n % 8 == 0 { Urgency::Now } else { Urgency::Ahead };
            self.core.want(SESSION, cid(n), urgency, now);
            self.waiting.insert(cid(n));
        }
        self.end_turn();
        let end = self.now + limit;
        while !self.waiting.is_empty() && self.now < end {
            let Some(Reverse((at, number))) = self.events.pop() else { break };
            self.now = at;
            let event = self.scheduled.remove(&number).expect("scheduled once");
            self.happen(event);
            self.end_turn();
            self.check();
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now
    }

    pub(super) fn served(&self, peer: usize) -> usize {
        self.peers[peer].served
    }

    pub(super) fn asked(&self, peer: usize) -> usize {
        self.peers[peer].asked
    }

    pub(super) fn drop_peer(&mut self, at: usize, after: Duration) {
        let epoch = self.peers[at].epoch;
        self.peers[at].plan.temper = Temper::Silent;
        self.schedule(after, Event::Down(at, epoch));
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.events.push(Reverse((self.now + after, self.next)));
        self.scheduled.insert(self.next, event);
        self.next += 1;
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        one_in > 0 && self.random.is_multiple_of(one_in)
    }

    fn connect(&mut self, at: usize) {
        let now = self.instant();
        let peer = &mut self.peers[at];
        peer.up = true;
        peer.epoch += 1;
        peer.answered.clear();
        peer.busy_until = self.now;
        let (id, epoch, temper) = (peer.id, peer.epoch, peer.plan.temper);
        self.core.connected(id, now);
        if temper == Temper::Flaky {
            self.schedule(Duration::from_secs(1), Event::Down(at, epoch));
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Tick => {
                self.core.tick(now);
                self.schedule(Duration::from_millis(100), Event::Tick);
            }
            Event::Up(at) => {
                if !self.peers[at].up {
                    self.connect(at);
                }
            }
            Event::Down(at, epoch) => {
                if self.peers[at].up && self.peers[at].epoch == epoch {
                    self.peers[at].up = false;
                    self.core.disconnected(self.peers[at].id, now);
                }
            }
            Event::DialFails(at) => self.core.dial_failed(self.peers[at].id, now),
            Event::Found(session) => {
                let found = self.findable.iter().map(|at| self.peers[*at].id).collect();
                self.core.found(session, found, now);
            }
            Event::Wants(at, epoch, entries) => {
                if self.peers[at].up && self.peers[at].epoch == epoch {
                    self.serve(at, entries);
                }
            }
            Event::Block(at, epoch, cid) => {
                if self.peers[at].up && self.peers[at].epoch == epoch {
                    self.receive(at, cid);
                }
            }
            Event::Presence(at, epoch, cid, has) => {
                if self.peers[at].up && self.peers[at].epoch == epoch {
                    let id = self.peers[at].id;
                    match has {
                        true => self.core.haves(id, &[cid], now),
                        false => self.core.dont_haves(id, &[cid], now),
                    }
                }
            }
        }
    }

    fn receive(&mut self, at: usize, cid: Cid) {
        let now = self.instant();
        let id = self.peers[at].id;
        let verdict = self.core.blocks(id, &[(cid, BLOCK)], (0, 0), now)[0];
        match verdict {
            Verdict::Wanted => {
                assert!(self.waiting.remove(&cid), "{cid} is wanted but nobody waits for it");
                self.got.insert(cid, at);
            }
            Verdict::Drop => {
                assert!(!self.waiting.contains(&cid), "{cid} was dropped but is waited for");
                self.doubled += usize::from(self.got.contains_key(&cid));
            }
        }
    }

    /// The peer's side.
    fn serve(&mut self, at: usize, entries: Vec<Entry>) {
        for entry in entries {
            let number = (0..10_000).find(|n| cid(*n) == entry.cid);
            let loss = self.peers[at].plan.loss;
            let lost = self.chance(loss);
            let peer = &mut self.peers[at];
            if entry.cancel {
                peer.answered.remove(&entry.cid);
                continue;
            }
            peer.asked += 1;
            let (epoch, latency, temper) = (peer.epoch, peer.plan.latency, peer.plan.temper);
            let has = number.is_some_and(|n| n % 2 < peer.plan.has);
            match temper {
                Temper::Silent => continue,
                Temper::Boaster => {
                    if entry.kind == WantKind::Have {
                        self.schedule(latency, Event::Presence(at, epoch, entry.cid, true));
                    }
                    continue;
                }
                Temper::Forgetful if !peer.answered.insert(entry.cid) => continue,
                _ => {}
            }
            if lost {
                continue;
            }
            if !has || entry.kind == WantKind::Have {
                self.schedule(latency, Event::Presence(at, epoch, entry.cid, has));
                continue;
            }
            let takes = Duration::from_secs_f64(BLOCK as f64 / peer.plan.bytes_a_second);
            peer.busy_until = peer.busy_until.max(self.now) + takes;
            peer.served += 1;
            let after = peer.busy_until - self.now + latency;
            let sent = match temper {
                Temper::Liar => cid(1_000_000 + number.unwrap_or_default()),
                _ => entry.cid,
            };
            self.schedule(after, Event::Block(at, epoch, sent));
            if temper == Temper::Doubler {
                self.schedule(after + Duration::from_millis(1), Event::Block(at, epoch, sent));
            }
        }
    }

    fn end_turn(&mut self) {
        let now = self.instant();
        for action in self.core.pump(now) {
            match action {
                Action::Send { peer, entries } => self.deliver(peer, entries),
                Action::Again { peer, cids } => {
                    self.deliver(peer, cids.iter().map(|c| Entry::cancel(*c)).collect());
                    let wants = cids.iter().map(|c| Entry::want(*c, WantKind::Block)).collect();
                    self.deliver(peer, wants);
                }
                Action::Close { peer, .. } => {
                    self.closes += 1;
                    let at = self.at(peer);
                    let epoch = self.peers[at].epoch;
                    self.schedule(Duration::from_millis(1), Event::Down(at, epoch));
                }
                Action::Dial { peer } => {
                    let at = self.at(peer);
                    let latency = self.peers[at].plan.latency * 3;
                    assert!(!self.peers[at].up || self.core_disconnected(peer), "dialled while connected");
                    let event = match self.peers[at].plan.temper {
                        Temper::Silent if !self.peers[at].plan.connected => Event::DialFails(at),
                        _ => Event::Up(at),
                    };
                    self.schedule(latency, event);
                }
                Action::Find { session, .. } => {
                    self.schedule(Duration::from_secs(1), Event::Found(session));
                }
                Action::Failed { cid, why } => {
                    assert!(self.waiting.remove(&cid), "failed what nobody waits for");
                    self.failed.push((cid, why));
                }
                Action::Probed { .. } => unreachable!("nothing is probed here"),
            }
        }
    }

    fn core_disconnected(&self, peer: PeerId) -> bool {
        self.core.peers.get(&peer).is_none_or(|p| !p.is_usable())
    }

    fn at(&self, id: PeerId) -> usize {
        self.peers.iter().position(|p| p.id == id).expect("a peer of this network")
    }

    fn deliver(&mut self, to: PeerId, entries: Vec<Entry>) {
        let at = self.at(to);
        if self.peers[at].up {
            let (epoch, latency) = (self.peers[at].epoch, self.peers[at].plan.latency);
            // Jitter reorders messages.
            let jitter = if self.chance(4) { latency } else { Duration::ZERO };
            self.schedule(latency + jitter, Event::Wants(at, epoch, entries));
        }
    }

    /// What must always hold.
    fn check(&self) {
        let core = &self.core;
        for (id, peer) in &core.peers {
            assert!(peer.in_flight.len() <= self.config.max_wants_per_peer, "{id} is asked too much");
            for cid in &peer.in_flight {
                let asked = core.wants.get(cid).is_some_and(|w| w.asked.iter().any(|a| a.peer == *id));
                assert!(asked, "{cid} is in flight from {id} but not asked of it");
            }
        }
        for (cid, want) in &core.wants {
            let most = MAX_ASKS.max(self.peers.len().div_ceil(2));
            assert!(want.relied_on().count() <= most, "{cid} is asked of too many");
            assert!(!want.asked.is_empty() || want.pending, "{cid} is neither asked nor pending");
            for ask in &want.asked {
                assert!(core.peers[&ask.peer].in_flight.contains(cid));
            }
            for session in &want.sessions {
                let session = &core.sessions[session];
                assert!(session.wants.contains(cid));
                assert_eq!(session.pending.get(&want.order) == Some(cid), want.pending);
            }
        }
        for (id, session) in &core.sessions {
            assert_eq!(core.active.contains(id), !session.pending.is_empty());
            assert!(session.pending.values().all(|cid| core.wants.contains_key(cid)));
        }
        assert_eq!(core.wants.len(), self.waiting.len());
    }
}

fn temper() -> impl Strategy<Value = Temper> {
    prop_oneof![
        3 => Just(Temper::Honest),
        1 => Just(Temper::Silent),
        1 => Just(Temper::Liar),
        1 => Just(Temper::Boaster),
        1 => Just(Temper::Doubler),
        1 => Just(Temper::Flaky),
        1 => Just(Temper::Forgetful),
    ]
}

fn plan() -> impl Strategy<Value = PeerPlan> {
    (temper(), 0..3usize, 1..200u32, 1..200u64, any::<[bool; 2]>(), 0..6u64).prop_map(
        |(temper, has, rate, latency, [connected, hinted], loss)| PeerPlan {
            temper,
            has,
            bytes_a_second: f64::from(rate) * 1e6,
            latency: Duration::from_millis(latency),
            connected,
            // A peer that is neither connected nor hinted could never be heard of.
            hinted: hinted || !connected,
            loss: if loss < 3 { 0 } else { loss * 5 },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Among peers of any temper, as long as one of them is honest and has everything, everything
    /// comes, and the core's books balance at every step.
    #[test]
    fn everything_comes_from_any_network_with_one_honest_peer(
        mut plans in prop::collection::vec(plan(), 0..6),
        blocks in 1..200usize,
        seed in any::<u64>(),
        connected in any::<bool>(),
    ) {
        plans.push(PeerPlan { connected, hinted: !connected, ..PeerPlan::honest() });
        let mut network = Network::new(plans, Config::default(), seed);
        network.fetch(blocks, Duration::from_secs(300));
        prop_assert_eq!(&network.failed, &vec![]);
        prop_assert_eq!(network.got.len(), blocks, "after {:?}", network.elapsed());
    }

    /// Whatever the network, every want ends: delivered or failed with a reason.
    #[test]
    fn every_want_ends(
        plans in prop::collection::vec(plan(), 0..6),
        blocks in 1..100usize,
        seed in any::<u64>(),
    ) {
        let mut network = Network::new(plans, Config::default(), seed);
        network.fetch(blocks, Duration::from_secs(1800));
        prop_assert_eq!(network.got.len() + network.failed.len(), blocks);
    }
}
