//! One build that holds every mutant, apart from all other builds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::detector::TestProgram;
use super::{Detector, Mutant};

/// Where the build goes, in the repository.
pub const TARGET_DIR: &str = "target/mutants";
/// The environment's flags replace those of `.cargo/config.toml`, so what stands there is here too.
const RUSTFLAGS: &str = "--cfg tokio_unstable --cfg spine_mutants";

/// What was built.
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
    let mut programs = Programs {
        tests: BTreeMap::new(),
        simulate: None,
    };
    let detectors: BTreeSet<Detector> = mutants.iter().map(|mutant| mutant.caught_by).collect();
    let is_test = |detector: &&Detector| matches!(detector, Detector::Test { .. });
    let mut wanted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for detector in detectors.iter().filter(is_test) {
        let (package, program) = detector.program();
        let which = if detector.is_library() {
            vec!["--lib".to_owned()]
        } else {
            vec!["--test".to_owned(), program.to_owned()]
        };
        wanted.entry(package).or_default().insert(which.join(" "));
    }
    // One call for each package: names of test programs repeat.
    for (package, which) in wanted {
        let mut arguments = vec!["test", "--no-run", "-p", package];
        arguments.extend(which.iter().flat_map(|words| words.split(' ')));
        cargo(root, &arguments, &mut programs)?;
    }
    if detectors.iter().all(|detector| is_test(&detector)) {
        return Ok(programs);
    }
    cargo(
        root,
        &["build", "-p", "spine-chaos-tests", "--bin", "simulate"],
        &mut programs,
    )?;
    Ok(programs)
}

fn cargo(root: &Path, arguments: &[&str], programs: &mut Programs) -> io::Result<()> {
    let output = Command::new("cargo")
        .args(arguments)
        .args([
            "--profile",
            "mutants",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(root)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", RUSTFLAGS)
        .env("CARGO_TARGET_DIR", root.join(TARGET_DIR))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("cargo {}", arguments.join(" "))));
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Ok(artifact) = serde_json::from_str::<Artifact>(line) {
            programs.take(artifact);
        }
    }
    Ok(())
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
