//! One root that shall have N copies, as a state machine: told what became of things, it says what to do next.
//!
//! The owner's own pin is one of the N, so `copies - 1` other nodes keep it. A keeper is *silent* from the first renewal
//! that it doesn't answer; after the grace period it is *gone*: it no longer counts, another node takes its place, and
//! it is remembered until its time is over, so that it can be told to let go when it comes back. A keeper that answers
//! that it does not have the content is forgotten at once.
//!
//! Times are Unix milliseconds, except where a lease's end is meant, which is in Unix seconds as in the order.

use std::collections::BTreeMap;

use adit_model::NodeId;
use cid::Cid;
use serde::{Deserialize, Serialize};

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A keeper is asked this often to go on.
    pub check_ms: u64,
    /// One that does not answer for this long is replaced.
    pub grace_ms: u64,
}

impl Rules {
    /// After this, what failed is tried again.
    pub fn retry_ms(&self) -> u64 {
        (self.check_ms.min(self.grace_ms) / 4).clamp(100, 60_000)
    }
}

/// Keepers that are gone and still remembered, at most.
const MOST_GONE: usize = 32;
/// Refusals that are remembered, at most.
const MOST_REFUSALS: usize = 64;
/// A node that refused is not asked again before this many retries.
const REFUSED_FOR: u64 = 8;
/// After a round in which somebody was missing, the next waits up to this many retries.
const LONGEST_PAUSE: u64 = 16;

/// A root and who keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// The root.
    pub root: Cid,
    /// Copies wanted, the owner's own included.
    pub copies: u32,
    /// Bytes of everything below the root.
    pub bytes: u64,
    /// Blocks of it.
    pub blocks: u64,
    /// When it was first asked for, in Unix seconds.
    pub created: u64,
    /// Other nodes that have taken a copy.
    pub keepers: Vec<Keeper>,
    /// What is not worth remembering over a restart.
    #[serde(skip)]
    now: Now,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Now {
    refusals: BTreeMap<NodeId, (String, u64)>,
    next_round: u64,
    pause: u64,
}

/// A node that has taken a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// Which.
    pub node: NodeId,
    /// When it took it, in Unix seconds.
    pub since: u64,
    /// Until when it has promised to keep it, in Unix seconds.
    pub until: u64,
    /// When it last showed that it has it.
    pub seen: u64,
    /// When it was last asked.
    pub asked: u64,
    /// Since when it does not answer.
    pub silent: Option<u64>,
    /// Whether another has taken its place, or is to.
    pub gone: bool,
    /// What it answered last, or why it did not.
    pub reason: Option<String>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask a keeper to go on, and to show a block.
    Renew(NodeId),
    /// Tell a keeper that its copy is not needed.
    Release(NodeId),
    /// Find this many more keepers.
    Place(usize),
}

impl Set {
    /// A root without any copy elsewhere.
    pub fn new(root: Cid, copies: u32, bytes: u64, blocks: u64, created: u64) -> Self {
        Set { root, copies, bytes, blocks, created, keepers: Vec::new(), now: Now::default() }
    }

    /// Wants another number of copies; nodes that refused may be asked again.
    pub fn want(&mut self, copies: u32, bytes: u64, blocks: u64) {
        (self.copies, self.bytes, self.blocks) = (copies, bytes, blocks);
        self.now = Now::default();
    }

    /// Keepers that count.
    pub fn standing(&self) -> usize {
        self.keepers.iter().filter(|keeper| !keeper.gone).count()
    }

    /// How many keepers are missing.
    pub fn lacking(&self) -> usize {
        self.needed().saturating_sub(self.standing())
    }

    fn needed(&self) -> usize {
        self.copies.saturating_sub(1) as usize
    }

    /// Who refused lately, and why.
    pub fn refusals(&self) -> impl Iterator<Item = (&NodeId, &str)> {
        self.now.refusals.iter().map(|(node, (reason, _))| (node, reason.as_str()))
    }

    /// Whether a node may be asked to take a copy.
    pub fn may_ask(&self, node: &NodeId, now: u64, rules: &Rules) -> bool {
        let refused = self.now.refusals.get(node);
        let patient = refused.is_some_and(|(_, at)| now < at + REFUSED_FOR * rules.retry_ms());
        !patient && self.keepers.iter().all(|keeper| keeper.node != *node)
    }

    /// What to do now. Nothing is said twice before its answer, or a retry's time, has come: the answers are
    /// [`Set::renewed`], [`Set::silent`], [`Set::lost`], [`Set::released`], [`Set::placed`], [`Set::refused`] and, when
    /// finding keepers is over, [`Set::round_ended`].
    pub fn poll(&mut self, now: u64, rules: &Rules) -> Vec<Step> {
        let over = |silent: u64| now >= silent + rules.grace_ms;
        for keeper in self.keepers.iter_mut().filter(|keeper| !keeper.gone) {
            keeper.gone = keeper.silent.is_some_and(over);
        }
        // Whoever is gone has let go by itself when its time is over.
        self.keepers.retain(|keeper| !(keeper.gone && keeper.until.saturating_mul(1000) <= now));
        while self.keepers.iter().filter(|keeper| keeper.gone).count() > MOST_GONE {
            let oldest = self.keepers.iter().filter(|keeper| keeper.gone).min_by_key(|keeper| keeper.seen);
            let Some(oldest) = oldest.map(|keeper| keeper.node) else { break };
            self.keepers.retain(|keeper| keeper.node != oldest);
        }
        let (mut spare, lacking) = (self.standing().saturating_sub(self.needed()), self.lacking());
        let mut steps = Vec::new();
        // The latest are the first to go.
        for keeper in self.keepers.iter_mut().rev() {
            let failed = keeper.silent.is_some();
            let pause = if failed { rules.retry_ms() } else { rules.check_ms };
            let due = now >= keeper.asked + pause;
            let retry = now >= keeper.asked + rules.retry_ms();
            if !keeper.gone && spare > 0 {
                spare -= 1;
                if retry {
                    keeper.asked = now;
                    steps.push(Step::Release(keeper.node));
                }
            } else if due {
                keeper.asked = now;
                let back = keeper.gone && lacking == 0;
                steps.push(if back { Step::Release(keeper.node) } else { Step::Renew(keeper.node) });
            }
        }
        if lacking > 0 && now >= self.now.next_round {
            // In case its end is never told.
            self.now.next_round = now + rules.check_ms.max(rules.retry_ms());
            steps.push(Step::Place(lacking));
        }
        steps
    }

    /// A keeper goes on, and has shown that it has the content.
    pub fn renewed(&mut self, node: &NodeId, until: u64, now: u64) {
        if let Some(keeper) = self.keepers.iter_mut().find(|keeper| keeper.node == *node) {
            (keeper.until, keeper.seen) = (until, now);
            (keeper.silent, keeper.gone, keeper.reason) = (None, false, None);
        }
    }

    /// A keeper did not answer.
    pub fn silent(&mut self, node: &NodeId, reason: &str, now: u64) {
        if let Some(keeper) = self.keepers.iter_mut().find(|keeper| keeper.node == *node) {
            keeper.silent.get_or_insert(now);
            keeper.reason = Some(reason.to_owned());
        }
    }

    /// A keeper says, or has shown, that it has no copy.
    pub fn lost(&mut self, node: &NodeId, reason: &str, now: u64) {
        self.released(node);
        self.refused(*node, reason, now);
        self.now.next_round = now;
    }

    /// A keeper has let go, or need not be told any more.
    pub fn released(&mut self, node: &NodeId) {
        self.keepers.retain(|keeper| keeper.node != *node);
    }

    /// A node has taken a copy.
    pub fn placed(&mut self, node: NodeId, until: u64, now: u64) {
        self.now.refusals.remove(&node);
        self.released(&node);
        let (since, seen, asked) = (now / 1000, now, now);
        self.keepers.push(Keeper {
            node,
            since,
            until,
            seen,
            asked,
            silent: None,
            gone: false,
            reason: None,
        });
    }

    /// A node will not take a copy, or did not get to.
    pub fn refused(&mut self, node: NodeId, reason: &str, now: u64) {
        self.now.refusals.insert(node, (reason.to_owned(), now));
        while self.now.refusals.len() > MOST_REFUSALS {
            let oldest = self.now.refusals.iter().min_by_key(|(_, (_, at))| *at).map(|(node, _)| *node);
            oldest.map(|node| self.now.refusals.remove(&node));
        }
    }

    /// Everybody who could be asked was asked. The next round comes later each time that somebody is still missing.
    pub fn round_ended(&mut self, now: u64, rules: &Rules) {
        let pause = if self.lacking() == 0 { 0 } else { (self.now.pause * 2).clamp(1, LONGEST_PAUSE) };
        self.now.pause = pause;
        self.now.next_round = now + pause * rules.retry_ms();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { check_ms: 4_000, grace_ms: 10_000 };
    const LEASE_MS: u64 = 40_000;

    fn node(n: u8) -> NodeId {
        NodeId::from_ed25519([n; 32])
    }

    fn root() -> Cid {
        adit_model::TaskCid::of_block(b"root").to_cid()
    }

    fn set(copies: u32) -> Set {
        Set::new(root(), copies, 1000, 3, 0)
    }

    fn placed(copies: u32, nodes: &[u8], now: u64) -> Set {
        let mut set = set(copies);
        for n in nodes {
            set.placed(node(*n), (now + LEASE_MS) / 1000, now);
        }
        set
    }

    #[test]
    fn the_own_copy_counts() {
        assert_eq!(set(3).poll(0, &RULES), [Step::Place(2)]);
        assert_eq!(set(1).poll(0, &RULES), []);
        assert_eq!(placed(3, &[1, 2], 0).poll(0, &RULES), []);
    }

    #[test]
    fn who_is_silent_is_replaced_after_the_grace_period_and_dropped_when_it_comes_back() {
        let mut set = placed(2, &[1], 0);
        assert_eq!(set.poll(4_000, &RULES), [Step::Renew(node(1))]);
        assert_eq!(set.poll(4_000, &RULES), [], "not twice");
        set.silent(&node(1), "no answer", 4_500);
        assert_eq!((set.standing(), set.poll(5_000, &RULES)), (1, vec![Step::Renew(node(1))]));
        set.silent(&node(1), "no answer", 5_000);
        assert_eq!(set.poll(14_500, &RULES), [Step::Renew(node(1)), Step::Place(1)]);
        assert!(!set.may_ask(&node(1), 14_500, &RULES));
        set.silent(&node(1), "no answer", 14_600);
        set.placed(node(2), 60, 15_000);
        set.round_ended(15_000, &RULES);
        assert_eq!(set.poll(16_000, &RULES), [Step::Release(node(1))]);
        set.released(&node(1));
        assert_eq!((set.standing(), set.lacking()), (1, 0));
    }

    #[test]
    fn who_comes_back_in_time_stays() {
        let mut set = placed(2, &[1], 0);
        set.poll(4_000, &RULES);
        set.silent(&node(1), "no answer", 4_000);
        set.poll(14_000, &RULES);
        assert_eq!(set.lacking(), 1);
        // Nobody else was found.
        set.round_ended(14_000, &RULES);
        set.renewed(&node(1), 60, 15_000);
        assert_eq!((set.lacking(), set.poll(16_000, &RULES)), (0, vec![]));
    }

    #[test]
    fn who_has_lost_it_is_replaced_at_once_and_not_asked_soon() {
        let mut set = placed(2, &[1], 0);
        set.poll(4_000, &RULES);
        set.lost(&node(1), "does not have it", 4_100);
        assert_eq!(set.poll(4_100, &RULES), [Step::Place(1)]);
        assert!(!set.may_ask(&node(1), 5_000, &RULES) && set.may_ask(&node(1), 20_000, &RULES));
        assert_eq!(set.refusals().next(), Some((&node(1), "does not have it")));
    }

    #[test]
    fn fewer_copies_let_the_latest_go() {
        let mut set = placed(4, &[1, 2, 3], 0);
        set.want(2, 1000, 3);
        assert_eq!(set.poll(1_000, &RULES), [Step::Release(node(3)), Step::Release(node(2))]);
        assert_eq!(set.poll(1_000, &RULES), []);
    }

    #[test]
    fn rounds_without_success_become_rarer() {
        let mut set = set(2);
        let (mut now, mut rounds) = (0, Vec::new());
        while now < 100_000 {
            if set.poll(now, &RULES) == [Step::Place(1)] {
                rounds.push(now);
                set.round_ended(now, &RULES);
            }
            now += 500;
        }
        assert_eq!(rounds[..5], [0, 1_000, 3_000, 7_000, 15_000]);
        assert!(rounds.windows(2).all(|w| w[1] - w[0] <= 16_000), "{rounds:?}");
    }

    #[test]
    fn a_set_reads_back_and_forgets_refusals() {
        let mut set = placed(3, &[1, 2], 5_000);
        set.silent(&node(1), "no answer", 9_000);
        let bytes = serde_ipld_dagcbor::to_vec(&set).unwrap();
        let read: Set = serde_ipld_dagcbor::from_slice(&bytes).unwrap();
        assert_eq!(read, set);
    }

    /// Nodes that keep what they promised while their time lasts, and answer while they are up.
    #[derive(Default)]
    struct World {
        up: BTreeSet<u8>,
        has: BTreeMap<u8, u64>,
    }

    impl World {
        fn step(&mut self, set: &mut Set, now: u64) {
            self.has.retain(|_, until| *until > now);
            for step in set.poll(now, &RULES) {
                let until = now + LEASE_MS;
                match step {
                    Step::Renew(n) => match (1..=9).find(|i| node(*i) == n) {
                        Some(i) if self.up.contains(&i) && self.has.contains_key(&i) => {
                            self.has.insert(i, until);
                            set.renewed(&n, until / 1000, now);
                        }
                        Some(i) if self.up.contains(&i) => set.lost(&n, "does not have it", now),
                        _ => set.silent(&n, "no answer", now),
                    },
                    Step::Release(n) => match (1..=9).find(|i| node(*i) == n) {
                        Some(i) if self.up.contains(&i) => {
                            self.has.remove(&i);
                            set.released(&n);
                        }
                        _ => set.silent(&n, "no answer", now),
                    },
                    Step::Place(count) => {
                        let free: Vec<u8> = (1..=9).filter(|i| set.may_ask(&node(*i), now, &RULES)).collect();
                        let mut left = count;
                        for i in free {
                            if left == 0 {
                                break;
                            }
                            if self.up.contains(&i) {
                                self.has.insert(i, until);
                                set.placed(node(i), until / 1000, now);
                                left -= 1;
                            } else {
                                set.refused(node(i), "no answer", now);
                            }
                        }
                        set.round_ended(now, &RULES);
                    }
                }
            }
        }
    }

    proptest! {
        /// Whatever nodes come and go, and whatever numbers are asked for: once it is quiet, the copies are as many as
        /// wanted (or as there are nodes), on distinct nodes, and nobody keeps one too many.
        #[test]
        fn it_settles_at_the_number_wanted(
            turns in proptest::collection::vec((1u8..=9, any::<bool>(), 0u64..9_000, proptest::option::of(1u32..6), any::<bool>()), 0..60),
            up in proptest::collection::btree_set(1u8..=9, 0..9),
            copies in 1u32..6,
        ) {
            let (mut set, mut now) = (set(3), 0);
            let mut world = World { up: (1..=5).collect(), ..World::default() };
            for (i, comes, pause, want, forgets) in turns {
                if comes { world.up.insert(i); } else { world.up.remove(&i); }
                if forgets { world.has.remove(&i); }
                if let Some(copies) = want { set.want(copies, 1000, 3); }
                let end = now + pause;
                while now < end {
                    now += 250;
                    world.step(&mut set, now);
                    let nodes: BTreeSet<NodeId> = set.keepers.iter().map(|k| k.node).collect();
                    prop_assert_eq!(nodes.len(), set.keepers.len(), "one node twice");
                    prop_assert!(set.standing() <= 5 + 4, "{:?}", set);
                }
                // As a restart would have it.
                if forgets {
                    let bytes = serde_ipld_dagcbor::to_vec(&set).unwrap();
                    set = serde_ipld_dagcbor::from_slice(&bytes).unwrap();
                }
            }
            world.up = up.clone();
            set.want(copies, 1000, 3);
            for _ in 0..600 {
                now += 250;
                world.step(&mut set, now);
            }
            let needed = (copies as usize - 1).min(up.len());
            let standing: BTreeSet<NodeId> = set.keepers.iter().filter(|k| !k.gone).map(|k| k.node).collect();
            prop_assert_eq!(standing.len(), needed, "{:?}", set);
            for i in &up {
                prop_assert_eq!(world.has.contains_key(i), standing.contains(&node(*i)), "node {}: {:?}", i, set);
            }
        }
    }
}
