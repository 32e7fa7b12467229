//! Figures about the API itself, in the text format of Prometheus.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Counters that requests touch. Plain atomics without labels to look up, because every warm job passes here.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    answers: [Counter; 5],
    under_way: Gauge,
    runs: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("adit_api");
        let answers: [Counter; 5] = Default::default();
        for (class, counter) in answers.iter().enumerate() {
            let name = format!("responses_{}xx", class + 1);
            registry.register(name, "Answers sent, by the first digit of their status", counter.clone());
        }
        let under_way = Gauge::default();
        registry.register("requests_under_way", "Requests whose answer has not begun", under_way.clone());
        // From 0.1 ms to a quarter of an hour, by factors of four.
        let runs = Histogram::new((0..12).map(|i| 1e-4 * 4f64.powi(i)));
        registry.register("run_seconds", "Time from POST /run to its answer", runs.clone());
        Self { registry, answers, under_way, runs }
    }

    pub(crate) fn began(&self) {
        self.under_way.inc();
    }

    pub(crate) fn answered(&self, status: axum::http::StatusCode) {
        self.under_way.dec();
        self.answers[usize::from(status.as_u16() / 100).clamp(1, 5) - 1].inc();
    }

    pub(crate) fn gave_up(&self) {
        self.under_way.dec();
    }

    pub(crate) fn ran(&self, took: Duration) {
        self.runs.observe(took.as_secs_f64());
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}
