//! Runs seeds of the simulation. One line for each; exit 0 only if all passed.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use spine_chaos_tests::sim::group;
use spine_chaos_tests::sim::plan::Focus;

/// Whole clusters in one thread: one seed is one run. Exit code 0: all passed; 1: some failed; 2: wrong use.
#[derive(Parser)]
struct Arguments {
    /// Seeds from A up to and without B.
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with = "seed")]
    seeds: Option<(u64, u64)>,
    /// One seed.
    #[arg(long, required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Show everything that happened.
    #[arg(long)]
    trace: bool,
    #[arg(long, value_enum, default_value = "all")]
    focus: FocusName,
    /// Virtual seconds in which things go wrong.
    #[arg(long, default_value_t = 8)]
    fault_seconds: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum FocusName {
    All,
    PowerCuts,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").ok_or("write A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (first, last) = (number(first)?, number(last)?);
    if first < last { Ok((first, last)) } else { Err("A must be below B".to_owned()) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (first, last) =
        arguments.seeds.or_else(|| arguments.seed.map(|seed| (seed, seed + 1))).unwrap_or((0, 0));
    let began = Instant::now();
    let out = &mut io::stdout();
    let mut failed = Vec::new();
    let mut virtual_ms = 0;
    for seed in first..last {
        let focus = match arguments.focus {
            FocusName::All => Focus::All,
            FocusName::PowerCuts => Focus::PowerCuts,
        };
        let report = group::run(seed, Duration::from_secs(arguments.fault_seconds), focus, arguments.trace);
        virtual_ms += report.virtual_ms;
        for line in &report.lines {
            let _ = writeln!(out, "{line}");
        }
        let _ = writeln!(
            out,
            "seed {seed} {} {} ms {} ops {} acked {}",
            report.hash,
            report.virtual_ms,
            report.operations,
            report.acknowledged,
            report.problem.as_deref().unwrap_or("passed")
        );
        if report.problem.is_some() {
            failed.push(seed);
        }
    }
    let took = began.elapsed().as_secs_f64();
    let speed = Duration::from_millis(virtual_ms).as_secs_f64() / took.max(0.001);
    let count = last - first;
    let _ = writeln!(io::stderr(), "{count} seeds, {} failed, {took:.1} s, {speed:.1} x real time", failed.len());
    for seed in &failed {
        let _ = writeln!(io::stderr(), "replay: cargo simulate --seed {seed} --trace");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
