//! Plants one known bug at a time and asks the test that must notice it. Exit code 0: every bug was caught; 1: some
//! were missed; 2: the tests do not even pass without a bug, or wrong use.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Parser;
use parking_lot::Mutex;
use spine_chaos_tests::mutants::{
    Detector, MUTANTS, Mutant, Outcome, Programs, Verdict, build, prove_sound, try_one,
};

/// Detectors at a time: what the smallest machine has cores.
const WORKERS: usize = 2;

/// One build with every mutant, then one run of a detector for each.
#[derive(Parser)]
struct Arguments {
    /// Show the mutants and stop.
    #[arg(long)]
    list: bool,
    /// Only this mutant; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    match mutants(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "mutants: {error}");
            ExitCode::from(2)
        }
    }
}

fn mutants(arguments: &Arguments) -> io::Result<bool> {
    if let Some(name) = arguments
        .only
        .iter()
        .find(|name| MUTANTS.iter().all(|m| m.name != **name))
    {
        return Err(io::Error::other(format!("no mutant is called {name}")));
    }
    let chosen =
        |mutant: &&Mutant| arguments.only.is_empty() || arguments.only.iter().any(|n| n == mutant.name);
    let chosen: Vec<&Mutant> = MUTANTS.iter().filter(chosen).collect();
    let out = &mut io::stdout();
    if arguments.list {
        for mutant in &chosen {
            writeln!(out, "{} | {} | {}", mutant.name, mutant.does, mutant.caught_by)?;
        }
        return Ok(true);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."));
    let programs = build(root, &chosen)?;
    check_detectors(&chosen, &programs)?;
    let caught = AtomicUsize::new(0);
    for_each(&chosen, |mutant| {
        let outcome = try_one(mutant, &programs)?;
        if matches!(outcome.verdict, Verdict::Failed(_)) {
            caught.fetch_add(1, Ordering::Relaxed);
        }
        show(mutant, &outcome)
    })?;
    let caught = caught.into_inner();
    let all = chosen.len();
    let missed = all - caught;
    writeln!(out, "mutants: {all} caught: {caught} missed: {missed}")?;
    Ok(missed == 0)
}

/// A detector that fails anyway would catch everything.
fn check_detectors(chosen: &[&Mutant], programs: &Programs) -> io::Result<()> {
    let detectors: BTreeSet<Detector> = chosen.iter().map(|mutant| mutant.caught_by).collect();
    let detectors: Vec<Detector> = detectors.into_iter().collect();
    for_each(&detectors, |detector| {
        let took = prove_sound(detector, programs)?;
        writeln!(io::stderr(), "sound: {detector}, {:.1} s", took.as_secs_f64())
    })
}

fn show(mutant: &Mutant, outcome: &Outcome) -> io::Result<()> {
    let (word, why) = match &outcome.verdict {
        Verdict::Passed => ("MISSED", ""),
        Verdict::Failed(why) => ("caught", why.as_str()),
    };
    let (name, detector) = (mutant.name, mutant.caught_by);
    let seconds = outcome.took.as_secs_f64();
    writeln!(
        io::stdout(),
        "{name} | {detector} | {word} | {seconds:.1} s | {why}"
    )
}

/// A few at a time; ends at the first error.
fn for_each<T: Sync>(all: &[T], work: impl Fn(&T) -> io::Result<()> + Sync) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if failed.lock().is_some() {
                        return;
                    }
                    if let Err(error) = work(one) {
                        failed.lock().get_or_insert(error);
                    }
                }
            });
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}
