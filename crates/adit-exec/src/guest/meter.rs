//! What the host does for a guest, counted in the same unit as operators.
//!
//! Operators alone measure badly: a host call that hands over 1 MiB costs one operator and a hundred microseconds.
//! So each host call costs [`CALL`] units and one unit for each byte that it touches. A Task's fuel is the
//! limit of operators and host work *together*; while the guest runs, each is held to it separately (that
//! bounds the time by twice the limit), and the sum is checked at the end and is what the Outcome states.

use super::stop::Stop;

/// A host call costs about as much time as this many operators.
pub(crate) const CALL: u64 = 500;

#[derive(Debug)]
pub(crate) struct Meter {
    limit: u64,
    spent: u64,
}

impl Meter {
    pub(crate) fn new(limit: u64) -> Self {
        Meter { limit, spent: 0 }
    }

    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    /// Pays for a host call that touches `bytes`. To be called before the work is done.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), Stop> {
        self.spent = self.spent.saturating_add(CALL);
        self.pay(bytes)
    }

    /// Pays for `bytes` more, in a host call that was paid for.
    pub(crate) fn pay(&mut self, bytes: u64) -> Result<(), Stop> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > self.limit { Err(Stop::fuel()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_paid_until_the_limit_and_never_wraps() {
        let mut meter = Meter::new(2 * CALL + 10);
        meter.charge(10).unwrap();
        meter.charge(0).unwrap();
        assert_eq!(meter.spent(), 2 * CALL + 10);
        assert_eq!(meter.charge(0).unwrap_err(), Stop::fuel());
        assert_eq!(meter.charge(u64::MAX).unwrap_err(), Stop::fuel());
        assert_eq!(meter.spent(), u64::MAX);
    }
}
