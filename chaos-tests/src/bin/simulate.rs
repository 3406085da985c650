//! Runs seeds of the simulation. One line for each; exit 0 only if all passed.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use spine_chaos_tests::report::{self, Page};
use spine_chaos_tests::sim::plan::Focus;
use spine_chaos_tests::sim::{SimOptions, SimReport, group, run};

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
    /// What goes wrong.
    #[arg(long, value_enum, default_value = "all")]
    focus: Focus,
    /// What runs.
    #[arg(long, value_enum, default_value = "cluster")]
    layer: Layer,
    /// Virtual seconds in which things go wrong.
    #[arg(long, default_value_t = 8)]
    fault_seconds: u64,
    /// Print one JSON object for each seed instead of a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Layer {
    /// Whole nodes, asked by the client library.
    Cluster,
    /// One Raft group: log, state, links and elections, asked where the replicas are.
    Group,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").ok_or("write A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (first, last) = (number(first)?, number(last)?);
    if first < last {
        Ok((first, last))
    } else {
        Err("A must be below B".to_owned())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match simulate(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "simulate: {error}");
            ExitCode::from(2)
        }
    }
}

fn simulate(arguments: &Arguments) -> io::Result<bool> {
    let one = arguments.seed.map(|seed| (seed, seed + 1));
    let (first, last) = arguments.seeds.or(one).unwrap_or((0, 0));
    let began = Instant::now();
    let out = &mut io::stdout();
    let mut failed = Vec::new();
    let mut virtual_ms = 0;
    for seed in first..last {
        let report = one_seed(arguments, seed);
        virtual_ms += report.virtual_ms;
        for line in &report.lines {
            writeln!(out, "{line}")?;
        }
        if arguments.json {
            serde_json::to_writer(&mut *out, &report)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{report}")?;
        }
        out.flush()?;
        if !report.passed() {
            write_report(&report, &replay(arguments, seed));
            failed.push(seed);
        }
    }
    let took = began.elapsed().as_secs_f64();
    let speed = Duration::from_millis(virtual_ms).as_secs_f64() / took.max(0.001);
    let talk = &mut io::stderr();
    writeln!(
        talk,
        "{} seeds, {} failed, {took:.1} s, {speed:.1} x real time",
        last - first,
        failed.len()
    )?;
    for seed in &failed {
        writeln!(talk, "replay: {}", replay(arguments, *seed))?;
    }
    Ok(failed.is_empty())
}

fn replay(arguments: &Arguments, seed: u64) -> String {
    format!("cargo simulate{} --seed {seed} --trace", choices(arguments))
}

/// Says where the report of a failed seed is.
fn write_report(report: &SimReport, command: &str) {
    let page = Page {
        title: &format!("simulate seed {}", report.seed),
        problem: report.problem.as_deref().unwrap_or_default(),
        command,
        lines: &report.lines,
    };
    let talk = &mut io::stderr();
    let _ = match report::write(&report::directory(), &page, &report.journal) {
        Ok(path) => writeln!(talk, "report: {}", path.display()),
        Err(error) => writeln!(talk, "report not written: {error}"),
    };
}

fn one_seed(arguments: &Arguments, seed: u64) -> SimReport {
    let options = SimOptions {
        fault_time: Duration::from_secs(arguments.fault_seconds),
        focus: arguments.focus,
        keep_trace: arguments.trace,
        ..SimOptions::of(seed)
    };
    match arguments.layer {
        Layer::Cluster => run(&options),
        Layer::Group => group::run(&options),
    }
}

/// The flags that a replay needs.
fn choices(arguments: &Arguments) -> String {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    };
    format!(
        " --layer {} --focus {} --fault-seconds {}",
        name(arguments.layer.to_possible_value()),
        name(arguments.focus.to_possible_value()),
        arguments.fault_seconds
    )
}
