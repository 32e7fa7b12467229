//! Whether Kubo is there at all.
//!
//! A request waits for a Kubo that restarts. Once it has left everything unanswered for that long, whoever comes next is told at
//! once instead of waiting as long again; it is asked in the background whether it is back.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Kubo does not answer, and requests fail at once until it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// For how long nothing was heard.
    pub silent: Duration,
    /// What the last request met with.
    pub reason: String,
}

#[derive(Debug)]
pub(crate) struct Circuit {
    /// How long Kubo may leave everything unanswered before it counts as away.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it last answered anything.
    heard: Option<Instant>,
    /// Since that: the beginning of the first request that failed, and the end of the latest.
    unanswered: Option<(Instant, Instant)>,
    away: Option<(Instant, String)>,
}

impl Circuit {
    pub(crate) fn new(patience: Duration) -> Self {
        // Tries are apart from each other: the last one within the patience ends a little before it.
        Self { patience: patience * 3 / 4, state: Mutex::default() }
    }

    /// It answered something.
    pub(crate) fn heard(&self, now: Instant) {
        *self.state.lock() = State { heard: Some(now), unanswered: None, away: None };
    }

    /// A request that began then was not answered. `true` where it counts as away from now on.
    pub(crate) fn failed(&self, begun: Instant, now: Instant, reason: &str) -> bool {
        let mut state = self.state.lock();
        // It has answered others meanwhile: one command that takes too long is no absence.
        if state.away.is_some() || state.heard.is_some_and(|heard| begun <= heard) {
            return false;
        }
        let first = match state.unanswered {
            // A failure long ago and one now say nothing about the time between.
            Some((first, last)) if now.saturating_duration_since(last) <= self.patience => first.min(begun),
            _ => begun,
        };
        state.unanswered = Some((first, now));
        let is_away = now.saturating_duration_since(first) >= self.patience;
        if is_away {
            state.away = Some((first, reason.to_owned()));
        }
        is_away
    }

    pub(crate) fn away(&self, now: Instant) -> Option<Away> {
        let state = self.state.lock();
        let (since, reason) = state.away.as_ref()?;
        Some(Away { silent: now.saturating_duration_since(*since), reason: reason.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn away_is_who_leaves_everything_unanswered_for_the_patience() {
        let circuit = Circuit::new(Duration::from_secs(8));
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        // Refused at once, and then nobody asked for a while: that says nothing.
        assert!(!circuit.failed(at(0), at(0), "refused"));
        assert!(!circuit.failed(at(20), at(20), "refused"));
        // One that took its time while another was answered.
        circuit.heard(at(23));
        assert!(!circuit.failed(at(21), at(29), "late"));
        // Again and again for six of eight seconds.
        assert!(!circuit.failed(at(30), at(31), "refused"));
        assert!(!circuit.failed(at(32), at(33), "refused"));
        assert_eq!(circuit.away(at(35)), None);
        assert!(circuit.failed(at(35), at(36), "refused"));
        assert!(!circuit.failed(at(36), at(37), "refused"), "that is known");
        let away = circuit.away(at(40)).unwrap();
        assert_eq!((away.silent, away.reason.as_str()), (Duration::from_secs(10), "refused"));
        circuit.heard(at(41));
        assert_eq!(circuit.away(at(41)), None);
        // One request that waited in vain for the whole patience.
        assert!(circuit.failed(at(42), at(50), "silent"));
    }
}
