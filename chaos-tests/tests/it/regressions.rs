//! Every seed that ever failed.

use spine_chaos_tests::sim::plan::Focus;
use spine_chaos_tests::sim::{SimOptions, run};

const SEEDS: &str = include_str!("../../regressions/seeds.txt");

#[test]
fn seeds_that_once_failed_pass() {
    for line in SEEDS
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        let focus = match words.next() {
            Some("all") => Focus::All,
            Some("power-cuts") => Focus::PowerCuts,
            other => panic!("{line}: no focus is called {other:?}"),
        };
        let seed = words.next().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| panic!("{line}: the second word is a seed"));
        let report = run(&SimOptions {
            focus,
            ..SimOptions::of(seed)
        });
        assert!(report.passed(), "{report}\n{line}");
    }
}
