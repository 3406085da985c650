//! What was measured, and how it is told.

use clap::ValueEnum as _;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::measured::Measured;
use crate::args::Load;
use crate::exit::{Exit, Failure};
use crate::output::table;

const QUANTILES: [(&str, f64); 4] = [
    ("p50_us", 0.5),
    ("p99_us", 0.99),
    ("p99_9_us", 0.999),
    ("max_us", 1.0),
];

pub(super) struct Run<'a> {
    pub(super) arguments: &'a Load,
    pub(super) measured: Measured,
    pub(super) seconds: f64,
    /// Of all nodes while it ran; `None` where unknown.
    pub(super) fsyncs: Option<u64>,
}

impl Run<'_> {
    fn rows(&self) -> Vec<(&'static str, &Histogram<u64>)> {
        let kinds = self.measured.kinds.iter();
        kinds.map(|(kind, histogram)| (kind.name(), histogram)).collect()
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
            "mix": self.arguments.mix.to_possible_value().map(|mix| mix.get_name().to_owned()),
            "rate": self.arguments.rate,
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
        if self.measured.wrote() && self.fsyncs.unwrap_or(0) == 0 {
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
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::commands::bench::work::Kind;

    fn run(fsyncs: Option<u64>, kind: Kind) -> Result<Exit, Failure> {
        let arguments = Load::parse_from(["bench"]);
        let mut measured = Measured::new();
        measured.record(kind, Duration::from_micros(70), Ok(()));
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
        assert_eq!(run(Some(3), Kind::Put).unwrap(), Exit::Ok);
        assert_eq!(run(Some(0), Kind::Get).unwrap(), Exit::Ok);
        assert_eq!(run(Some(0), Kind::CompareAndSet).unwrap_err().exit, Exit::Generic);
        assert_eq!(run(None, Kind::Update).unwrap_err().exit, Exit::Generic);
    }
}
