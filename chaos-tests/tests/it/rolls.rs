//! Releases side by side in simulation. More: `cargo simulate --layer rolls --seeds A..B`.

use std::time::Duration;

use spine_chaos_tests::sim::{SimOptions, rolls};

use crate::alone::alone;

#[test]
fn three_releases_are_rolled_and_finalized_under_faults() {
    alone(|| {
        let report = rolls::run(&SimOptions {
            shards: 1,
            clients: 2,
            fault_time: Duration::from_secs(3),
            ..SimOptions::of(1)
        });
        assert!(report.passed() && report.faults > 0, "{report}");
    });
}
