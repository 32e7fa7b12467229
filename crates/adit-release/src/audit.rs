//! What an owner learns from the logs of the holders.

use crate::chain::{Act, Chain, Entry, Head, Id, Use};
use crate::terms::Terms;
use std::collections::{BTreeMap, BTreeSet};

/// One holder's log, as somebody keeps it. Whoever makes one has checked the holder's signature on every entry.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    /// The holder that showed it.
    pub by: u8,
    /// The holder that wrote it.
    pub of: u8,
    /// The log.
    pub chain: &'a Chain,
}

/// One thing that happened, as one holder wrote it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The holder.
    pub holder: u8,
    /// When, in Unix milliseconds by its clock.
    pub time: u64,
    /// What.
    pub act: Act,
}

/// Holders that gave a slot to an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The slot, and to whom.
    pub used: Use,
    /// Who wrote so.
    pub by: BTreeSet<u8>,
    /// When the first of them did, by its clock.
    pub first: u64,
}

/// A holder signed two entries that follow the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Which holder.
    pub holder: u8,
    /// What both entries follow.
    pub after: Id,
    /// One of them.
    pub one: Entry,
    /// The other.
    pub other: Entry,
}

impl Contradiction {
    /// Whether both are of one start. If not, the holder may have been restored from an old backup without knowing.
    pub fn is_a_lie(&self) -> bool {
        self.one.boot == self.other.boot
    }
}

/// What all logs together say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    terms: Terms,
    /// Everything, oldest first by the holders' clocks.
    pub lines: Vec<Line>,
    /// What was given, in the order of the first entry about it.
    pub given: Vec<Given>,
    /// Holders that contradicted themselves.
    pub contradictions: Vec<Contradiction>,
    /// Slots of a policy that enough holders for a key gave to more than one invocation: never, while no more than
    /// [`Terms::faulty`] lie.
    pub twice: Vec<(Id, u32)>,
    /// Holders that showed their own log.
    pub shown: BTreeSet<u8>,
    /// Holders whose log nobody has shown.
    pub unknown: BTreeSet<u8>,
    /// Holders that showed less of their own log than somebody else keeps.
    pub held_back: BTreeSet<u8>,
    /// The owner's last word, as far as any log has it.
    pub head: Head,
}

impl Audit {
    /// Puts logs together. Copies of holders that there are not are left out.
    pub fn of<'a>(terms: Terms, copies: impl IntoIterator<Item = Copy<'a>>) -> Self {
        let n = terms.holders();
        let copies: Vec<_> = copies.into_iter().filter(|copy| copy.of < n && copy.by < n).collect();
        let shown: BTreeSet<_> =
            copies.iter().filter(|copy| copy.by == copy.of).map(|copy| copy.of).collect();
        let of = |holder| copies.iter().filter(move |copy| copy.of == holder).map(|copy| copy.chain);
        let mut entries: Vec<(u8, &Entry)> = Vec::new();
        let (mut contradictions, mut held_back, mut unknown) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for holder in 0..n {
            let Some(whole) = of(holder).max_by_key(|chain| chain.rank()) else {
                unknown.insert(holder);
                continue;
            };
            entries.extend(whole.entries().iter().map(|entry| (holder, entry)));
            let mut told = BTreeSet::new();
            for chain in of(holder) {
                let same = whole
                    .entries()
                    .iter()
                    .zip(chain.entries())
                    .take_while(|(one, other)| one == other)
                    .count();
                let (Some(one), Some(other)) = (whole.entries().get(same), chain.entries().get(same)) else {
                    continue;
                };
                if told.insert(other.id()) {
                    let (one, other) = (one.clone(), other.clone());
                    contradictions.push(Contradiction { holder, after: one.before, one, other });
                }
                // What stands only in the other version was signed as well.
                entries.extend(chain.entries()[same..].iter().map(|entry| (holder, entry)));
            }
            let own = copies.iter().find(|copy| copy.by == holder && copy.of == holder);
            if own.is_some_and(|own| own.chain.tip() != whole.tip()) {
                held_back.insert(holder);
            }
        }
        let given = given(&entries);
        let mut lines: Vec<_> = entries
            .iter()
            .map(|(holder, entry)| Line { holder: *holder, time: entry.time, act: entry.act })
            .collect();
        lines.sort_by_key(|line| (line.time, line.holder));
        lines.dedup();
        let heads = lines.iter().filter_map(|line| match line.act {
            Act::Head(head) => Some(head),
            _ => None,
        });
        let head = heads.max_by_key(|head| head.number).unwrap_or(Head::NONE);
        let mut seen = BTreeMap::<_, u32>::new();
        for one in given.iter().filter(|one| one.by.len() >= usize::from(terms.needed())) {
            *seen.entry((one.used.policy, one.used.slot)).or_default() += 1;
        }
        let twice = seen.into_iter().filter(|(_, times)| *times > 1).map(|(slot, _)| slot).collect();
        Self { terms, lines, given, contradictions, twice, shown, unknown, held_back, head }
    }

    /// Uses for which enough holders gave their shares that a key came of it.
    pub fn keys(&self) -> impl Iterator<Item = &Given> {
        self.given.iter().filter(|given| given.by.len() >= usize::from(self.terms.needed()))
    }

    /// How many of the holders whose own logs are here may lie, while no key was given that is not in them: every key
    /// has `k` holders, so of `m` logs at least `k - (n - m)` are theirs. `None`: even honest logs may miss one.
    pub fn may_lie(&self) -> Option<u8> {
        let missing = self.terms.holders()
            - u8::try_from(self.shown.len()).unwrap_or(u8::MAX).min(self.terms.holders());
        self.terms.needed().checked_sub(missing + 1)
    }

    /// How many more holders' own logs are needed before honest logs can't miss a key any more.
    pub fn logs_lacking(&self) -> u8 {
        let wanted = self.terms.holders() - self.terms.needed() + 1;
        wanted.saturating_sub(u8::try_from(self.shown.len()).unwrap_or(u8::MAX))
    }
}

fn given(entries: &[(u8, &Entry)]) -> Vec<Given> {
    let mut by = BTreeMap::<Use, Given>::new();
    for (holder, entry) in entries {
        if let Act::Used(used) = entry.act {
            let given = by.entry(used).or_insert(Given { used, by: BTreeSet::new(), first: entry.time });
            given.by.insert(*holder);
            given.first = given.first.min(entry.time);
        }
    }
    let mut given: Vec<_> = by.into_values().collect();
    given.sort_by_key(|one| (one.first, one.used));
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Id = Id([1; 32]);

    fn used(slot: u32, invocation: u8) -> Act {
        Act::Used(Use { policy: POLICY, slot, invocation: Id([invocation; 32]) })
    }

    fn chain(holder: u8, acts: &[(u32, u64, Act)]) -> Chain {
        let mut chain = Chain::new(&Id([9; 32]), holder);
        for (boot, time, act) in acts {
            chain.push(Entry { before: chain.tip(), boot: *boot, time: *time, act: *act });
        }
        chain
    }

    fn terms() -> Terms {
        Terms::new(5, 4).unwrap()
    }

    fn own(chains: &[Chain]) -> Vec<Copy<'_>> {
        (0..).zip(chains).map(|(holder, chain)| Copy { by: holder, of: holder, chain }).collect()
    }

    #[test]
    fn a_key_is_what_enough_holders_gave() {
        let head = Act::Head(Head { number: 3, policy: Some(POLICY), uses: 2 });
        let with = |holder, more: &[(u32, u64, Act)]| {
            chain(holder, &[&[(1, 10, Act::Started), (1, 11, head)], more].concat())
        };
        let refused = Act::Refused { invocation: Id([8; 32]), reason: 2 };
        let chains = [
            with(0, &[(1, 20, used(0, 1)), (1, 30, used(1, 2))]),
            with(1, &[(1, 21, used(0, 1)), (1, 29, used(1, 2))]),
            with(2, &[(1, 22, used(0, 1)), (1, 31, used(1, 2))]),
            with(3, &[(1, 19, used(0, 1)), (1, 40, refused)]),
            with(4, &[]),
        ];
        let audit = Audit::of(terms(), own(&chains));
        let keys: Vec<_> = audit.keys().map(|given| (given.used.slot, given.first, given.by.len())).collect();
        assert_eq!(keys, [(0, 19, 4)]);
        assert_eq!(audit.given.len(), 2, "three gave slot 1: no key came of it, and the owner sees it");
        assert_eq!(audit.head.number, 3);
        assert!(audit.contradictions.is_empty() && audit.twice.is_empty() && audit.unknown.is_empty());
        assert_eq!(audit.lines.last().unwrap(), &Line { holder: 3, time: 40, act: refused });
        assert!(audit.lines.is_sorted_by_key(|line| line.time));
        assert_eq!((audit.may_lie(), audit.logs_lacking()), (Some(3), 0));
    }

    /// The worst case, played: the holders that give a key are as many as possible of those whose logs are not here, and of
    /// the others so many say nothing of it.
    #[test]
    fn it_says_what_few_logs_may_miss() {
        for (n, k) in [(2, 2), (3, 2), (5, 3), (5, 4), (7, 5)] {
            let terms = Terms::new(n, k).unwrap();
            let seen = |logs: u8, liars: u8| {
                let first_giver = n - k;
                let log = |holder| {
                    let gave = holder >= first_giver + liars;
                    let acts = [(1, 10, Act::Started), (1, 20, used(0, 1))];
                    chain(holder, if gave { &acts } else { &acts[..1] })
                };
                let chains: Vec<_> = (0..logs).map(log).collect();
                let audit = Audit::of(terms, own(&chains));
                assert_eq!(audit.unknown.len(), usize::from(n - logs));
                (audit.given.len() == 1, audit.may_lie(), audit.logs_lacking())
            };
            for logs in 0..=n {
                match seen(logs, 0) {
                    (found, None, lacking) => {
                        assert!(!found && lacking > 0, "{logs} logs of {k} of {n}");
                        assert!(seen(logs + lacking, 0).0, "so many more are enough");
                        assert!(!seen(logs + lacking - 1, 0).0, "and no fewer");
                    }
                    (found, Some(liars), lacking) => {
                        assert!(found && lacking == 0, "{logs} logs of {k} of {n}");
                        assert!(seen(logs, liars).0, "{liars} liars can't hide it");
                        assert!(!seen(logs, liars + 1).0, "one more can");
                    }
                }
            }
        }
    }

    #[test]
    fn a_log_that_holds_back_is_completed_from_its_witness() {
        let whole = chain(2, &[(1, 10, Act::Started), (1, 20, used(0, 1))]);
        let cut = chain(2, &[(1, 10, Act::Started)]);
        let audit =
            Audit::of(terms(), [Copy { by: 2, of: 2, chain: &cut }, Copy { by: 0, of: 2, chain: &whole }]);
        assert_eq!(audit.held_back, BTreeSet::from([2]));
        assert_eq!(audit.given.len(), 1);
        assert!(audit.contradictions.is_empty());
        assert_eq!(audit.shown, BTreeSet::from([2]), "a witness's copy is not what holder 0 did itself");
    }

    #[test]
    fn two_stories_are_told_apart_from_an_old_backup() {
        let one = chain(1, &[(1, 10, Act::Started), (1, 20, used(0, 1))]);
        for (boot, lie) in [(1, true), (2, false)] {
            let other = chain(1, &[(1, 10, Act::Started), (boot, 21, used(0, 2)), (boot, 22, used(1, 3))]);
            let copies = [
                Copy { by: 1, of: 1, chain: &one },
                Copy { by: 0, of: 1, chain: &other },
                Copy { by: 3, of: 1, chain: &one },
            ];
            let audit = Audit::of(terms(), copies);
            let [contradiction] = &audit.contradictions[..] else { panic!("{:?}", audit.contradictions) };
            assert_eq!((contradiction.holder, contradiction.is_a_lie()), (1, lie));
            assert_eq!(contradiction.one.before, contradiction.other.before);
            assert_eq!(audit.given.len(), 3, "what stands in either version was signed");
            assert_eq!(audit.held_back, BTreeSet::from([1]));
        }
    }

    #[test]
    fn a_slot_used_twice_is_shown() {
        let chains: Vec<_> =
            (0..5).map(|holder| chain(holder, &[(1, 20, used(0, 1)), (1, 30, used(0, 2))])).collect();
        let audit = Audit::of(terms(), own(&chains));
        assert_eq!(audit.twice, [(POLICY, 0)]);
        let stranger = Audit::of(
            terms(),
            [Copy { by: 9, of: 0, chain: &chains[0] }, Copy { by: 0, of: 9, chain: &chains[0] }],
        );
        assert!(stranger.lines.is_empty(), "there are no such holders");
    }
}
