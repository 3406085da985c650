//! Runs seeds of the simulation. One line for each; exit 0 only if all passed.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use spine_chaos_tests::report::{self, Page};
use spine_chaos_tests::scenario::{Focus, Scenario};
use spine_chaos_tests::sim::{SimOptions, SimReport, group, old_copies, rolls, run};

/// Runs are many short lives of many tasks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whole clusters in one thread: one seed is one run. Exit code 0: all passed; 1: some failed; 2: wrong use.
#[derive(Parser)]
struct Arguments {
    /// Seeds from A up to and without B.
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with = "seed")]
    seeds: Option<(u64, u64)>,
    /// One seed.
    #[arg(long, required_unless_present_any = ["seeds", "script"])]
    seed: Option<u64>,
    /// The scenario in this file; its seed is in it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "seed", "focus", "fault_seconds"])]
    script: Option<PathBuf>,
    /// Print the scenario of each seed in the form that --script reads, and run nothing.
    #[arg(long)]
    print: bool,
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
    /// Five whole nodes, and an operator who moves replicas all the time.
    Members,
    /// Whole nodes, and applications that keep patients: transfers, registrations, new numbers, updates.
    Patients,
    /// Whole nodes on which three releases are rolled forward and back meanwhile.
    Rolls,
    /// Whole nodes that get older copies of their disks back, and nothing else that the seed draws.
    OldCopies,
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
    let runs = runs(arguments)?;
    let began = Instant::now();
    let out = &mut io::stdout();
    if arguments.print {
        for run in &runs {
            write!(out, "{}", run.scenario())?;
        }
        return Ok(true);
    }
    let talk = &mut io::stderr();
    let (mut failed, mut virtual_ms, mut skipped) = (Vec::new(), 0, 0);
    for options in &runs {
        let report = match arguments.layer {
            Layer::Cluster | Layer::Members | Layer::Patients => run(options),
            Layer::Rolls => rolls::run(options),
            Layer::OldCopies => old_copies::run(options),
            Layer::Group => group::run(options),
        };
        virtual_ms += report.virtual_ms;
        show(out, arguments, &report)?;
        skipped += report.skipped.len();
        if runs.len() == 1 {
            report
                .skipped
                .iter()
                .try_for_each(|skipped| writeln!(talk, "{skipped}"))?;
        }
        if !report.passed() {
            write_report(&report, &replay(arguments, report.seed));
            failed.push(report.seed);
        }
    }
    let took = began.elapsed().as_secs_f64();
    let speed = Duration::from_millis(virtual_ms).as_secs_f64() / took.max(0.001);
    writeln!(
        talk,
        "{} seeds, {} failed, {took:.1} s, {speed:.1} x real time",
        runs.len(),
        failed.len()
    )?;
    if skipped > 0 && runs.len() > 1 {
        writeln!(
            talk,
            "{skipped} faults skipped: they cannot be simulated here; one seed alone says which and why"
        )?;
    }
    for seed in &failed {
        writeln!(talk, "replay: {}", replay(arguments, *seed))?;
    }
    Ok(failed.is_empty())
}

fn show(out: &mut impl Write, arguments: &Arguments, report: &SimReport) -> io::Result<()> {
    for line in &report.lines {
        writeln!(out, "{line}")?;
    }
    if arguments.json {
        serde_json::to_writer(&mut *out, report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    out.flush()
}

/// What is to be run.
fn runs(arguments: &Arguments) -> io::Result<Vec<SimOptions>> {
    let options = |seed| SimOptions {
        fault_time: Duration::from_secs(arguments.fault_seconds),
        focus: arguments.focus,
        keep_trace: arguments.trace,
        ..match arguments.layer {
            Layer::Members => SimOptions::restless(seed),
            Layer::Patients => SimOptions::patients(seed),
            Layer::Cluster | Layer::Rolls | Layer::OldCopies | Layer::Group => SimOptions::of(seed),
        }
    };
    let Some(path) = &arguments.script else {
        let one = arguments.seed.map(|seed| (seed, seed + 1));
        let (first, last) = arguments.seeds.or(one).unwrap_or((0, 0));
        return Ok((first..last).map(options).collect());
    };
    let told = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
    let scenario: Scenario = text.parse().map_err(|error| told(&error))?;
    if matches!(arguments.layer, Layer::Group) && scenario.nodes != group::NODES {
        return Err(told(&"one group has three nodes"));
    }
    Ok(vec![SimOptions {
        keep_trace: arguments.trace,
        ..SimOptions::of_scenario(&scenario)
    }])
}

fn replay(arguments: &Arguments, seed: u64) -> String {
    if let Some(path) = &arguments.script {
        let layer = name(arguments.layer.to_possible_value());
        return format!(
            "cargo simulate --script {} --layer {layer} --trace",
            path.display()
        );
    }
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

/// The flags that a replay needs.
fn choices(arguments: &Arguments) -> String {
    format!(
        " --layer {} --focus {} --fault-seconds {}",
        name(arguments.layer.to_possible_value()),
        name(arguments.focus.to_possible_value()),
        arguments.fault_seconds
    )
}

fn name(value: Option<clap::builder::PossibleValue>) -> String {
    value.map(|value| value.get_name().to_owned()).unwrap_or_default()
}
