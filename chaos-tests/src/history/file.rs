//! Histories as files: one operation per line.

use std::io::{BufRead, Write};

use super::Operation;

/// Why a history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("line {line} of the history is not an operation: {source}")]
    Line { line: usize, source: serde_json::Error },
    #[error("the history could not be read or written: {0}")]
    Io(#[from] std::io::Error),
}

/// Writes one operation per line.
///
/// # Errors
/// What the writer says.
pub fn write_lines(to: &mut impl Write, operations: &[Operation]) -> Result<(), FileError> {
    for operation in operations {
        serde_json::to_writer(&mut *to, operation).map_err(std::io::Error::other)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

/// Reads what [`write_lines`] wrote; empty lines are skipped.
///
/// # Errors
/// A line that is not an operation, or what the reader says.
pub fn read_lines(from: impl BufRead) -> Result<Vec<Operation>, FileError> {
    let mut operations = Vec::new();
    for (number, line) in from.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let operation = serde_json::from_str(&line).map_err(|source| FileError::Line {
            line: number + 1,
            source,
        })?;
        operations.push(operation);
    }
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::History;

    #[test]
    fn lines_come_back() {
        let mut history = History::new();
        history.put(1, "a", 1).at(0, 1).ok(0, 5);
        history.cas(1, "a", Some(1), 2).at(2, 3).rejected();
        history.delete(2, "a").at(4, 5).unknown();
        history.read(3, "a").at(6, 7).sees(Some(1), 0, 5, 9);
        let operations = history.operations();
        let mut file = Vec::new();
        write_lines(&mut file, &operations).unwrap();
        assert_eq!(read_lines(file.as_slice()).unwrap(), operations);
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = read_lines("\n{}\n".as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 2 "), "{error}");
    }
}
