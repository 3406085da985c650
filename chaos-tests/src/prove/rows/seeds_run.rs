//! Seeds in processes of their own, so that as many run side by side as there are processors.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::prove::RowError;

/// What a row reads of a seed's report.
#[derive(Debug, Deserialize)]
pub(super) struct Seed {
    pub(super) seed: u64,
    pub(super) virtual_ms: u64,
    pub(super) cpu_ms: u64,
    pub(super) faults: usize,
    pub(super) moves: Moves,
    pub(super) report: Option<Counts>,
    pub(super) problem: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Moves {
    pub(super) needless: usize,
    pub(super) unexplained: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Counts {
    pub(super) operations: u64,
    pub(super) acknowledged: u64,
}

/// Runs the seeds `first..first + count` with these flags of `simulate`.
pub(super) fn run(programs: &Path, flags: &[&str], first: u64, count: u64) -> Result<Vec<Seed>, RowError> {
    let processors = std::thread::available_parallelism()?.get() as u64;
    let share = count.div_ceil(processors).max(1);
    let program = programs.join("simulate");
    let mut running = Vec::new();
    for from in (first..first + count).step_by(usize::try_from(share).unwrap_or(usize::MAX)) {
        let to = (from + share).min(first + count);
        let child = Command::new(&program)
            .args(["--json", "--seeds", &format!("{from}..{to}")])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        running.push(child.map_err(|error| RowError::because(format!("{}: {error}", program.display())))?);
    }
    let mut seeds = Vec::new();
    // One thread for each, so that no pipe fills while another is read.
    let outputs = running
        .into_iter()
        .map(|child| std::thread::spawn(|| child.wait_with_output()));
    for output in outputs.collect::<Vec<_>>() {
        let output = output
            .join()
            .map_err(|_| RowError::because("a reader of seeds ended"))??;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let seed = serde_json::from_str(line);
            seeds.push(seed.map_err(|error| RowError::because(format!("simulate: {error}: {line}")))?);
        }
    }
    if seeds.len() as u64 == count {
        Ok(seeds)
    } else {
        Err(RowError::because(format!("{} of {count} seeds ran", seeds.len())))
    }
}
