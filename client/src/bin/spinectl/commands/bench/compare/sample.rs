//! Figures of one run, and their medians.

use serde_json::{Value, json};

use super::super::measured::Measured;

/// What all processes of a store have used so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    /// Processor time of the nodes and of this program, microseconds.
    pub(super) cpu_us: u64,
    /// `None` where a node does not say.
    pub(super) fsyncs: Option<u64>,
}

/// One run of one row.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) ops_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    fsyncs_per_op: Option<f64>,
    cpu_us_per_op: f64,
    pub(super) errors: u64,
}

impl Sample {
    pub(super) fn new(measured: &Measured, seconds: f64, [before, after]: [Used; 2]) -> Self {
        let operations = measured.operations().max(1) as f64;
        let fsyncs = before.fsyncs.zip(after.fsyncs);
        Self {
            ops_per_second: measured.operations() as f64 / seconds,
            p50_us: measured.quantile_us(0.5) as f64,
            p99_us: measured.quantile_us(0.99) as f64,
            fsyncs_per_op: fsyncs.map(|(before, after)| after.saturating_sub(before) as f64 / operations),
            cpu_us_per_op: after.cpu_us.saturating_sub(before.cpu_us) as f64 / operations,
            errors: measured.failed(),
        }
    }

    /// Figure by figure; errors are added up.
    pub(super) fn median(samples: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(samples.iter().map(figure).collect());
        let fsyncs: Option<Vec<f64>> = samples.iter().map(|sample| sample.fsyncs_per_op).collect();
        Self {
            ops_per_second: of(|sample| sample.ops_per_second),
            p50_us: of(|sample| sample.p50_us),
            p99_us: of(|sample| sample.p99_us),
            fsyncs_per_op: fsyncs.map(median),
            cpu_us_per_op: of(|sample| sample.cpu_us_per_op),
            errors: samples.iter().map(|sample| sample.errors).sum(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "ops_per_second": round(self.ops_per_second),
            "p50_us": round(self.p50_us),
            "p99_us": round(self.p99_us),
            "fsyncs_per_op": self.fsyncs_per_op.map(round),
            "cpu_us_per_op": round(self.cpu_us_per_op),
            "errors": self.errors,
        })
    }
}

pub(super) fn round(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => 0.0,
        count if count % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(Vec::new()).abs() < f64::EPSILON);
    }
}
