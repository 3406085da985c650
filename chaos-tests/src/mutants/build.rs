//! One build that holds every mutant, of the packages here alone: dependencies are those of `cargo test`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::detector::TestProgram;
use super::{Detector, Mutant};

/// Adds `--cfg spine_mutants` for the packages of the workspace.
const WRAPPER: &str = "chaos-tests/mutants-rustc.sh";
/// The test program beside which cargo builds `simulate`, as for every test program of its package.
const BESIDE_SIMULATE: &str = "it";

/// What was built.
#[derive(Default)]
pub struct Programs {
    /// By package and program.
    tests: BTreeMap<(String, String), TestProgram>,
    simulate: Option<PathBuf>,
}

impl Programs {
    pub(super) fn test(&self, package: &str, program: &str) -> Option<&TestProgram> {
        self.tests.get(&(package.to_owned(), program.to_owned()))
    }

    pub(super) fn simulate(&self) -> Option<&Path> {
        self.simulate.as_deref()
    }
}

/// One line of cargo's report, as far as it matters.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    #[serde(default)]
    manifest_path: String,
    #[serde(default)]
    package_id: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds everything that the detectors of these mutants need.
///
/// # Errors
/// Cargo cannot be run, or fails.
pub fn build(root: &Path, mutants: &[&Mutant]) -> io::Result<Programs> {
    let mut programs = Programs::default();
    let wanted: BTreeSet<Vec<&str>> = mutants.iter().map(|mutant| target(&mutant.caught_by)).collect();
    let output = Command::new("cargo")
        // The whole workspace, so that features and with them dependencies are those of its tests.
        .args(["test", "--workspace", "--no-run"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(wanted.into_iter().flatten())
        .current_dir(root)
        .env("RUSTC_WORKSPACE_WRAPPER", root.join(WRAPPER))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other("cargo could not build the mutants"));
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Ok(artifact) = serde_json::from_str::<Artifact>(line) {
            programs.take(artifact);
        }
    }
    Ok(programs)
}

/// How cargo is told of what a detector needs.
fn target(detector: &Detector) -> Vec<&'static str> {
    match detector {
        Detector::Test { program, .. } if !detector.is_library() => vec!["--test", program],
        Detector::Test { .. } => vec!["--lib"],
        Detector::Seeds { .. } => vec!["--test", BESIDE_SIMULATE],
    }
}

impl Programs {
    fn take(&mut self, artifact: Artifact) {
        let (Some(target), Some(profile), Some(executable)) =
            (artifact.target, artifact.profile, artifact.executable)
        else {
            return;
        };
        if artifact.reason != "compiler-artifact" {
            return;
        }
        // path+file:///somewhere#name@version
        let name = artifact.package_id.rsplit('#').next().unwrap_or_default();
        let package = name.split('@').next().unwrap_or_default().to_owned();
        if profile.test {
            if let Some(test) = TestProgram::new(&executable, &artifact.manifest_path) {
                self.tests.insert((package, target.name), test);
            }
        } else if target.name == "simulate" {
            self.simulate = Some(executable.into());
        }
    }
}
