//! "Why there", in one sentence for the person who asked.

use std::collections::BTreeMap;

use super::{Bid, Candidate, Strategy};
use crate::config::ByteSize;
use crate::view::{Attempt, AttemptResult, Failure, Fault};

/// Why this candidate got the job; `others` are the offers that it beat.
pub(super) fn why(
    strategy: Strategy,
    local: bool,
    chosen: &Candidate,
    bid: Option<&Bid>,
    others: &[(&Candidate, &Bid, u64)],
    tried: usize,
) -> String {
    let it = if local { "this node" } else { "it" };
    let mut sentence = match (strategy, bid) {
        (Strategy::At(_), _) => "you named this node".to_owned(),
        (Strategy::Near, _) => match chosen.rtt_us {
            Some(rtt) => format!("{it} is the nearest node ({} away)", span(rtt)),
            None => format!("{it} is the only node whose distance could be told"),
        },
        (Strategy::Cost, Some(bid)) if bid.remembered => {
            format!("{it} remembers the outcome of this very task")
        }
        (Strategy::Cost, Some(bid)) => match bid.bytes_missing {
            Some(0) if bid.bytes_present > 0 => {
                format!("{it} holds all {} of the input", size(bid.bytes_present))
            }
            Some(0) => format!("{it} needs no data for the job"),
            Some(missing) if bid.bytes_present > 0 => format!(
                "{it} holds {} of the input, only {} had to move",
                size(bid.bytes_present),
                size(missing)
            ),
            Some(missing) => {
                format!("nobody near holds the data; bringing {} to {it} costs least", size(missing))
            }
            None => format!("nobody who holds the data offered; {it} was the cheapest to bring it to"),
        },
        (Strategy::Cost, None) => format!("{it} was the only candidate"),
    };
    if matches!(strategy, Strategy::Cost) && !others.is_empty() {
        let nearest_lost = others.iter().map(|(_, _, cost)| *cost).min().unwrap_or_default();
        sentence += &match others.len() {
            1 => format!("; the other offer would cost about {}", span(nearest_lost)),
            n => format!("; the next best of {n} other offers would cost about {}", span(nearest_lost)),
        };
    }
    if tried > 0 {
        sentence += &match tried {
            1 => "; 1 candidate before it refused or failed".to_owned(),
            n => format!("; {n} candidates before it refused or failed"),
        };
    }
    sentence
}

/// Why nobody got the job; `faults`: whose it was, as those say who failed at it.
pub(super) fn nobody(strategy: Strategy, attempts: &[Attempt], faults: &[Fault]) -> Failure {
    if attempts.is_empty() {
        return match strategy {
            Strategy::At(node) => Failure::new(
                Fault::Network,
                format!("node {node} was not found: connect to it (`adit swarm connect`) or leave --at out"),
            ),
            _ => Failure::new(
                Fault::Network,
                "no node was found that could run the job: this node accepts none and knows no other \
                 (`adit node ls` lists those known)",
            ),
        };
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for attempt in attempts {
        let said = attempt.reason.clone().unwrap_or_else(|| "no reason given".into());
        *reasons.entry(said).or_default() += 1;
    }
    let list = reasons
        .into_iter()
        .map(|(reason, count)| if count == 1 { reason } else { format!("{reason} (by {count} nodes)") })
        .collect::<Vec<_>>()
        .join("; ");
    let all_refused = attempts.iter().all(|a| a.result == AttemptResult::Refused);
    // Content that nobody has is no host's fault, however many were tried.
    let network_failed = !faults.is_empty() && faults.iter().all(|fault| *fault == Fault::Network);
    let fault = if all_refused || network_failed { Fault::Network } else { Fault::Host };
    Failure::new(fault, format!("nobody ran the job: {list}"))
}

fn size(bytes: u64) -> String {
    // Whole units read better in a sentence than exact byte counts.
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} KB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ if bytes == u64::MAX => ByteSize(bytes).to_string(),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

fn span(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{} s", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use adit_model::NodeId;

    use super::*;

    #[test]
    fn sentences_name_the_figures_that_decided() {
        let node = Candidate {
            node: NodeId::from_ed25519([1; 32]),
            rtt_us: Some(800),
            bandwidth: None,
            holds_inputs: true,
            ask_early: false,
        };
        let holder = Bid { bytes_present: 48_000_000, bytes_missing: Some(0), ..Bid::default() };
        let other = Bid { bytes_missing: Some(48_000_000), ..Bid::default() };
        let text = why(Strategy::Cost, false, &node, Some(&holder), &[(&node, &other, 3_900_000)], 1);
        assert_eq!(
            text,
            "it holds all 48 MB of the input; the other offer would cost about 3900 ms; \
             1 candidate before it refused or failed"
        );
        assert_eq!(why(Strategy::Near, false, &node, None, &[], 0), "it is the nearest node (800 µs away)");
    }
}
