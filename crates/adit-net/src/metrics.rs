//! Counters for `/metrics`: plain atomics that cost one add where something happens.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the network started, and a few current values. Read with [`Metrics::snapshot`].
#[derive(Debug, Default)]
pub struct Metrics {
    pub(crate) connections_opened: AtomicU64,
    pub(crate) connections_closed: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) connections_made_room: AtomicU64,
    pub(crate) dials_failed: AtomicU64,
    pub(crate) pings_failed: AtomicU64,
    pub(crate) lookups: AtomicU64,
    pub(crate) announcements: AtomicU64,
    pub(crate) announcements_failed: AtomicU64,
    pub(crate) adverts_accepted: AtomicU64,
    pub(crate) adverts_rejected: AtomicU64,
    pub(crate) job_streams_opened: AtomicU64,
    pub(crate) job_streams_accepted: AtomicU64,
    pub(crate) job_streams_refused: AtomicU64,
    pub(crate) job_messages_in: AtomicU64,
    pub(crate) job_messages_out: AtomicU64,
}

impl Metrics {
    /// Name and value of each counter, in a stable order. Names are the Prometheus ones without
    /// the `adit_net_` prefix and the `_total` suffix.
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        vec![
            ("connections_opened", read(&self.connections_opened)),
            ("connections_closed", read(&self.connections_closed)),
            ("connections_refused", read(&self.connections_refused)),
            ("connections_made_room", read(&self.connections_made_room)),
            ("dials_failed", read(&self.dials_failed)),
            ("pings_failed", read(&self.pings_failed)),
            ("lookups", read(&self.lookups)),
            ("announcements", read(&self.announcements)),
            ("announcements_failed", read(&self.announcements_failed)),
            ("adverts_accepted", read(&self.adverts_accepted)),
            ("adverts_rejected", read(&self.adverts_rejected)),
            ("job_streams_opened", read(&self.job_streams_opened)),
            ("job_streams_accepted", read(&self.job_streams_accepted)),
            ("job_streams_refused", read(&self.job_streams_refused)),
            ("job_messages_in", read(&self.job_messages_in)),
            ("job_messages_out", read(&self.job_messages_out)),
        ]
    }
}

pub(crate) trait Count {
    fn one(&self);
}

impl Count for AtomicU64 {
    fn one(&self) {
        self.fetch_add(1, Relaxed);
    }
}
