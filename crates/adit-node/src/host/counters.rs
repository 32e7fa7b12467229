//! What this node was asked and what came of it, over the last 24 hours and 7 days.
//!
//! Counts are kept in one bucket an hour, so a window is exact to the hour and costs nothing to
//! move. The clock is passed in.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use super::RefusalKind;
use crate::view::CountsView;

/// Hours kept: seven days and the current hour.
const HOURS: u64 = 7 * 24 + 1;

/// Why a bid came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LostBid {
    /// The requester gave the job to another.
    Outbid,
    /// It gave us the job and took it back, or went away, before the end.
    Withdrawn,
    /// We accepted and could not deliver.
    Failed,
}

impl LostBid {
    fn as_str(self) -> &'static str {
        match self {
            LostBid::Outbid => "outbid",
            LostBid::Withdrawn => "withdrawn",
            LostBid::Failed => "failed",
        }
    }
}

#[derive(Debug, Default)]
struct Bucket {
    hour: u64,
    asked: u64,
    bid: u64,
    run: u64,
    lost: BTreeMap<LostBid, u64>,
    refused: BTreeMap<RefusalKind, u64>,
}

/// The counters. All methods take the present as Unix seconds.
#[derive(Debug, Default)]
pub struct Counters {
    hours: Mutex<VecDeque<Bucket>>,
}

impl Counters {
    /// Somebody asked for a bid.
    pub fn asked(&self, now: u64) {
        self.count(now, |b| b.asked += 1);
    }

    /// We made one.
    pub fn bid(&self, now: u64) {
        self.count(now, |b| b.bid += 1);
    }

    /// A bid came to nothing.
    pub fn lost(&self, now: u64, why: LostBid) {
        self.count(now, |b| *b.lost.entry(why).or_default() += 1);
    }

    /// We refused.
    pub fn refused(&self, now: u64, why: RefusalKind) {
        self.count(now, |b| *b.refused.entry(why).or_default() += 1);
    }

    /// We ran a job to its end.
    pub fn run(&self, now: u64) {
        self.count(now, |b| b.run += 1);
    }

    /// The sums over the last `hours` hours.
    pub fn over(&self, now: u64, hours: u64) -> CountsView {
        let first = (now / 3600).saturating_sub(hours.saturating_sub(1));
        let mut sum = CountsView::default();
        for bucket in self.hours.lock().iter().filter(|b| b.hour >= first) {
            sum.asked += bucket.asked;
            sum.bid += bucket.bid;
            sum.run += bucket.run;
            for (why, n) in &bucket.lost {
                *sum.lost.entry(why.as_str().into()).or_default() += n;
            }
            for (why, n) in &bucket.refused {
                *sum.refused.entry(why.as_str().into()).or_default() += n;
            }
        }
        sum
    }

    fn count(&self, now: u64, add: impl FnOnce(&mut Bucket)) {
        let hour = now / 3600;
        let mut hours = self.hours.lock();
        // A clock that steps back counts into the newest bucket rather than making a second one.
        if hours.back().is_none_or(|b| b.hour < hour) {
            hours.push_back(Bucket { hour, ..Bucket::default() });
            while hours.front().is_some_and(|b| b.hour + HOURS <= hour) {
                hours.pop_front();
            }
        }
        if let Some(bucket) = hours.back_mut() {
            add(bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_forget_what_is_older() {
        let counters = Counters::default();
        let day = 86_400;
        let now = 20_000 * day;
        counters.asked(now - 6 * day);
        counters.refused(now - 6 * day, RefusalKind::Busy);
        counters.asked(now - 3600);
        counters.bid(now);
        counters.lost(now, LostBid::Outbid);
        counters.run(now);
        let (today, week) = (counters.over(now, 24), counters.over(now, 7 * 24));
        assert_eq!((today.asked, today.bid, today.run), (1, 1, 1));
        assert_eq!(today.lost["outbid"], 1);
        assert!(today.refused.is_empty());
        assert_eq!((week.asked, week.refused["busy"]), (2, 1));
        assert_eq!(counters.over(now + 8 * day, 7 * 24), CountsView::default());
    }

    #[test]
    fn memory_stays_bounded_over_years() {
        let counters = Counters::default();
        for hour in 0..20_000 {
            counters.asked(hour * 3600);
        }
        assert!(counters.hours.lock().len() as u64 <= HOURS);
        // A clock that steps back does not lose the count.
        counters.asked(0);
        assert_eq!(counters.over(19_999 * 3600, 1).asked, 2);
    }
}
