//! Time for the pure cores and for records.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point on a monotonic clock, in microseconds from a start that does not matter.
pub type Micros = u64;

/// Turns the system's monotonic clock into the cores' microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { start: Instant::now() }
    }
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }

    /// The moment at which a core wants to be woken, for tokio's timer.
    pub fn instant(&self, at: Micros) -> tokio::time::Instant {
        (self.start + Duration::from_micros(at)).into()
    }
}

/// Unix time in seconds. A clock before 1970 counts as 1970: nothing signed then would hold anyway.
pub fn unix_seconds() -> u64 {
    unix_ms() / 1000
}

/// Unix time in milliseconds.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A duration as the cores count.
pub fn micros(duration: Duration) -> Micros {
    duration.as_micros().min(u128::from(u64::MAX)) as u64
}
