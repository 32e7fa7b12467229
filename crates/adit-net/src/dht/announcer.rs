//! When to announce which root: soon, again before others forget it, a few at a time, with back-off.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use multihash::Multihash;

pub(crate) type Key = Multihash<64>;

/// Other nodes forget a provider record after 48 hours, and a node that comes back to the network may have missed one
/// announcement; Kubo announces as often.
const INTERVAL: Duration = Duration::from_secs(22 * 3600);
/// Each announcement asks some twenty nodes; more at once would crowd out lookups.
const PARALLEL: usize = 4;
const FIRST_RETRY: Duration = Duration::from_secs(30);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// Told what to announce and how announcements went, it says what to announce now.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    keys: HashMap<Key, State>,
    /// Keys that wait, by time.
    waiting: BTreeSet<(Instant, Key)>,
    running: usize,
}

#[derive(Debug)]
enum State {
    Waiting { at: Instant, failures: u32 },
    Running { failures: u32 },
}

impl Announcer {
    /// Announce `key` from now on. Does nothing when it is announced already.
    pub(crate) fn add(&mut self, key: Key, now: Instant) {
        if !self.keys.contains_key(&key) {
            self.wait(key, now, 0);
        }
    }

    /// Announce `key` now, even if it was announced lately.
    pub(crate) fn again(&mut self, key: Key, now: Instant) {
        if !matches!(self.keys.get(&key), Some(State::Running { .. })) {
            self.remove(&key);
            self.wait(key, now, 0);
        }
    }

    /// No longer announce `key`; others forget it within their own time.
    pub(crate) fn remove(&mut self, key: &Key) {
        match self.keys.remove(key) {
            Some(State::Waiting { at, .. }) => {
                self.waiting.remove(&(at, *key));
            }
            Some(State::Running { .. }) => self.running -= 1,
            None => {}
        }
    }

    /// Keys to announce now; they count as running until [`Self::done`].
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Key> {
        let mut due = Vec::new();
        while self.running < PARALLEL {
            match self.waiting.first() {
                Some(&(at, key)) if at <= now => {
                    self.waiting.pop_first();
                    let state = self.keys.get_mut(&key).expect("waiting keys are known");
                    if let State::Waiting { failures, .. } = *state {
                        *state = State::Running { failures };
                    }
                    self.running += 1;
                    due.push(key);
                }
                _ => break,
            }
        }
        due
    }

    /// An announcement ended; `reached` is whether any other node was there to take it.
    pub(crate) fn done(&mut self, key: &Key, reached: bool, now: Instant) {
        let Some(State::Running { failures }) = self.keys.get(key) else { return };
        let failures = if reached { 0 } else { failures + 1 };
        self.running -= 1;
        let delay = match failures {
            0 => INTERVAL,
            n => FIRST_RETRY.saturating_mul(1 << (n - 1).min(16)).min(LONGEST_RETRY),
        };
        self.wait(*key, now + delay, failures);
    }

    /// There are other nodes now, after there were none: what failed is due at once.
    pub(crate) fn network_found(&mut self, now: Instant) {
        let failed: Vec<Key> = self
            .keys
            .iter()
            .filter(|(_, s)| matches!(s, State::Waiting { failures: 1.., .. }))
            .map(|(key, _)| *key)
            .collect();
        for key in failed {
            self.remove(&key);
            self.wait(key, now, 0);
        }
    }

    /// When [`Self::due`] next has something, if nothing happens before.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.running >= PARALLEL { None } else { self.waiting.first().map(|(at, _)| *at) }
    }

    fn wait(&mut self, key: Key, at: Instant, failures: u32) {
        self.keys.insert(key, State::Waiting { at, failures });
        self.waiting.insert((at, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn key(n: u8) -> Key {
        Key::wrap(0x12, &[n; 32]).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u8),
        Again(u8),
        Remove(u8),
        Done(bool),
        Wait(u64),
        Found,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0u8..12).prop_map(Step::Add),
            (0u8..12).prop_map(Step::Again),
            (0u8..12).prop_map(Step::Remove),
            any::<bool>().prop_map(Step::Done),
            (0u64..50_000).prop_map(Step::Wait),
            Just(Step::Found),
        ];
        proptest::collection::vec(step, 1..150)
    }

    proptest! {
        /// Under any schedule: never more than four at once, never one that was removed, never
        /// one twice at the same time, and everything else is due within 22 hours.
        #[test]
        fn any_schedule_announces_everything_and_little_at_once(steps in steps()) {
            let mut announcer = Announcer::default();
            let (mut wanted, mut running) = (HashSet::new(), Vec::new());
            let mut now = Instant::now();
            for step in steps {
                match step {
                    Step::Add(n) => { announcer.add(key(n), now); wanted.insert(n); }
                    Step::Again(n) => {
                        announcer.again(key(n), now);
                        wanted.insert(n);
                    }
                    Step::Remove(n) => {
                        announcer.remove(&key(n));
                        wanted.remove(&n);
                        running.retain(|r| *r != n);
                    }
                    Step::Done(reached) => if !running.is_empty() {
                        announcer.done(&key(running.remove(0)), reached, now);
                    },
                    Step::Wait(s) => now += Duration::from_secs(s),
                    Step::Found => announcer.network_found(now),
                }
                for due in announcer.due(now) {
                    let n = due.digest()[0];
                    prop_assert!(wanted.contains(&n) && !running.contains(&n));
                    running.push(n);
                }
                prop_assert!(running.len() <= PARALLEL);
                if wanted.len() > running.len() && running.len() < PARALLEL {
                    prop_assert!(announcer.next().unwrap() <= now + INTERVAL);
                }
            }
        }
    }

    #[test]
    fn what_reached_nobody_is_announced_as_soon_as_somebody_is_there() {
        let mut announcer = Announcer::default();
        let now = Instant::now();
        announcer.add(key(1), now);
        assert_eq!(announcer.due(now), [key(1)]);
        announcer.done(&key(1), false, now);
        assert!(announcer.due(now).is_empty());
        announcer.network_found(now);
        assert_eq!(announcer.due(now), [key(1)]);
        announcer.done(&key(1), true, now);
        announcer.network_found(now);
        assert!(announcer.due(now).is_empty(), "what is announced stays so");
    }
}
