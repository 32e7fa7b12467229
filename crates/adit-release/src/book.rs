//! One holder's book about one object.

use crate::chain::{Act, Chain, Entry, Head, Id, Offered, Use};
use crate::peers::{Message, Promise, Tip, rest};
use crate::terms::Terms;
use std::collections::{BTreeMap, BTreeSet};

/// How long a slot is kept for one that asked for it, in milliseconds.
const RESERVED_MS: u64 = 10_000;

/// What a holder knows about one object, and what it does about it.
///
/// It is driven from outside: requests, messages of other holders and the passing of time come in, [`Action`]s come
/// out. Of those that one call gives, every [`Action::Store`] must be durable before anything else is done.
///
/// A use takes two steps. [`reserve`](Self::reserve) keeps a slot for a moment and promises nothing; whoever has `k`
/// reservations may [`commit`](Self::commit), which gives the slot for ever. So two that want the same slot do not
/// each get half of the holders and waste it. That no slot is used twice rests on `commit` alone.
#[derive(Debug, Clone)]
pub struct Book {
    me: u8,
    terms: Terms,
    // Durable.
    chains: Vec<Chain>,
    promises: Vec<Promise>,
    head: Head,
    // Of this start.
    phase: Phase,
    used: BTreeMap<(Id, u32), (Id, usize)>,
    reserved: BTreeMap<(Id, u32), (Id, u64)>,
    acks: Vec<Ack>,
    waiting: BTreeSet<Use>,
}

#[derive(Debug, Clone)]
enum Phase {
    /// Hears others, and gives nothing.
    Starting { heard: BTreeSet<u8> },
    /// Had heard enough. Nothing is released before others have this much of the log: the mark of this start.
    Serving { floor: usize },
}

/// Up to where another holder keeps this one's log, and since which start of its.
#[derive(Debug, Clone, Copy, Default)]
struct Ack {
    by: Promise,
    len: usize,
}

/// Something to make durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A holder's chain goes on with these entries after its first `at` ones.
    Chain { holder: u8, at: usize, entries: Vec<Entry> },
    /// A holder started.
    Promise { holder: u8, promise: Promise },
    /// The owner said this.
    Head(Head),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make this durable, before anything else.
    Store(Change),
    /// Tell another holder.
    Send { to: u8, message: Message },
    /// Give this holder's share for a use, on the strength of a log entry.
    Release { used: Use, entry: Id },
}

/// Why a holder gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this holder has just started, and has not heard enough others yet")]
    Starting,
    #[error("the owner has revoked every use")]
    Revoked,
    #[error("another policy is in force")]
    OtherPolicy,
    #[error("the policy allows no such slot: {uses} are allowed")]
    NoSuchSlot { uses: u32 },
    #[error("the slot was given to another invocation")]
    Taken,
    #[error("the slot is being asked for by another invocation, for {ms} ms yet")]
    Reserved { ms: u64 },
    #[error("{have} of {needed} holders have reserved the slot")]
    TooFewReserved { have: u8, needed: u8 },
    #[error("the head is older than number {known}, which is known here")]
    OldHead { known: u64 },
    #[error("the owner has signed two heads with number {0}")]
    TwoHeads(u64),
}

impl Book {
    /// Opens a holder's book, with everything that was ever stored, and starts. The nonce is random.
    pub fn open(
        grant: &Id,
        me: u8,
        terms: Terms,
        stored: impl IntoIterator<Item = Change>,
        nonce: u64,
    ) -> (Self, Vec<Action>) {
        let n = terms.holders();
        assert!(me < n, "holder {me} of {n}");
        let mut book = Self {
            me,
            terms,
            chains: (0..n).map(|holder| Chain::new(grant, holder)).collect(),
            promises: vec![Promise::default(); n.into()],
            head: Head::NONE,
            phase: Phase::Starting { heard: BTreeSet::new() },
            used: BTreeMap::new(),
            reserved: BTreeMap::new(),
            acks: vec![Ack::default(); n.into()],
            waiting: BTreeSet::new(),
        };
        for change in stored {
            match change {
                Change::Chain { holder, at, entries } => book.chains[usize::from(holder)].put(at, &entries),
                Change::Promise { holder, promise } => book.promises[usize::from(holder)] = promise,
                Change::Head(head) => book.head = head,
            }
        }
        let boot = book.mine().boot + 1;
        let actions = book.start(Promise { boot, nonce });
        (book, actions)
    }

    /// This holder's place among the holders.
    pub fn me(&self) -> u8 {
        self.me
    }

    /// Whether it has heard enough others to give anything.
    pub fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving { .. })
    }

    /// What governs the object, as far as is known here.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The log of a holder, as far as it is known here.
    pub fn chain(&self, holder: u8) -> Option<&Chain> {
        self.chains.get(usize::from(holder))
    }

    /// The least slot under the policy in force that nobody was given here.
    pub fn free_slot(&self) -> Option<u32> {
        let policy = self.head.policy?;
        (0..self.head.uses).find(|slot| !self.used.contains_key(&(policy, *slot)))
    }

    fn mine(&self) -> Promise {
        self.promises[usize::from(self.me)]
    }

    fn own(&self) -> &Chain {
        &self.chains[usize::from(self.me)]
    }

    fn others(&self) -> impl Iterator<Item = u8> + use<> {
        let me = self.me;
        (0..self.terms.holders()).filter(move |holder| *holder != me)
    }

    fn start(&mut self, promise: Promise) -> Vec<Action> {
        self.promises[usize::from(self.me)] = promise;
        self.phase = Phase::Starting { heard: BTreeSet::new() };
        self.waiting.clear();
        let mut actions = vec![Action::Store(Change::Promise { holder: self.me, promise })];
        actions.extend(self.others().map(|to| self.recall(to, false)));
        actions
    }

    fn recall(&self, to: u8, from_the_beginning: bool) -> Action {
        let tip = |chain: &Chain| {
            let len = if from_the_beginning { 0 } else { chain.len() };
            Tip { len, id: chain.tip_at(len).expect("no longer than itself") }
        };
        let have = self.chains.iter().map(tip).collect();
        Action::Send { to, message: Message::Recall { start: self.mine(), have } }
    }

    /// Sends again what was not answered. Call it every second or so.
    pub fn tick(&self) -> Vec<Action> {
        match &self.phase {
            Phase::Starting { heard } => {
                self.others().filter(|to| !heard.contains(to)).map(|to| self.recall(to, false)).collect()
            }
            Phase::Serving { .. } => {
                let behind = |to: &u8| self.acked(*to) < self.own().len();
                self.others().filter(behind).map(|to| self.witness(to)).collect()
            }
        }
    }

    /// Keeps a free slot for an invocation for ten seconds, and says until when.
    ///
    /// # Errors
    /// Nothing could be given for it now.
    pub fn reserve(&mut self, used: Use, now: u64) -> Result<u64, Refusal> {
        self.allowed(&used)?;
        self.reserved.retain(|_, (_, until)| *until > now);
        let slot = (used.policy, used.slot);
        if let Some((other, until)) = self.reserved.get(&slot)
            && *other != used.invocation
        {
            return Err(Refusal::Reserved { ms: until - now });
        }
        let until = now + RESERVED_MS;
        self.reserved.insert(slot, (used.invocation, until));
        Ok(until)
    }

    /// Gives a slot to an invocation that these holders have reserved it for, as was checked. The share follows as
    /// [`Action::Release`], now or after a while. The same again is no second use.
    ///
    /// # Errors
    /// Nothing is given.
    pub fn commit(&mut self, used: Use, reserved_by: &[u8], now: u64) -> Result<Vec<Action>, Refusal> {
        self.allowed(&used)?;
        let slot = (used.policy, used.slot);
        if !self.used.contains_key(&slot) {
            let holders: BTreeSet<_> =
                reserved_by.iter().filter(|holder| **holder < self.terms.holders()).collect();
            let (have, needed) = (holders.len() as u8, self.terms.needed());
            if have < needed {
                return Err(Refusal::TooFewReserved { have, needed });
            }
            let mut actions = self.write(Act::Used(used), now);
            self.waiting.insert(used);
            actions.extend(self.others().map(|to| self.witness(to)));
            return Ok(actions);
        }
        self.waiting.insert(used);
        Ok(self.released())
    }

    /// Whether anything can be given for a use now.
    fn allowed(&self, used: &Use) -> Result<(), Refusal> {
        if !self.is_serving() {
            return Err(Refusal::Starting);
        }
        self.in_force(used)?;
        match self.used.get(&(used.policy, used.slot)) {
            Some((other, _)) if *other != used.invocation => Err(Refusal::Taken),
            _ => Ok(()),
        }
    }

    fn in_force(&self, used: &Use) -> Result<(), Refusal> {
        match self.head.policy {
            None => Err(Refusal::Revoked),
            Some(policy) if policy != used.policy => Err(Refusal::OtherPolicy),
            Some(_) if used.slot >= self.head.uses => Err(Refusal::NoSuchSlot { uses: self.head.uses }),
            Some(_) => Ok(()),
        }
    }

    /// Takes the owner's word. Its signature was checked.
    ///
    /// # Errors
    /// It is old, or contradicts another.
    pub fn hear_owner(&mut self, head: Head, now: u64) -> Result<Vec<Action>, Refusal> {
        if head == self.head {
            return Ok(Vec::new());
        }
        if head.number == self.head.number {
            return Err(Refusal::TwoHeads(head.number));
        }
        if head.number < self.head.number {
            return Err(Refusal::OldHead { known: self.head.number });
        }
        self.head = head;
        let mut actions = vec![Action::Store(Change::Head(head))];
        if self.is_serving() {
            actions.extend(self.write(Act::Head(head), now));
            actions.extend(self.others().map(|to| self.witness(to)));
        }
        Ok(actions)
    }

    /// Writes down that something was refused. Others hear of it with the next use. The caller limits how many.
    pub fn note_refusal(&mut self, invocation: Id, reason: u8, now: u64) -> Vec<Action> {
        if !self.is_serving() {
            return Vec::new();
        }
        self.write(Act::Refused { invocation, reason }, now)
    }

    /// Takes a message of another holder, whose signature was checked.
    pub fn hear(&mut self, from: u8, message: Message, now: u64) -> Vec<Action> {
        if from == self.me || from >= self.terms.holders() {
            return Vec::new();
        }
        match message {
            Message::Recall { start, have } => self.answer_recall(from, start, &have),
            Message::Recalled { start, chains, promises, head } if start == self.mine() => {
                self.merge(from, &chains, &promises, head, now)
            }
            Message::Stale { known } => self.start_anew(known),
            Message::Witness { start, at, entries } => self.keep(from, start, at, &entries),
            Message::Witnessed { of, by, tip, promises } if of == self.mine() && self.is_serving() => {
                let mut actions = self.believe(&promises);
                actions.extend(self.promise(from, by));
                if by == self.promises[usize::from(from)] && self.own().tip_at(tip.len) == Some(tip.id) {
                    let ack = &mut self.acks[usize::from(from)];
                    let len = if ack.by == by { ack.len.max(tip.len) } else { tip.len };
                    *ack = Ack { by, len };
                    actions.extend(self.released());
                }
                actions
            }
            Message::Lacking { of, len } if of == self.mine() && self.is_serving() => {
                vec![self.witness_after(from, len.min(self.own().len()))]
            }
            // Said to an earlier start of this holder.
            Message::Recalled { .. } | Message::Witnessed { .. } | Message::Lacking { .. } => Vec::new(),
        }
    }

    fn answer_recall(&mut self, from: u8, start: Promise, have: &[Tip]) -> Vec<Action> {
        let known = self.promises[usize::from(from)];
        let twin = start.boot == known.boot && start != known;
        if start < known || twin {
            return vec![Action::Send { to: from, message: Message::Stale { known } }];
        }
        if have.len() != self.chains.len() {
            return Vec::new();
        }
        let mut actions = self.promise(from, start);
        let chains = self.chains.iter().zip(have).map(|(chain, tip)| rest(chain, tip)).collect();
        let message = Message::Recalled { start, chains, promises: self.promises.clone(), head: self.head };
        actions.push(Action::Send { to: from, message });
        actions
    }

    /// Takes what another holder keeps, while starting.
    fn merge(
        &mut self,
        from: u8,
        chains: &[(usize, Vec<Entry>)],
        promises: &[Promise],
        head: Head,
        now: u64,
    ) -> Vec<Action> {
        if self.is_serving() || chains.len() != self.chains.len() || promises.len() != self.promises.len() {
            return Vec::new();
        }
        let known = promises[usize::from(self.me)];
        if known > self.mine() {
            return self.start_anew(known);
        }
        let mut actions = self.believe(promises);
        if head.number > self.head.number {
            self.head = head;
            actions.push(Action::Store(Change::Head(head)));
        }
        for (holder, (at, entries)) in chains.iter().enumerate() {
            let chain = &mut self.chains[holder];
            match chain.offer(*at, entries) {
                Offered::Taken { at } => {
                    let entries = chain.entries()[at..].to_vec();
                    actions.push(Action::Store(Change::Chain { holder: holder as u8, at, entries }));
                }
                Offered::Known => {}
                // It answered to what was here before somebody else's answer.
                Offered::Gap | Offered::Refused if *at > 0 => {
                    actions.push(self.recall(from, true));
                    return actions;
                }
                Offered::Gap | Offered::Refused => {}
            }
        }
        if let Phase::Starting { heard } = &mut self.phase {
            heard.insert(from);
            if heard.len() >= usize::from(self.terms.heard()) {
                actions.extend(self.serve(now));
            }
        }
        actions
    }

    fn serve(&mut self, now: u64) -> Vec<Action> {
        self.used.clear();
        let mut written = Head::NONE;
        for (at, entry) in self.chains[usize::from(self.me)].entries().iter().enumerate() {
            match entry.act {
                Act::Used(used) => {
                    self.used.entry((used.policy, used.slot)).or_insert((used.invocation, at + 1));
                }
                Act::Head(head) => written = head,
                Act::Started | Act::Refused { .. } => {}
            }
        }
        self.phase = Phase::Serving { floor: self.own().len() + 1 };
        let mut actions = self.write(Act::Started, now);
        if written.number > self.head.number {
            self.head = written;
            actions.push(Action::Store(Change::Head(written)));
        }
        if written != self.head {
            actions.extend(self.write(Act::Head(self.head), now));
        }
        actions.extend(self.others().map(|to| self.witness(to)));
        actions
    }

    /// This holder was started with this number before, and forgot.
    fn start_anew(&mut self, known: Promise) -> Vec<Action> {
        let mine = self.mine();
        if known.boot < mine.boot || known == mine {
            return Vec::new();
        }
        self.start(Promise { boot: known.boot.saturating_add(1), nonce: mine.nonce.wrapping_add(1) })
    }

    /// Keeps another holder's entries.
    fn keep(&mut self, from: u8, start: Promise, at: usize, entries: &[Entry]) -> Vec<Action> {
        if !self.is_serving() || start < self.promises[usize::from(from)] {
            return Vec::new();
        }
        let mut actions = self.promise(from, start);
        let chain = &mut self.chains[usize::from(from)];
        let message = match chain.offer(at, entries) {
            Offered::Gap => Message::Lacking { of: start, len: chain.len() },
            Offered::Refused => Message::Lacking { of: start, len: 0 },
            offered => {
                if let Offered::Taken { at } = offered {
                    let entries = chain.entries()[at..].to_vec();
                    actions.push(Action::Store(Change::Chain { holder: from, at, entries }));
                }
                let len = at + entries.len();
                let tip = Tip { len, id: chain.tip_at(len).expect("it stands there") };
                Message::Witnessed { of: start, by: self.mine(), tip, promises: self.promises.clone() }
            }
        };
        actions.push(Action::Send { to: from, message });
        actions
    }

    fn promise(&mut self, holder: u8, promise: Promise) -> Vec<Action> {
        let known = &mut self.promises[usize::from(holder)];
        if promise <= *known {
            return Vec::new();
        }
        *known = promise;
        vec![Action::Store(Change::Promise { holder, promise })]
    }

    /// Takes others' proofs that holders have started again. What those had acknowledged before counts no more.
    fn believe(&mut self, promises: &[Promise]) -> Vec<Action> {
        if promises.len() != self.promises.len() {
            return Vec::new();
        }
        self.others().flat_map(|holder| self.promise(holder, promises[usize::from(holder)])).collect()
    }

    fn write(&mut self, act: Act, time: u64) -> Vec<Action> {
        let boot = self.mine().boot;
        let chain = &mut self.chains[usize::from(self.me)];
        let (at, entry) = (chain.len(), Entry { before: chain.tip(), boot, time, act });
        if let Act::Used(used) = act {
            self.used.insert((used.policy, used.slot), (used.invocation, at + 1));
        }
        chain.push(entry.clone());
        vec![Action::Store(Change::Chain { holder: self.me, at, entries: vec![entry] })]
    }

    /// How much of this log another holder keeps, as far as is known.
    fn acked(&self, holder: u8) -> usize {
        let ack = &self.acks[usize::from(holder)];
        if ack.by == self.promises[usize::from(holder)] { ack.len } else { 0 }
    }

    fn witness(&self, to: u8) -> Action {
        let floor = if let Phase::Serving { floor } = self.phase { floor - 1 } else { 0 };
        // Somebody who has never answered knows most of an old log all the same.
        self.witness_after(to, self.acked(to).max(floor))
    }

    fn witness_after(&self, to: u8, at: usize) -> Action {
        let entries = self.own().entries()[at..].to_vec();
        Action::Send { to, message: Message::Witness { start: self.mine(), at, entries } }
    }

    /// Releases for which enough others keep the entry, and the mark of this start.
    fn released(&mut self) -> Vec<Action> {
        let Phase::Serving { floor } = self.phase else { return Vec::new() };
        let mut acks: Vec<_> = self.others().map(|holder| self.acked(holder)).collect();
        acks.sort_unstable_by(|a, b| b.cmp(a));
        let kept = acks[usize::from(self.terms.witnesses()) - 1];
        let mut actions = Vec::new();
        let waiting = std::mem::take(&mut self.waiting);
        for used in waiting {
            let len = match self.used.get(&(used.policy, used.slot)) {
                Some((invocation, len)) if *invocation == used.invocation => *len,
                _ => continue,
            };
            if kept < len.max(floor) {
                self.waiting.insert(used);
            } else if self.in_force(&used).is_ok() {
                let entry = self.own().tip_at(len).expect("it was written");
                actions.push(Action::Release { used, entry });
            }
        }
        actions
    }
}
