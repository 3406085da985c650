//! Registers a metric and remembers how it is described, so that the documentation can be checked.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::MetricConstructor;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Seconds, from 100 us (a read in memory) to 10 s (a deadline).
const SECONDS_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A histogram of durations in seconds.
pub type Seconds = Histogram;
/// A gauge that holds an unsigned number.
pub type Level = Gauge<u64, AtomicU64>;

/// A gauge that may be negative.
pub type SignedLevel = Gauge<i64, AtomicI64>;

/// Makes the histograms of a family.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewSeconds;

impl MetricConstructor<Seconds> for NewSeconds {
    fn new_metric(&self) -> Seconds {
        seconds()
    }
}

/// An empty histogram of durations.
pub(super) fn seconds() -> Seconds {
    Histogram::new(SECONDS_BUCKETS)
}

/// One line of the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// As scraped; counters end in `_total`.
    pub name: String,
    pub kind: &'static str,
    pub labels: &'static str,
    pub help: &'static str,
}

#[derive(Default)]
pub(super) struct Register {
    pub(super) registry: Registry,
    pub(super) described: Vec<Described>,
}

impl Register {
    /// Registers an empty metric without labels, or a family with those named.
    pub(super) fn add<M>(&mut self, name: &'static str, labels: &'static str, help: &'static str) -> M
    where
        M: Metric + Clone + Default,
    {
        self.add_metric(name, labels, help, M::default())
    }

    /// The same for a metric that has no default, such as a histogram.
    pub(super) fn add_metric<M>(
        &mut self,
        name: &'static str,
        labels: &'static str,
        help: &'static str,
        metric: M,
    ) -> M
    where
        M: Metric + Clone,
    {
        let (kind, suffix) = match metric.metric_type() {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Histogram => ("histogram", ""),
            _ => ("gauge", ""),
        };
        self.described.push(Described {
            name: format!("{name}{suffix}"),
            kind,
            labels,
            help,
        });
        // The library ends the help text with a full stop of its own.
        self.registry.register(name, help, metric.clone());
        metric
    }
}
