//! The enclave's side: enough releases for one and the same use.

use crate::chain::Use;
use crate::terms::Terms;
use std::collections::BTreeMap;

/// One holder's release: its share, sealed to the enclave, for a use. The caller has checked the holder's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release<S> {
    /// Which holder, from 0.
    pub holder: u8,
    /// For what.
    pub used: Use,
    /// Its share.
    pub share: S,
}

/// Why a release is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotWanted {
    #[error("there is no holder {0}")]
    NoHolder(u8),
    #[error("it is for another use")]
    OtherUse,
}

/// Gathers shares. Shares of different slots never come together: that is what makes a slot one use, and why it is the
/// enclave that counts.
#[derive(Debug)]
pub struct Collector<S> {
    terms: Terms,
    used: Use,
    shares: BTreeMap<u8, S>,
}

impl<S> Collector<S> {
    /// Gathers for one use.
    pub fn new(terms: Terms, used: Use) -> Self {
        Self { terms, used, shares: BTreeMap::new() }
    }

    /// Takes one. A holder's second replaces its first, in case that was damaged.
    ///
    /// # Errors
    /// It is not of this use, or of nobody.
    pub fn take(&mut self, release: Release<S>) -> Result<(), NotWanted> {
        if release.holder >= self.terms.holders() {
            return Err(NotWanted::NoHolder(release.holder));
        }
        if release.used != self.used {
            return Err(NotWanted::OtherUse);
        }
        self.shares.insert(release.holder, release.share);
        Ok(())
    }

    /// The shares by holder, once there are enough.
    pub fn enough(&self) -> Option<&BTreeMap<u8, S>> {
        (self.shares.len() >= usize::from(self.terms.needed())).then_some(&self.shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Id;

    #[test]
    fn only_distinct_holders_and_one_use_count() {
        let used = Use { policy: Id([1; 32]), slot: 3, invocation: Id([2; 32]) };
        let mut collector = Collector::new(Terms::new(5, 4).unwrap(), used);
        let release = |holder, used| Release { holder, used, share: holder };
        for holder in [0, 0, 0, 1, 2] {
            collector.take(release(holder, used)).unwrap();
            assert!(collector.enough().is_none());
        }
        let others = [
            Use { slot: 4, ..used },
            Use { policy: Id([9; 32]), ..used },
            Use { invocation: Id([9; 32]), ..used },
        ];
        for other in others {
            assert_eq!(collector.take(release(3, other)), Err(NotWanted::OtherUse));
        }
        assert_eq!(collector.take(release(5, used)), Err(NotWanted::NoHolder(5)));
        assert!(collector.enough().is_none());
        collector.take(release(4, used)).unwrap();
        assert_eq!(collector.enough().unwrap().keys().copied().collect::<Vec<_>>(), [0, 1, 2, 4]);
    }
}
