//! Bugs planted on purpose: the tests must notice each.

use std::fmt;

use serde::Serialize;

use super::support::{last_line, output};
use crate::mutants::{Detector, MUTANTS, Mutant};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "mutants",
    issue: 3,
    claim: "each of the bugs planted on purpose is noticed by a test of every commit, and a release build holds none",
    target: "0 missed (quick: those of the storage that tests outside it notice), 0 names of bugs in the released programs",
    run,
};

/// What users run; their bytes must not hold the name of any mutant.
const RELEASED: [&str; 2] = ["spine-node", "spinectl"];
/// Packages whose tests build in a minute or two.
const QUICK: [&str; 1] = ["spine-storage"];

#[derive(Serialize)]
struct Measured {
    mutants: usize,
    caught: usize,
    missed: usize,
    names_in_release: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mutants, caught, missed) = (self.mutants, self.caught, self.missed);
        let names = &self.names_in_release;
        write!(
            f,
            "{mutants} mutants, {caught} caught, {missed} missed, {} names in released programs {names:?}",
            names.len()
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.mutants > 0 && self.missed == 0 && self.names_in_release.is_empty()
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let chosen = MUTANTS.iter().filter(|mutant| !context.quick || is_quick(mutant));
    let mut arguments = Vec::new();
    for mutant in chosen {
        arguments.extend(["--only", mutant.name]);
    }
    let output = output(&context.programs.join("mutants"), &arguments, &context.root)?;
    let last = last_line(&output.stdout);
    let Some([mutants, caught, missed]) = counts(&last) else {
        return Err(RowError::because(last_line(&output.stderr)));
    };
    Finding::of(&Measured {
        mutants,
        caught,
        missed,
        names_in_release: names_in_release(context)?,
    })
}

fn is_quick(mutant: &Mutant) -> bool {
    // For tests inside a library cargo would build those of every package.
    matches!(mutant.caught_by, Detector::Test { package, .. } if QUICK.contains(&package))
        && !mutant.caught_by.is_library()
}

/// Of `mutants: N caught: N missed: N`.
fn counts(line: &str) -> Option<[usize; 3]> {
    let numbers: Vec<usize> = line
        .strip_prefix("mutants:")?
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers.try_into().ok()
}

fn names_in_release(context: &Context) -> Result<Vec<String>, RowError> {
    let mut found = Vec::new();
    for program in RELEASED {
        let bytes = std::fs::read(context.programs.join(program))?;
        let holds = |name: &str| memchr::memmem::find(&bytes, name.as_bytes()).is_some();
        let names = MUTANTS
            .iter()
            .map(|mutant| mutant.name)
            .filter(|name| holds(name));
        found.extend(names.map(|name| format!("{program}: {name}")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_read() {
        assert_eq!(counts("mutants: 42 caught: 41 missed: 1"), Some([42, 41, 1]));
        assert_eq!(counts("mutants: no mutant is called x"), None);
    }
}
