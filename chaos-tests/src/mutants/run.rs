//! One detector, without a mutant and with one.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Detector, Mutant, Programs};

/// Names the mutant of a process.
const CHOOSER: &str = "SPINE_MUTANT";
/// A detector that takes longer than this hangs, which a commit's check notices too.
const TIME_MAX: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(20);
/// Characters of what a detector said.
const WORDS_MAX: usize = 100;

/// What a detector made of a process.
pub enum Verdict {
    Passed,
    /// With the first thing it said.
    Failed(String),
}

/// One run.
pub struct Outcome {
    pub verdict: Verdict,
    pub took: Duration,
}

/// Runs a detector on the unchanged program.
///
/// # Errors
/// It is missing, did not run, or fails although nothing is wrong.
pub fn prove_sound(detector: &Detector, programs: &Programs) -> io::Result<Duration> {
    let (outcome, stdout) = run(detector, programs, None)?;
    if let Verdict::Failed(why) = outcome.verdict {
        return Err(io::Error::other(format!(
            "{detector} fails without a mutant: {why}"
        )));
    }
    if !detector.ran(&stdout) {
        return Err(io::Error::other(format!("{detector} is no test")));
    }
    Ok(outcome.took)
}

/// Runs a mutant's detector on the mutant.
///
/// # Errors
/// It cannot be run.
pub fn try_one(mutant: &Mutant, programs: &Programs) -> io::Result<Outcome> {
    run(&mutant.caught_by, programs, Some(mutant.name)).map(|(outcome, _)| outcome)
}

fn run(detector: &Detector, programs: &Programs, mutant: Option<&str>) -> io::Result<(Outcome, String)> {
    let missing = || io::Error::other(format!("{detector}: its program was not built"));
    let mut command = detector.command(programs).ok_or_else(missing)?;
    match mutant {
        Some(name) => command.env(CHOOSER, name),
        None => command.env_remove(CHOOSER),
    };
    let began = Instant::now();
    let ended = end_of(&mut command)?;
    let verdict = match (&ended.passed, mutant) {
        (Some(true), _) => Verdict::Passed,
        (Some(false), _) => Verdict::Failed(first_words(&ended)),
        (None, _) => Verdict::Failed("it hangs".to_owned()),
    };
    let outcome = Outcome {
        verdict,
        took: began.elapsed(),
    };
    Ok((outcome, ended.stdout))
}

struct Ended {
    /// None where it was ended for taking too long.
    passed: Option<bool>,
    stdout: String,
    stderr: String,
}

fn end_of(command: &mut Command) -> io::Result<Ended> {
    let mut child = command
        .env("RUST_BACKTRACE", "0")
        // A failure here is the planted bug's, and none to keep.
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().map(reader);
    let stderr = child.stderr.take().map(reader);
    let until = Instant::now() + TIME_MAX;
    let passed = loop {
        match child.try_wait()? {
            Some(status) => break Some(status.success()),
            None if Instant::now() >= until => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => thread::sleep(POLL),
        }
    };
    let text = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
        let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Ended {
        passed,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

fn reader(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is all there is to show.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// What the first panic said, or the first seed that failed.
fn first_words(ended: &Ended) -> String {
    let lines = ended.stdout.lines().chain(ended.stderr.lines());
    let lines: Vec<&str> = lines.map(str::trim).collect();
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let failed = || {
        lines
            .iter()
            .position(|line| line.contains("FAILED") || line.contains("failed"))
    };
    let words = match panic {
        Some(at) => lines.get(at + 1).copied(),
        None => failed().and_then(|at| lines.get(at).copied()),
    };
    words.unwrap_or("it ended").chars().take(WORDS_MAX).collect()
}
