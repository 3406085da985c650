//! What was measured, and how it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use spine_client::Error;

use crate::args::{Bench, Mix};
use crate::exit::{Exit, Failure};
use crate::output::table;

/// Latencies above are counted as this, microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Decimal digits kept of a latency.
const DIGITS: u8 = 3;
const QUANTILES: [(&str, f64); 4] = [
    ("p50_us", 0.5),
    ("p99_us", 0.99),
    ("p99_9_us", 0.999),
    ("max_us", 1.0),
];

pub(super) struct Measured {
    puts: Histogram<u64>,
    gets: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl Measured {
    pub(super) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("the bounds are constants in order")
        };
        Self {
            puts: histogram(),
            gets: histogram(),
            errors: BTreeMap::new(),
        }
    }

    pub(super) fn record(&mut self, put: bool, took: Duration, outcome: Result<(), Error>) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(LATENCY_US_MAX).max(1);
        match outcome {
            Ok(()) if put => self.puts.saturating_record(took_us),
            Ok(()) => self.gets.saturating_record(took_us),
            Err(error) => *self.errors.entry(error.reason).or_default() += 1,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        // Same bounds on both sides, so neither can refuse.
        let _ = self.puts.add(&other.puts);
        let _ = self.gets.add(&other.gets);
        for (reason, count) in &other.errors {
            *self.errors.entry(reason.clone()).or_default() += count;
        }
    }

    fn operations(&self) -> u64 {
        self.puts.len() + self.gets.len()
    }

    fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

pub(super) struct Run<'a> {
    pub(super) arguments: &'a Bench,
    pub(super) measured: Measured,
    pub(super) seconds: f64,
    /// Of all nodes while it ran; `None` where unknown.
    pub(super) fsyncs: Option<u64>,
}

impl Run<'_> {
    fn rows(&self) -> Vec<(&'static str, &Histogram<u64>)> {
        let all = [("put", &self.measured.puts), ("get", &self.measured.gets)];
        all.into_iter()
            .filter(|(_, histogram)| !histogram.is_empty())
            .collect()
    }

    pub(super) fn json(&self) -> Value {
        let mut rows = serde_json::Map::new();
        for (name, histogram) in self.rows() {
            let mut row = serde_json::Map::new();
            row.insert("ops".to_owned(), histogram.len().into());
            row.insert(
                "ops_per_second".to_owned(),
                json!(per_second(histogram.len(), self.seconds)),
            );
            for (name, quantile) in QUANTILES {
                row.insert(name.to_owned(), histogram.value_at_quantile(quantile).into());
            }
            rows.insert(name.to_owned(), Value::Object(row));
        }
        let operations = self.measured.operations();
        json!({
            "mix": self.mix(),
            "clients": self.arguments.clients,
            "connections": self.arguments.connections,
            "value_bytes": self.arguments.value_bytes,
            "keys": self.arguments.keys,
            "seconds": (self.seconds * 1_000.0).round() / 1_000.0,
            "ops": operations,
            "ops_per_second": per_second(operations, self.seconds),
            "rows": rows,
            "errors": self.measured.failed(),
            "errors_by_reason": self.measured.errors,
            "fsyncs": self.fsyncs,
            "fsyncs_per_op": self.fsyncs_per_operation(),
        })
    }

    pub(super) fn table(&self) -> String {
        let rows = self.rows().into_iter().map(|(name, histogram)| {
            let at = |quantile| format!("{} us", histogram.value_at_quantile(quantile));
            [
                name.to_owned(),
                histogram.len().to_string(),
                format!("{:.0}", per_second(histogram.len(), self.seconds)),
                at(0.5),
                at(0.99),
                at(0.999),
                at(1.0),
            ]
        });
        let mut text = table(["", "OPS", "OPS/S", "P50", "P99", "P99.9", "MAX"], rows);
        let fsyncs = self
            .fsyncs_per_operation()
            .map_or_else(|| "unknown".to_owned(), |n| format!("{n:.3}"));
        let operations = self.measured.operations();
        text.push_str(&format!(
            "\n\n{} clients, {} bytes, {:.1} s: {:.0} ops/s, {} errors, fsyncs per operation {fsyncs}",
            self.arguments.clients,
            self.arguments.value_bytes,
            self.seconds,
            per_second(operations, self.seconds),
            self.measured.failed(),
        ));
        for (reason, count) in &self.measured.errors {
            text.push_str(&format!("\n  {count} x {reason}"));
        }
        text
    }

    /// A write without an fsync is not durable, whatever its speed.
    pub(super) fn verdict(&self) -> Result<Exit, Failure> {
        if self.measured.operations() == 0 {
            return Err(Failure {
                exit: Exit::Unavailable,
                message: "no operation succeeded".to_owned(),
            });
        }
        if !self.measured.puts.is_empty() && self.fsyncs.unwrap_or(0) == 0 {
            return Err(Failure::generic(
                "writes were acknowledged, but no fsync was seen: not a durable run",
            ));
        }
        Ok(if self.measured.failed() == 0 {
            Exit::Ok
        } else {
            Exit::Generic
        })
    }

    fn mix(&self) -> &'static str {
        match self.arguments.mix {
            Mix::Put => "put",
            Mix::Get => "get",
            Mix::PutGet => "put-get",
        }
    }

    fn fsyncs_per_operation(&self) -> Option<f64> {
        let operations = self.measured.operations();
        self.fsyncs
            .filter(|_| operations > 0)
            .map(|fsyncs| fsyncs as f64 / operations as f64)
    }
}

fn per_second(operations: u64, seconds: f64) -> f64 {
    (operations as f64 / seconds * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(fsyncs: Option<u64>, put: bool) -> Result<Exit, Failure> {
        let arguments = Bench {
            clients: 1,
            seconds: 1,
            value_bytes: 1,
            mix: Mix::Put,
            keys: 1,
            connections: 1,
            seed: 1,
        };
        let mut measured = Measured::new();
        measured.record(put, Duration::from_micros(70), Ok(()));
        let run = Run {
            arguments: &arguments,
            measured,
            seconds: 1.0,
            fsyncs,
        };
        assert_eq!(run.json()["ops"], 1);
        run.verdict()
    }

    #[test]
    fn a_put_without_fsync_is_an_error() {
        assert_eq!(run(Some(3), true).unwrap(), Exit::Ok);
        assert_eq!(run(Some(0), false).unwrap(), Exit::Ok);
        assert_eq!(run(Some(0), true).unwrap_err().exit, Exit::Generic);
        assert_eq!(run(None, true).unwrap_err().exit, Exit::Generic);
    }
}
