//! What a `spine-node` program says about itself.

use std::path::{Path, PathBuf};

/// A program that a node can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it is, on the node's machine.
    pub path: PathBuf,
    /// Its release.
    pub release: String,
    /// The commit it was built from.
    pub commit: String,
    /// Layout of a data directory that it writes.
    pub stored_format: u32,
    /// Oldest protocol between nodes that it speaks.
    pub wire_min: u32,
    /// Newest protocol between nodes that it speaks.
    pub wire_max: u32,
    /// Lowest level that it can follow.
    pub level_min: u32,
    /// Highest level that it can follow.
    pub level_max: u32,
}

/// What programs can follow that do not say it: those of before the level could be raised.
const LEVELS_UNSAID: (u32, u32) = (0, 1);

/// Not the text of `spine-node --version`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{} --version` does not say {missing}: it is no spine-node of this kind", path.display())]
pub struct ProgramError {
    /// Which program.
    pub path: PathBuf,
    /// What was looked for.
    pub missing: &'static str,
}

impl Program {
    /// Reads what `--version` printed.
    ///
    /// # Errors
    /// [`ProgramError`]
    pub fn parse(path: &Path, version: &str) -> Result<Self, ProgramError> {
        let line = |prefix: &'static str| {
            let found = version.lines().find_map(|line| line.strip_prefix(prefix));
            found.map(str::trim).ok_or_else(|| ProgramError {
                path: path.to_path_buf(),
                missing: prefix,
            })
        };
        let number = |text: &str, missing| {
            text.parse().map_err(|_| ProgramError {
                path: path.to_path_buf(),
                missing,
            })
        };
        let range = |text: &str, missing| {
            let (min, max) = text.split_once(" to ").unwrap_or((text, text));
            Ok((number(min, missing)?, number(max, missing)?))
        };
        let (wire_min, wire_max) = range(line("wire ")?, "wire ")?;
        let (level_min, level_max) = match line("levels ") {
            Ok(levels) => range(levels, "levels ")?,
            Err(_) => LEVELS_UNSAID,
        };
        Ok(Self {
            path: path.to_path_buf(),
            release: line("spine-node ")?.to_owned(),
            commit: line("commit ")?.to_owned(),
            stored_format: number(line("stored format ")?, "stored format ")?,
            wire_min,
            wire_max,
            level_min,
            level_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_node_prints() {
        let said = "spine-node 0.2.0\ncommit abc\nstored format 1\nwire 1 to 2\n";
        let program = Program::parse(Path::new("/n"), said).expect("a version");
        assert_eq!(
            (program.release.as_str(), program.commit.as_str()),
            ("0.2.0", "abc")
        );
        assert_eq!(
            (program.stored_format, program.wire_min, program.wire_max),
            (1, 1, 2)
        );
        assert_eq!(
            (program.level_min, program.level_max),
            (0, 1),
            "of before it was said"
        );
        let said = format!("{said}levels 1 to 3\n");
        let program = Program::parse(Path::new("/n"), &said).expect("a version");
        assert_eq!((program.level_min, program.level_max), (1, 3));
    }

    #[test]
    fn another_program_is_refused() {
        for (said, missing) in [
            ("bash 5\n", "wire "),
            ("spine-node 1\nwire 1 to 2\n", "commit "),
            (
                "spine-node 1\ncommit a\nstored format 1\nwire 1 to 2\nlevels some\n",
                "levels ",
            ),
            (
                "spine-node 1\ncommit a\nstored format one\nwire 1 to 2\n",
                "stored format ",
            ),
        ] {
            let refused = Program::parse(Path::new("/n"), said).expect_err("refused");
            assert_eq!(refused.missing, missing);
        }
    }
}
