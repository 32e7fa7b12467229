//! How a job gets what the store lacks: from the network, within the operator's bandwidth.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use adit_deny::Denials;
use adit_net::{Net, PeerId, Session};
use adit_store::{BlockSource, SourceError};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use parking_lot::Mutex;

use crate::deny::GuardedSource;

/// A budget of bytes a second that all jobs share, with up to one second saved up.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Bytes a second; 0 is no limit.
    rate: u64,
    /// The moment up to which the budget is spent.
    spent_until: Mutex<Option<Instant>>,
}

impl Budget {
    /// A budget of this many bytes a second; 0 is no limit.
    pub(crate) fn new(rate: u64) -> Self {
        Budget { rate, spent_until: Mutex::new(None) }
    }

    /// Books bytes that have arrived; gives how long to wait before asking for more.
    fn spend(&self, bytes: usize, now: Instant) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let mut spent_until = self.spent_until.lock();
        // What was not used is saved up for one second, no longer.
        let earliest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let start = spent_until.map_or(earliest, |until| until.max(earliest));
        let until = start + cost;
        *spent_until = Some(until);
        until.saturating_duration_since(now)
    }
}

/// A job's way to missing blocks. Most jobs miss nothing, so the network hears of it only when
/// something is.
pub(crate) struct Fetch<'a> {
    net: &'a Net,
    hints: Vec<PeerId>,
    budget: &'a Budget,
    denials: Denials,
    session: OnceLock<GuardedSource<Session>>,
}

impl<'a> Fetch<'a> {
    /// A way to blocks that these peers are likely to have.
    pub(crate) fn new(net: &'a Net, hints: Vec<PeerId>, budget: &'a Budget, denials: Denials) -> Self {
        Fetch { net, hints, budget, denials, session: OnceLock::new() }
    }

    /// Bytes of blocks that came over the network.
    pub(crate) fn received(&self) -> u64 {
        self.session.get().map_or(0, |session| session.source.received().values().sum())
    }

    fn session(&self) -> &GuardedSource<Session> {
        self.session.get_or_init(|| {
            let (source, denials) = (self.net.session(self.hints.clone()), self.denials.clone());
            GuardedSource { source, denials }
        })
    }
}

#[async_trait]
impl BlockSource for Fetch<'_> {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        let block = self.session().block(cid).await?;
        let wait = self.budget.spend(block.len(), Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(block)
    }

    fn prefetch(&self, cids: &[Cid]) {
        // What is fetched ahead could not be held back any more.
        if self.budget.rate == 0 {
            self.session().prefetch(cids);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_passes_than_the_rate_and_one_second_of_savings() {
        let budget = Budget::new(1000);
        let start = Instant::now();
        let mut now = start;
        let mut passed = 0;
        while now < start + Duration::from_secs(10) {
            passed += 250;
            now += budget.spend(250, now);
        }
        assert!((10_500..=11_500).contains(&passed), "{passed}");
        // A long rest saves up one second and no more.
        now += Duration::from_secs(3600);
        assert_eq!(budget.spend(1000, now), Duration::ZERO);
        assert!(budget.spend(1000, now) > Duration::from_millis(900));
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(Budget::new(0).spend(usize::MAX, Instant::now()), Duration::ZERO);
    }
}
