//! A group of holders, a network that does what it likes, and a record of everything that was released.

use adit_release::{Act, Action, Book, Change, Entry, Head, Id, Message, Promise, Refusal, Terms, Use};
use std::collections::{BTreeMap, BTreeSet};

/// Which rule the holders don't keep, to show that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Without {
    Nothing,
    /// Holders that start hear nobody.
    Hearing,
    /// Shares are given at once, whatever others have in their logs.
    Witnesses,
    /// Nobody tells others which holders have started again.
    Starts,
}

/// SplitMix64: the same schedules on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

struct Holder {
    book: Book,
    /// Everything that it ever made durable, in order: a backup is a beginning of it.
    journal: Vec<Change>,
    lies: bool,
}

pub(crate) struct World {
    terms: Terms,
    without: Without,
    holders: Vec<Holder>,
    under_way: Vec<(u8, u8, Message)>,
    released: BTreeMap<Use, BTreeSet<u8>>,
    random: Random,
    now: u64,
}

const GRANT: Id = Id([200; 32]);
const POLICY: Id = Id([100; 32]);
const FIRST: Head = Head { number: 1, policy: Some(POLICY), uses: 4 };
/// Slots and invocations that generated requesters want: few, so that they meet.
const SLOTS: u32 = 2;
const INVOCATIONS: u8 = 3;

impl World {
    /// A group that has heard the owner; the first `liars` of it lie.
    pub(crate) fn new(terms: Terms, liars: u8, without: Without, random: Random) -> Self {
        let mut world = World {
            terms,
            without,
            holders: Vec::new(),
            under_way: Vec::new(),
            released: BTreeMap::new(),
            random,
            now: 1_000,
        };
        for me in 0..terms.holders() {
            let nonce = world.random.next();
            let (book, actions) = Book::open(&GRANT, me, terms, [], nonce);
            world.holders.push(Holder { book, journal: Vec::new(), lies: me < liars });
            world.act(me, actions);
            world.hear_owner(me, FIRST).unwrap();
        }
        world
    }

    pub(crate) fn book(&self, holder: u8) -> &Book {
        &self.holders[usize::from(holder)].book
    }

    pub(crate) fn policy(&self) -> Id {
        POLICY
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now += ms;
    }

    pub(crate) fn releases(&self, used: &Use) -> usize {
        self.released.get(used).map_or(0, BTreeSet::len)
    }

    pub(crate) fn is_free(&self, holder: u8, slot: u32) -> bool {
        let taken = |entry: &Entry| matches!(entry.act, Act::Used(used) if used.slot == slot);
        !self.book(holder).chain(holder).unwrap().entries().iter().any(taken)
    }

    /// Whether two invocations had enough holders for one slot.
    pub(crate) fn used_twice(&self) -> bool {
        let enough = usize::from(self.terms.needed());
        let mut slots = BTreeSet::new();
        let done = self.released.iter().filter(|(_, holders)| holders.len() >= enough);
        done.map(|(used, _)| (used.policy, used.slot)).any(|slot| !slots.insert(slot))
    }

    pub(crate) fn reserve(&mut self, holder: u8, used: Use) -> Result<u64, Refusal> {
        self.holders[usize::from(holder)].book.reserve(used, self.now)
    }

    pub(crate) fn commit(&mut self, holder: u8, used: Use) -> Result<(), Refusal> {
        // Whoever drives a schedule has every reservation: nothing may rest on them.
        let all: Vec<_> = (0..self.terms.holders()).collect();
        self.commit_with(holder, used, &all)
    }

    pub(crate) fn commit_with(&mut self, holder: u8, used: Use, reserved_by: &[u8]) -> Result<(), Refusal> {
        if self.holders[usize::from(holder)].lies {
            self.released.entry(used).or_default().insert(holder);
            return Ok(());
        }
        let now = self.now;
        let actions = self.holders[usize::from(holder)].book.commit(used, reserved_by, now)?;
        if self.without == Without::Witnesses {
            self.released.entry(used).or_default().insert(holder);
        }
        self.act(holder, actions);
        Ok(())
    }

    pub(crate) fn hear_owner(&mut self, holder: u8, head: Head) -> Result<(), Refusal> {
        let now = self.now;
        let actions = self.holders[usize::from(holder)].book.hear_owner(head, now)?;
        self.act(holder, actions);
        Ok(())
    }

    /// The holder's process ends and starts again with the first `kept` things that it had stored. Without its share and the
    /// owner's first word it would be no holder: those are given to it again.
    pub(crate) fn restore(&mut self, holder: u8, kept: usize) {
        let nonce = self.random.next();
        let place = usize::from(holder);
        self.holders[place].journal.truncate(kept);
        let stored = self.holders[place].journal.clone();
        let (book, actions) = Book::open(&GRANT, holder, self.terms, stored, nonce);
        self.holders[place].book = book;
        self.act(holder, actions);
        let _ = self.hear_owner(holder, FIRST);
        if self.without == Without::Hearing {
            for other in (0..self.terms.holders()).filter(|other| *other != holder) {
                let Some(start) = self.start_of(holder) else { return };
                let n = usize::from(self.terms.holders());
                let empty = vec![(0, Vec::new()); n];
                let message = Message::Recalled {
                    start,
                    chains: empty,
                    promises: vec![Promise::default(); n],
                    head: FIRST,
                };
                self.deliver(other, holder, message);
            }
        }
    }

    fn start_of(&self, holder: u8) -> Option<Promise> {
        self.holders[usize::from(holder)].journal.iter().rev().find_map(|change| match change {
            Change::Promise { holder: of, promise } if *of == holder => Some(*promise),
            _ => None,
        })
    }

    fn act(&mut self, holder: u8, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Store(change) => self.holders[usize::from(holder)].journal.push(change),
                Action::Send { to, message } => self.under_way.push((holder, to, message)),
                Action::Release { used, .. } => {
                    self.released.entry(used).or_default().insert(holder);
                }
            }
        }
    }

    fn deliver(&mut self, from: u8, to: u8, message: Message) {
        let now = self.now;
        let mut message = message;
        if let (Without::Starts, Message::Witnessed { promises, .. }) = (self.without, &mut message) {
            promises.fill(Promise::default());
        }
        if self.holders[usize::from(to)].lies {
            let answer = self.lie(from, to, message);
            self.under_way.extend(answer.map(|message| (to, from, message)));
            return;
        }
        let actions = self.holders[usize::from(to)].book.hear(from, message, now);
        self.act(to, actions);
    }

    /// What somebody says who wants a slot used twice: that he keeps whatever he is given, and that nothing ever was.
    /// Nobody can forge another's entries or starts.
    fn lie(&mut self, from: u8, liar: u8, message: Message) -> Option<Message> {
        let n = usize::from(self.terms.holders());
        let promises = vec![Promise::default(); n];
        match message {
            Message::Recall { start, have } => {
                let chains = have.iter().map(|tip| (tip.len, Vec::new())).collect();
                Some(Message::Recalled { start, chains, promises, head: Head::NONE })
            }
            Message::Witness { start, .. } => {
                let chain = self.book(from).chain(from)?;
                let tip = adit_release::Tip { len: chain.len(), id: chain.tip() };
                Some(Message::Witnessed { of: start, by: self.start_of(liar)?, tip, promises })
            }
            _ => None,
        }
    }

    /// A schedule of so many steps.
    pub(crate) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.now += 1;
            let holder = self.random.below(self.holders.len()) as u8;
            match self.random.below(100) {
                0..70 if !self.under_way.is_empty() => {
                    let at = self.random.below(self.under_way.len());
                    let (from, to, message) = match self.random.below(20) {
                        0 => {
                            self.under_way.swap_remove(at);
                            continue;
                        }
                        1 => self.under_way[at].clone(),
                        _ => self.under_way.swap_remove(at),
                    };
                    self.deliver(from, to, message);
                }
                0..90 => {
                    let slot = self.random.below(SLOTS as usize) as u32;
                    let invocation = Id([self.random.below(INVOCATIONS.into()) as u8; 32]);
                    let _ = self.commit(holder, Use { policy: POLICY, slot, invocation });
                }
                90..96 => self.tick(holder),
                96..98 => self.crash(holder),
                _ => self.old_backup(holder),
            }
        }
    }

    fn crash(&mut self, holder: u8) {
        if !self.holders[usize::from(holder)].lies {
            self.restore(holder, usize::MAX);
        }
    }

    /// At most one holder at a time has forgotten something and not heard of it yet.
    fn old_backup(&mut self, holder: u8) {
        let settled = self.holders.iter().all(|holder| holder.lies || holder.book.is_serving());
        if settled && !self.holders[usize::from(holder)].lies {
            let kept = self.random.below(self.holders[usize::from(holder)].journal.len() + 1);
            self.restore(holder, kept);
        }
    }

    /// A holder says again what was not answered.
    pub(crate) fn tick(&mut self, holder: u8) {
        let actions = self.book(holder).tick();
        self.act(holder, actions);
    }

    /// What these say to each other arrives, until they have nothing more to say; everything else is lost.
    pub(crate) fn among(&mut self, these: &[u8]) {
        while !self.under_way.is_empty() {
            let (from, to, message) = self.under_way.remove(0);
            if these.contains(&from) && these.contains(&to) {
                self.deliver(from, to, message);
            }
        }
    }

    /// Everything that is said arrives, except from and at those that are silent, until nobody has anything more to say.
    pub(crate) fn calm(&mut self, silent: &[u8]) {
        for _ in 0..20 {
            (0..self.terms.holders()).for_each(|holder| self.tick(holder));
            let mut left = 10_000;
            while !self.under_way.is_empty() {
                let (from, to, message) = self.under_way.remove(0);
                if !silent.contains(&from) && !silent.contains(&to) {
                    self.deliver(from, to, message);
                }
                left -= 1;
                assert!(left > 0, "the holders never stop talking");
            }
        }
    }
}
