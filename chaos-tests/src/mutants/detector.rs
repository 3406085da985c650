//! What must catch a mutant: tests under the names by which every commit runs them.

use std::fmt;
use std::path::Path;
use std::process::Command;

use super::Programs;

/// One test, or some seeds of the simulation. It knows nothing of mutants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detector {
    /// One test of one test program.
    Test {
        package: &'static str,
        /// Name of the test program, or of the library.
        program: &'static str,
        name: &'static str,
    },
    /// Seeds of `simulate`, up to and without `last`.
    Seeds {
        layer: &'static str,
        focus: &'static str,
        first: u64,
        last: u64,
    },
}

impl Detector {
    /// How to run it; `None` where its program was not built.
    #[must_use]
    pub fn command(&self, programs: &Programs) -> Option<Command> {
        let mut command;
        match self {
            Self::Test {
                package,
                program,
                name,
            } => {
                let test = programs.test(package, program)?;
                command = Command::new(&test.executable);
                command.current_dir(&test.package_dir).args(["--exact", name]);
            }
            Self::Seeds {
                layer,
                focus,
                first,
                last,
            } => {
                command = Command::new(programs.simulate()?);
                command.args([
                    "--layer",
                    layer,
                    "--focus",
                    focus,
                    "--seeds",
                    &format!("{first}..{last}"),
                ]);
            }
        }
        Some(command)
    }

    /// Whether a run's output shows that something was looked at: a filter that fits no test passes too.
    #[must_use]
    pub fn ran(&self, stdout: &str) -> bool {
        match self {
            Self::Test { .. } => stdout.contains("running 1 test\n"),
            Self::Seeds { .. } => !stdout.is_empty(),
        }
    }

    /// The program's source, which says whether it is a library.
    #[must_use]
    pub fn is_library(&self) -> bool {
        matches!(self, Self::Test { package, program, .. } if package.replace('-', "_") == *program)
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test {
                package,
                program,
                name,
            } => {
                write!(f, "{package} {program} {name}")
            }
            Self::Seeds {
                layer,
                focus,
                first,
                last,
            } => write!(f, "simulate {layer} {focus} {first}..{last}"),
        }
    }
}

/// A built test program and where its package is, which is where cargo would run it.
pub(super) struct TestProgram {
    pub executable: std::path::PathBuf,
    pub package_dir: std::path::PathBuf,
}

impl TestProgram {
    pub(super) fn new(executable: &str, manifest: &str) -> Option<Self> {
        Some(Self {
            executable: executable.into(),
            package_dir: Path::new(manifest).parent()?.to_path_buf(),
        })
    }
}
