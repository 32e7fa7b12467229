//! Whether Kubo is there at all.
//!
//! A request waits for a Kubo that restarts. Once it has left everything unanswered for that long, it is asked for its version,
//! since one command that takes too long is no absence. If it says nothing to that either, it is away: whoever comes next is told
//! at once instead of waiting as long again, and it is asked in the background whether it is back.

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
    /// How long Kubo may leave everything unanswered before it is asked whether it is there.
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
    /// Somebody asks whether it is there.
    asking: bool,
}

impl Circuit {
    pub(crate) fn new(patience: Duration) -> Self {
        // Tries are apart from each other: the last one within the patience ends a little before it.
        Self { patience: patience * 3 / 4, state: Mutex::default() }
    }

    /// It answered something.
    pub(crate) fn heard(&self, now: Instant) {
        let mut state = self.state.lock();
        *state = State { heard: Some(now), unanswered: None, away: None, asking: state.asking };
    }

    /// A request that began then was not answered. `true` where the caller shall ask whether it is there, until
    /// [`stop_asking`](Self::stop_asking) says so.
    pub(crate) fn failed(&self, begun: Instant, now: Instant) -> bool {
        let mut state = self.state.lock();
        // It has answered others meanwhile.
        if state.asking || state.heard.is_some_and(|heard| begun <= heard) {
            return false;
        }
        let first = match state.unanswered {
            // A failure long ago and one now say nothing about the time between.
            Some((first, last)) if now.saturating_duration_since(last) <= self.patience => first.min(begun),
            _ => begun,
        };
        state.unanswered = Some((first, now));
        state.asking = now.saturating_duration_since(first) >= self.patience;
        state.asking
    }

    /// It was asked for something that takes no time, and said nothing. `true` where it counts as away from now on.
    pub(crate) fn said_nothing(&self, reason: &str) -> bool {
        let mut state = self.state.lock();
        let (Some((first, _)), None) = (state.unanswered, &state.away) else { return false };
        state.away = Some((first, reason.to_owned()));
        true
    }

    /// Whether there is no more reason to ask. Whoever is told so must not go on.
    pub(crate) fn stop_asking(&self) -> bool {
        let mut state = self.state.lock();
        state.asking = state.unanswered.is_some();
        !state.asking
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
        assert!(!circuit.failed(at(0), at(0)));
        assert!(!circuit.failed(at(20), at(20)));
        // One that took its time while another was answered.
        circuit.heard(at(23));
        assert!(!circuit.failed(at(21), at(29)));
        // Again and again for six of eight seconds.
        assert!(!circuit.failed(at(30), at(31)));
        assert!(!circuit.failed(at(32), at(33)));
        assert_eq!(circuit.away(at(35)), None);
        assert!(circuit.failed(at(35), at(36)));
        assert!(!circuit.failed(at(36), at(37)), "one is enough to ask");
        assert_eq!(circuit.away(at(37)), None, "it may be busy");
        assert!(circuit.said_nothing("refused"));
        assert!(!circuit.said_nothing("refused") && !circuit.stop_asking(), "that is known");
        let away = circuit.away(at(40)).unwrap();
        assert_eq!((away.silent, away.reason.as_str()), (Duration::from_secs(10), "refused"));
        circuit.heard(at(41));
        assert_eq!(circuit.away(at(41)), None);
        // What fails while somebody asks is his to notice; once he has stopped, it begins anew.
        assert!(!circuit.failed(at(42), at(50)));
        assert!(circuit.stop_asking());
        // One request that waited in vain for the whole patience.
        assert!(circuit.failed(at(52), at(60)));
    }

    #[test]
    fn who_answers_the_question_was_only_busy() {
        let circuit = Circuit::new(Duration::from_secs(8));
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(circuit.failed(at(0), at(9)));
        circuit.heard(at(10));
        assert!(!circuit.said_nothing("late"), "what was meant came before");
        assert!(circuit.stop_asking());
        assert_eq!(circuit.away(at(11)), None);
        assert!(circuit.failed(at(20), at(29)), "the next is asked about again");
    }
}
