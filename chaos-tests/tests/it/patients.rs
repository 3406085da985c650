//! Applications that keep patients, in simulation. More: `cargo simulate --layer patients --seeds A..B`.

use std::time::Duration;

use spine_chaos_tests::sim::{SimOptions, run};

use crate::alone::alone;

#[test]
fn applications_rely_on_what_they_are_told_under_faults() {
    alone(|| {
        for seed in 1..=2 {
            let report = run(&SimOptions {
                clients: 1,
                fault_time: Duration::from_secs(4),
                ..SimOptions::patients(seed)
            });
            assert!(report.passed() && report.faults > 0, "{report}");
        }
    });
}
