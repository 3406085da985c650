//! One Raft group under faults.

use std::time::Duration;

use spine_chaos_tests::sim::group::{GroupReport, run};
use spine_chaos_tests::sim::plan::Focus;

fn short(seed: u64, focus: Focus) -> GroupReport {
    let report = run(seed, Duration::from_secs(4), focus, true);
    if let Some(problem) = &report.problem {
        let lines: Vec<&str> = report.lines.iter().map(String::as_str).collect();
        println!("{}", lines.join("\n"));
        panic!("seed {seed}: {problem}");
    }
    report
}

#[test]
fn a_group_survives_all_kinds_of_faults() {
    for seed in 1..=4 {
        assert!(short(seed, Focus::All).acknowledged > 20);
    }
}

#[test]
fn a_group_survives_power_cuts() {
    for seed in 11..=14 {
        assert!(short(seed, Focus::PowerCuts).acknowledged > 20);
    }
}

#[test]
fn one_seed_is_one_run() {
    let (one, two) = (short(21, Focus::All), short(21, Focus::All));
    assert_eq!(one.hash, two.hash);
    assert_ne!(one.hash, short(22, Focus::All).hash);
}
