//! Every seed that ever failed, and every scenario that was written down because of a failure.

use clap::ValueEnum;
use spine_chaos_tests::scenario::{Focus, Scenario};
use spine_chaos_tests::sim::{SimOptions, SimReport, group, run};

use crate::alone::alone;

const SEEDS: &str = include_str!("../../regressions/seeds.txt");
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");

type Runner = fn(&SimOptions) -> SimReport;

/// A line of `seeds.txt`: `[layer] focus seed what it found`.
fn of_line(line: &str) -> Result<(Runner, SimOptions), String> {
    let mut words = line.split_whitespace().peekable();
    let layer = words.next_if(|word| ["cluster", "group"].contains(word));
    let focus = Focus::from_str(words.next().unwrap_or_default(), false)?;
    let seed = words.next().and_then(|seed| seed.parse().ok());
    let options = SimOptions {
        focus,
        ..SimOptions::of(seed.ok_or("a seed follows the focus")?)
    };
    let runner = if layer == Some("group") { group::run } else { run };
    Ok((runner, options))
}

#[test]
fn seeds_that_once_failed_pass() {
    alone(|| {
        for line in SEEDS
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        {
            let (runner, options) = of_line(line).unwrap_or_else(|problem| panic!("{line}: {problem}"));
            let report = runner(&options);
            assert!(report.passed(), "{report}\n{line}");
        }
    });
}

#[test]
fn lines_name_layer_and_focus() {
    for line in [
        "all 3 why",
        "gray 3",
        "cluster power-cuts 3",
        "group forged 3 why",
    ] {
        assert!(
            of_line(line).is_ok_and(|(_, options)| options.seed == 3),
            "{line}"
        );
    }
    for line in ["3", "green 3", "group 3", "all why", ""] {
        assert!(of_line(line).is_err(), "{line}");
    }
}

#[test]
fn scenarios_that_once_failed_pass() {
    alone(|| {
        let mut files: Vec<_> = std::fs::read_dir(SCENARIOS)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "scenario"))
            .collect();
        files.sort();
        assert!(!files.is_empty());
        for file in files {
            let scenario: Result<Scenario, _> = std::fs::read_to_string(&file).unwrap().parse();
            let scenario = scenario.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let report = run(&SimOptions::of_scenario(&scenario));
            assert!(
                report.skipped.is_empty(),
                "{}: {:?}",
                file.display(),
                report.skipped
            );
            assert!(report.passed(), "{}: {report}", file.display());
        }
    });
}
