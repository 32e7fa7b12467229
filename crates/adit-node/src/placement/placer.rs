//! The state machine that asks candidates, picks one, and goes on to the next when it fails.

use std::time::Duration;

use adit_model::NodeId;

use super::{Assumptions, Bid, Candidate, cost, explain};
use crate::clock::{Micros, micros};
use crate::view::{Attempt, AttemptResult, Failure, Fault};

/// How candidates are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The lowest cost.
    Cost,
    /// The lowest round-trip time.
    Near,
    /// This node or none.
    At(NodeId),
}

/// The patience of a [`Placer`], each with its reason.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Candidates asked at once: "the best few". More answers than this rarely change the choice
    /// and cost every asked node a signature.
    pub ask_at_once: usize,
    /// Candidates asked in all before giving up: bounds the work a hopeless job causes.
    pub ask_in_all: usize,
    /// How long an answer to Ask may take beyond four round trips.
    pub bid_patience: Duration,
    /// How long the others are waited for once somebody has offered, if that is longer than four of its
    /// round trips: a dead node must not hold up a job that a live one would take.
    pub settle: Duration,
    /// At most this, however far the one that offered.
    pub longest_settle: Duration,
    /// How long an answer to Run (the Acceptance) may take beyond four round trips.
    pub accept_patience: Duration,
    /// Silence of a running host after which it counts as gone; hosts ping well within it.
    pub silence: Duration,
    /// First pause before everybody is asked again under `--wait`; doubles up to
    /// [`Limits::longest_rest`].
    pub first_rest: Duration,
    /// Longest such pause.
    pub longest_rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            ask_at_once: 4,
            ask_in_all: 16,
            bid_patience: Duration::from_millis(750),
            settle: Duration::from_millis(20),
            longest_settle: Duration::from_millis(400),
            accept_patience: Duration::from_millis(1500),
            silence: Duration::from_secs(15),
            first_rest: Duration::from_millis(250),
            longest_rest: Duration::from_secs(5),
        }
    }
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send Ask.
    Ask(NodeId),
    /// Send Run; the sentence says why this node.
    Run {
        /// The chosen one.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// The node is not needed (any more): send Cancel if it was given the job, and close.
    Drop(NodeId),
    /// Look for candidates again; the answer comes as [`Placer::candidates`] and
    /// [`Placer::discovery_ended`].
    Discover,
    /// No candidate is left.
    GiveUp(Failure),
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Known, not asked.
    Known,
    /// Asked; an answer is late after this moment.
    Asked { late: Micros },
    /// It has offered.
    Offered,
    /// It was sent Run; its acceptance is late after this moment.
    Chosen { late: Micros },
    /// It accepted; it is gone if silent until this moment.
    Running { gone: Micros },
    /// It is out, for now or for good.
    Out { for_good: bool },
}

#[derive(Clone, Debug)]
struct Entry {
    candidate: Candidate,
    local: bool,
    phase: Phase,
    bid: Option<Bid>,
    cost: Option<u64>,
    /// Line in `attempts`, once it was asked.
    attempt: Option<usize>,
}

/// One line of [`Placer::ranking`].
#[derive(Clone, Copy, Debug)]
pub struct Ranked<'a> {
    /// The candidate.
    pub candidate: &'a Candidate,
    /// Whether it is this node.
    pub local: bool,
    /// Its offer, if it made one.
    pub bid: Option<&'a Bid>,
    /// The offer's cost in microseconds.
    pub cost_us: Option<u64>,
    /// Why it made none.
    pub reason: Option<&'a str>,
}

/// Places one job. See the module's text.
#[derive(Debug)]
pub struct Placer {
    strategy: Strategy,
    limits: Limits,
    assume: Assumptions,
    wait: bool,
    entries: Vec<Entry>,
    attempts: Vec<Attempt>,
    /// Whose fault it was, as those say who failed.
    faults: Vec<Fault>,
    discovering: bool,
    /// When everybody is asked again.
    rest_until: Option<Micros>,
    rest: Duration,
    asked_in_round: usize,
    /// Until when the others' answers are waited for, once somebody has offered.
    settle_until: Option<Micros>,
    polled_at: Micros,
    over: bool,
}

impl Placer {
    /// A placer that knows nobody yet. It starts out waiting for [`Placer::discovery_ended`].
    pub fn new(strategy: Strategy, wait: bool, limits: Limits, assume: Assumptions) -> Self {
        Placer {
            strategy,
            limits,
            assume,
            wait,
            entries: Vec::new(),
            attempts: Vec::new(),
            faults: Vec::new(),
            discovering: true,
            rest_until: None,
            rest: limits.first_rest,
            asked_in_round: 0,
            settle_until: None,
            polled_at: 0,
            over: false,
        }
    }

    /// What this node itself offers. It is never asked, so it is told at the start of each round.
    pub fn local(&mut self, node: NodeId, offer: Result<Bid, String>, now: Micros) {
        if matches!(self.strategy, Strategy::Near) || matches!(self.strategy, Strategy::At(at) if at != node)
        {
            return;
        }
        let candidate =
            Candidate { node, rtt_us: Some(0), bandwidth: None, holds_inputs: false, ask_early: false };
        let index = self.entry(candidate, true);
        if matches!(self.entries[index].phase, Phase::Out { for_good: true }) {
            return;
        }
        match offer {
            Ok(bid) => self.offered(index, bid, now),
            Err(reason) => self.out(index, AttemptResult::Refused, Some(reason), false),
        }
    }

    /// More nodes that might do. Nodes already known only gain knowledge.
    pub fn candidates(&mut self, found: impl IntoIterator<Item = Candidate>) {
        for candidate in found {
            if matches!(self.strategy, Strategy::At(at) if at != candidate.node) {
                continue;
            }
            self.entry(candidate, false);
        }
    }

    /// Nobody else will be found in this round.
    pub fn discovery_ended(&mut self) {
        self.discovering = false;
    }

    /// A candidate's answer to Ask.
    pub fn bid(&mut self, node: NodeId, bid: Bid, now: Micros) {
        if let Some(index) = self.find(node).filter(|&i| matches!(self.entries[i].phase, Phase::Asked { .. }))
        {
            self.offered(index, bid, now);
        }
    }

    /// A candidate refused, to Ask or to Run. `for_good`: asking again cannot help.
    pub fn refused(&mut self, node: NodeId, reason: String, for_good: bool) {
        if let Some(index) = self.find(node).filter(|&i| self.is_asked(i)) {
            self.out(index, AttemptResult::Refused, Some(reason), for_good);
        }
    }

    /// The chosen candidate accepted.
    pub fn accepted(&mut self, node: NodeId, now: Micros) {
        let gone = now + micros(self.limits.silence);
        if let Some(index) =
            self.find(node).filter(|&i| matches!(self.entries[i].phase, Phase::Chosen { .. }))
        {
            self.entries[index].phase = Phase::Running { gone };
            self.note(index, AttemptResult::Running, None);
        }
    }

    /// The running host showed that it lives.
    pub fn alive(&mut self, node: NodeId, now: Micros) {
        let gone = now + micros(self.limits.silence);
        if let Some(index) = self.find(node)
            && let Phase::Running { gone: until } = &mut self.entries[index].phase
        {
            *until = gone;
        }
    }

    /// The candidate failed at what it had promised, and says whose fault that was.
    pub fn failed(&mut self, node: NodeId, failure: Failure) {
        self.faults.push(failure.fault);
        self.lost(node, failure.reason);
    }

    /// The candidate could not be reached, or went away.
    pub fn lost(&mut self, node: NodeId, reason: String) {
        if let Some(index) = self.find(node).filter(|&i| self.is_asked(i)) {
            // A host that broke off once may do so again: it is not tried twice for the same job.
            let promised = matches!(self.entries[index].phase, Phase::Chosen { .. } | Phase::Running { .. });
            self.out(index, AttemptResult::Failed, Some(reason), promised);
        }
    }

    /// The candidate delivered something that does not verify.
    pub fn forged(&mut self, node: NodeId, reason: String) {
        if let Some(index) = self.find(node) {
            self.out(index, AttemptResult::Forged, Some(reason), true);
        }
    }

    /// The running host delivered and everything verified: the work of this machine is done.
    pub fn delivered(&mut self, node: NodeId) {
        if let Some(index) = self.find(node) {
            self.note(index, AttemptResult::Delivered, None);
            self.entries[index].phase = Phase::Out { for_good: true };
            self.over = true;
        }
    }

    /// Everything that is due now. Call it after every input and at [`Placer::next_wake`].
    pub fn poll(&mut self, now: Micros) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.over {
            return actions;
        }
        self.polled_at = now;
        self.expire(now, &mut actions);
        if self.entries.iter().any(|e| matches!(e.phase, Phase::Chosen { .. } | Phase::Running { .. })) {
            return actions;
        }
        if let Some(until) = self.rest_until {
            if now < until {
                return actions;
            }
            self.begin_round();
            actions.push(Action::Discover);
            return actions;
        }
        for group in [true, false] {
            // Those who hold the data are settled before anybody else is asked.
            if !group && self.discovering {
                break;
            }
            self.ask_more(group, now, &mut actions);
            if (self.still_answering(group) && !self.is_settled(group, now))
                || (group && self.discovering && self.best(true).is_none())
            {
                return actions;
            }
            if let Some(index) = self.best(group) {
                self.choose(index, now, &mut actions);
                return actions;
            }
        }
        if !self.discovering {
            self.nobody_left(now, &mut actions);
        }
        actions
    }

    /// When [`Placer::poll`] must be called again if nothing else happens.
    pub fn next_wake(&self) -> Option<Micros> {
        let late = self.entries.iter().filter_map(|entry| match entry.phase {
            Phase::Asked { late } | Phase::Chosen { late } => Some(late),
            Phase::Running { gone } => Some(gone),
            _ => None,
        });
        let settling = self.entries.iter().any(|e| matches!(e.phase, Phase::Offered));
        let in_hand =
            self.entries.iter().any(|e| matches!(e.phase, Phase::Chosen { .. } | Phase::Running { .. }));
        // A moment that has passed wakes nobody: `poll` has acted on it, or nobody holds the data yet.
        let settle = self.settle_until.filter(|until| settling && !in_hand && *until > self.polled_at);
        late.chain(self.rest_until).chain(settle).min().filter(|_| !self.over)
    }

    /// Whether the placer rests before asking everybody again.
    pub fn is_resting(&self) -> bool {
        self.rest_until.is_some()
    }

    /// Who was asked and what came of it, in the order of asking.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Candidates with their offers, best first: what a dry run shows.
    pub fn ranking(&self) -> Vec<Ranked<'_>> {
        let mut order: Vec<&Entry> = self.entries.iter().collect();
        order.sort_by_key(|e| (e.bid.is_none(), self.key(e)));
        order
            .into_iter()
            .map(|e| Ranked {
                candidate: &e.candidate,
                local: e.local,
                bid: e.bid.as_ref(),
                cost_us: e.cost,
                reason: e.attempt.and_then(|line| self.attempts[line].reason.as_deref()),
            })
            .collect()
    }

    /// Whether an offer stands long enough: who has not answered by now is not waited for. Under `Near`
    /// and `At` everybody who was asked is.
    fn is_settled(&self, group: bool, now: Micros) -> bool {
        matches!(self.strategy, Strategy::Cost)
            && self.settle_until.is_some_and(|until| now >= until)
            && self.best(group).is_some()
    }

    fn begin_round(&mut self) {
        self.settle_until = None;
        self.rest_until = None;
        self.discovering = true;
        self.asked_in_round = 0;
        for entry in &mut self.entries {
            if matches!(entry.phase, Phase::Out { for_good: false } | Phase::Offered) {
                entry.phase = Phase::Known;
                entry.bid = None;
                entry.cost = None;
            }
        }
    }

    fn expire(&mut self, now: Micros, actions: &mut Vec<Action>) {
        for index in 0..self.entries.len() {
            let node = self.entries[index].candidate.node;
            match self.entries[index].phase {
                Phase::Asked { late } if now >= late => {
                    self.out(index, AttemptResult::Late, Some("no answer in time".into()), false);
                    actions.push(Action::Drop(node));
                }
                Phase::Chosen { late } if now >= late => {
                    self.out(index, AttemptResult::Late, Some("it did not accept in time".into()), true);
                    actions.push(Action::Drop(node));
                }
                Phase::Running { gone } if now >= gone => {
                    let reason =
                        format!("it was silent for {} s while running", self.limits.silence.as_secs());
                    self.out(index, AttemptResult::Failed, Some(reason), true);
                    actions.push(Action::Drop(node));
                }
                _ => {}
            }
        }
    }

    /// Asks the next best of a group while fewer than the limit are being asked.
    fn ask_more(&mut self, group: bool, now: Micros, actions: &mut Vec<Action>) {
        loop {
            let answering = self.entries.iter().filter(|e| matches!(e.phase, Phase::Asked { .. })).count();
            let offers =
                self.entries.iter().filter(|e| !e.local && matches!(e.phase, Phase::Offered)).count();
            if answering + offers >= self.limits.ask_at_once || self.asked_in_round >= self.limits.ask_in_all
            {
                return;
            }
            let next = (0..self.entries.len())
                .filter(|&i| !self.entries[i].local && self.in_group(i, group))
                .filter(|&i| matches!(self.entries[i].phase, Phase::Known))
                .min_by_key(|&i| {
                    let c = &self.entries[i].candidate;
                    (c.rtt_us.unwrap_or(self.assume.rtt_us), c.node)
                });
            let Some(index) = next else { return };
            let patience = micros(self.limits.bid_patience) + 4 * self.rtt(index);
            self.entries[index].phase = Phase::Asked { late: now + patience };
            self.asked_in_round += 1;
            self.note(index, AttemptResult::Asked, None);
            actions.push(Action::Ask(self.entries[index].candidate.node));
        }
    }

    fn choose(&mut self, index: usize, now: Micros, actions: &mut Vec<Action>) {
        let why = self.explain(index);
        let patience = micros(self.limits.accept_patience) + 4 * self.rtt(index);
        self.entries[index].phase = Phase::Chosen { late: now + patience };
        // The others' offers stay good for a second choice, but they are marked as outbid.
        for other in 0..self.entries.len() {
            if other != index && matches!(self.entries[other].phase, Phase::Offered) {
                self.note(other, AttemptResult::Outbid, None);
            }
        }
        self.note(index, AttemptResult::Asked, None);
        actions.push(Action::Run { node: self.entries[index].candidate.node, why });
    }

    fn explain(&self, chosen: usize) -> String {
        let offers: Vec<(&Candidate, &Bid, u64)> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(i, e)| *i != chosen && matches!(e.phase, Phase::Offered))
            .filter_map(|(_, e)| Some((&e.candidate, e.bid.as_ref()?, e.cost?)))
            .collect();
        let entry = &self.entries[chosen];
        let tried =
            self.attempts.iter().filter(|a| a.node != entry.candidate.node && a.result.is_bad()).count();
        explain::why(self.strategy, entry.local, &entry.candidate, entry.bid.as_ref(), &offers, tried)
    }

    fn nobody_left(&mut self, now: Micros, actions: &mut Vec<Action>) {
        let could_change = self.entries.is_empty()
            || self.entries.iter().any(|e| matches!(e.phase, Phase::Out { for_good: false } | Phase::Known));
        if self.wait && could_change {
            self.rest_until = Some(now + micros(self.rest));
            self.rest = (self.rest * 2).min(self.limits.longest_rest);
            return;
        }
        self.over = true;
        actions.push(Action::GiveUp(explain::nobody(self.strategy, &self.attempts, &self.faults)));
    }

    fn best(&self, group: bool) -> Option<usize> {
        (0..self.entries.len())
            .filter(|&i| matches!(self.entries[i].phase, Phase::Offered) && self.in_group(i, group))
            .min_by_key(|&i| self.key(&self.entries[i]))
    }

    fn key(&self, entry: &Entry) -> (u64, u64, NodeId) {
        let rtt = entry.candidate.rtt_us.unwrap_or(self.assume.rtt_us);
        match self.strategy {
            Strategy::Near => (rtt, entry.cost.unwrap_or(u64::MAX), entry.candidate.node),
            _ => (entry.cost.unwrap_or(u64::MAX), rtt, entry.candidate.node),
        }
    }

    fn still_answering(&self, group: bool) -> bool {
        (0..self.entries.len())
            .any(|i| self.in_group(i, group) && matches!(self.entries[i].phase, Phase::Asked { .. }))
    }

    /// Who offers by itself says what it holds; before that, what is known or guessed counts. Under
    /// `Near` and `At` there is one group: nobody is preferred for holding the data.
    fn in_group(&self, index: usize, holders: bool) -> bool {
        let entry = &self.entries[index];
        let candidate = &entry.candidate;
        let holds = match (&self.strategy, &entry.bid) {
            (Strategy::Near | Strategy::At(_), _) => true,
            (Strategy::Cost, Some(bid)) => {
                candidate.holds_inputs || bid.remembered || bid.bytes_missing == Some(0)
            }
            (Strategy::Cost, None) => candidate.holds_inputs || candidate.ask_early,
        };
        holds == holders
    }

    fn is_asked(&self, index: usize) -> bool {
        matches!(
            self.entries[index].phase,
            Phase::Asked { .. } | Phase::Offered | Phase::Chosen { .. } | Phase::Running { .. }
        )
    }

    fn rtt(&self, index: usize) -> u64 {
        self.entries[index].candidate.rtt_us.unwrap_or(self.assume.rtt_us)
    }

    fn find(&self, node: NodeId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.candidate.node == node)
    }

    fn entry(&mut self, candidate: Candidate, local: bool) -> usize {
        if let Some(index) = self.find(candidate.node) {
            let known = &mut self.entries[index].candidate;
            known.rtt_us = candidate.rtt_us.or(known.rtt_us);
            known.bandwidth = candidate.bandwidth.or(known.bandwidth);
            known.holds_inputs |= candidate.holds_inputs;
            known.ask_early |= candidate.ask_early;
            return index;
        }
        self.entries.push(Entry {
            candidate,
            local,
            phase: Phase::Known,
            bid: None,
            cost: None,
            attempt: None,
        });
        self.entries.len() - 1
    }

    fn offered(&mut self, index: usize, bid: Bid, now: Micros) {
        let settle =
            micros(self.limits.settle).max(4 * self.rtt(index)).min(micros(self.limits.longest_settle));
        self.settle_until.get_or_insert(now + settle);
        let entry = &mut self.entries[index];
        entry.cost = Some(cost(&entry.candidate, &bid, &self.assume));
        entry.bid = Some(bid);
        entry.phase = Phase::Offered;
        self.note(index, AttemptResult::Asked, None);
    }

    fn out(&mut self, index: usize, result: AttemptResult, reason: Option<String>, for_good: bool) {
        self.entries[index].phase = Phase::Out { for_good };
        self.note(index, result, reason);
    }

    fn note(&mut self, index: usize, result: AttemptResult, reason: Option<String>) {
        let entry = &mut self.entries[index];
        let line = *entry.attempt.get_or_insert_with(|| {
            self.attempts.push(Attempt {
                node: entry.candidate.node,
                bid: None,
                cost_us: None,
                result,
                reason: None,
            });
            self.attempts.len() - 1
        });
        let attempt = &mut self.attempts[line];
        attempt.bid = entry.bid.clone().or(attempt.bid.take());
        attempt.cost_us = entry.cost.or(attempt.cost_us);
        attempt.result = result;
        attempt.reason = reason;
    }
}

impl AttemptResult {
    /// Whether the candidate let us down.
    pub fn is_bad(self) -> bool {
        matches!(
            self,
            AttemptResult::Refused | AttemptResult::Late | AttemptResult::Failed | AttemptResult::Forged
        )
    }
}
