//! Round-trip time, smoothed as TCP does it (RFC 6298, section 2).

use std::time::Duration;

/// A smoothed round-trip time. One slow answer moves it by an eighth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SmoothedRtt {
    smoothed: Option<Duration>,
}

impl SmoothedRtt {
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => rtt,
            // A shorter path (the first ping pays for waking up, a direct connection replaces a
            // relayed one) is believed at once by half: placement should not wait for it.
            Some(old) if rtt < old => (old + rtt) / 2,
            Some(old) => (old * 7 + rtt) / 8,
        });
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outlier_moves_little_and_improvements_are_followed() {
        let mut rtt = SmoothedRtt::default();
        assert_eq!(rtt.get(), None);
        rtt.sample(Duration::from_millis(80));
        rtt.sample(Duration::from_millis(880));
        assert_eq!(rtt.get(), Some(Duration::from_millis(180)));
        for _ in 0..8 {
            rtt.sample(Duration::from_millis(10));
        }
        assert!(rtt.get().unwrap() < Duration::from_millis(11));
    }
}
