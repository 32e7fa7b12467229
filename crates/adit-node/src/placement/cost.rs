//! What it costs to run a job somewhere, in microseconds.

use super::{Bid, Candidate};

/// Figures assumed where nothing was measured. They only have to rank candidates sensibly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumptions {
    /// Round trip to a node never measured.
    pub rtt_us: u64,
    /// Bytes a second at which missing data arrives.
    pub bandwidth: u64,
    /// Bytes missing when a node cannot tell.
    pub unknown_missing: u64,
    /// Compiling a program that is not cached.
    pub compile_us: u64,
}

impl Default for Assumptions {
    fn default() -> Self {
        // 50 ms and 100 Mbit/s are a plain connection within a continent; 18 ms is what a 27 KB C
        // program takes to compile.
        Assumptions { rtt_us: 50_000, bandwidth: 12_500_000, unknown_missing: 64 << 20, compile_us: 20_000 }
    }
}

/// The cost of giving the job to this candidate on these terms.
///
/// A remembered outcome needs neither data nor compiler nor a slot. A price is not yet turned into
/// time: networks without payment know only the price 0.
pub fn cost(candidate: &Candidate, bid: &Bid, assume: &Assumptions) -> u64 {
    let rtt = candidate.rtt_us.unwrap_or(assume.rtt_us);
    if bid.remembered {
        return rtt;
    }
    let missing = bid.bytes_missing.unwrap_or(assume.unknown_missing);
    let bandwidth = candidate.bandwidth.unwrap_or(assume.bandwidth).max(1);
    let fetch = (u128::from(missing) * 1_000_000 / u128::from(bandwidth)).min(u128::from(u64::MAX)) as u64;
    let compile = if bid.code_cached { 0 } else { assume.compile_us };
    rtt.saturating_add(fetch).saturating_add(bid.queue_us).saturating_add(compile)
}

#[cfg(test)]
mod tests {
    use adit_model::NodeId;

    use super::*;

    fn candidate(rtt_us: u64) -> Candidate {
        Candidate {
            node: NodeId::from_ed25519([1; 32]),
            rtt_us: Some(rtt_us),
            bandwidth: None,
            holds_inputs: false,
            ask_early: false,
        }
    }

    #[test]
    fn data_far_away_costs_more_than_a_long_way_to_the_node() {
        let assume = Assumptions::default();
        let holder = Bid { bytes_present: 1 << 30, bytes_missing: Some(0), ..Bid::default() };
        let stranger = Bid { bytes_missing: Some(1 << 30), ..Bid::default() };
        assert!(cost(&candidate(200_000), &holder, &assume) < cost(&candidate(100), &stranger, &assume));
    }

    #[test]
    fn remembering_beats_everything_at_the_same_distance() {
        let assume = Assumptions::default();
        let remembered =
            Bid { remembered: true, bytes_missing: None, queue_us: 10_000_000, ..Bid::default() };
        let cached = Bid { code_cached: true, bytes_missing: Some(0), queue_us: 1, ..Bid::default() };
        assert!(cost(&candidate(100), &remembered, &assume) < cost(&candidate(100), &cached, &assume));
    }

    #[test]
    fn absurd_bids_saturate() {
        let absurd = Bid { bytes_missing: Some(u64::MAX), queue_us: u64::MAX, ..Bid::default() };
        assert_eq!(cost(&candidate(1), &absurd, &Assumptions::default()), u64::MAX);
    }
}
