//! A few seeds, and one of them twice.

use std::time::Duration;

use spine_chaos_tests::scenario::Focus;
use spine_chaos_tests::sim::{SimOptions, SimReport, old_copies, run};

use crate::alone::alone;

/// Short runs: `cargo test` must stay short.
fn short(seed: u64, focus: Focus) -> SimReport {
    run(&SimOptions {
        fault_time: Duration::from_secs(3),
        focus,
        ..SimOptions::of(seed)
    })
}

#[test]
fn all_kinds_of_faults() {
    alone(|| {
        for seed in 1..=2 {
            let report = short(seed, Focus::All);
            assert!(report.passed(), "{report}");
            assert!(report.report.is_some_and(|report| report.acknowledged > 20));
        }
    });
}

#[test]
fn power_cuts() {
    alone(|| {
        let report = short(11, Focus::PowerCuts);
        assert!(report.passed(), "{report}");
    });
}

#[test]
fn one_seed_is_one_run() {
    alone(|| {
        let (one, two) = (short(21, Focus::All), short(21, Focus::All));
        assert_eq!(one.hash, two.hash);
    });
}

/// Replicas move, nodes are emptied and given up, and everything else goes wrong as well.
#[test]
fn a_cluster_that_changes_all_the_time() {
    alone(|| {
        let report = run(&SimOptions {
            fault_time: Duration::from_secs(3),
            ..SimOptions::restless(5)
        });
        assert!(report.passed(), "{report}");
    });
}

/// Nodes get older copies of their disks back. More: `cargo simulate --layer old-copies --seeds A..B`.
#[test]
fn older_copies_never_vote() {
    alone(|| {
        let report = old_copies::run(&SimOptions {
            fault_time: Duration::from_secs(3),
            ..SimOptions::of(2)
        });
        assert!(report.passed(), "{report}");
    });
}
