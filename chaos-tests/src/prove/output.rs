//! The table and its JSON form.

use std::io::{self, Write};

use clap::ValueEnum;

use super::{Row, RowResult, Total};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line for each row, columns between ` | `.
    Table,
    /// One object for each row on a line of its own, then one with the totals.
    Json,
}

/// Prints what rows there are, without running any.
///
/// # Errors
/// What the writer says.
pub fn list(to: &mut impl Write, rows: &[&Row], format: Format) -> io::Result<()> {
    for row in rows {
        match format {
            Format::Table => {
                writeln!(
                    to,
                    "{} | {} | {} | issue {}",
                    row.id, row.claim, row.target, row.issue
                )?;
            }
            Format::Json => {
                let Row {
                    id,
                    claim,
                    target,
                    issue,
                    ..
                } = row;
                let object = serde_json::json!({"id": id, "claim": claim, "target": target, "issue": issue});
                writeln!(to, "{object}")?;
            }
        }
    }
    Ok(())
}

/// # Errors
/// What the writer says.
pub fn print_header(to: &mut impl Write, format: Format) -> io::Result<()> {
    match format {
        Format::Table => writeln!(to, "ID | claim | target | measured | verdict | seconds | command"),
        Format::Json => Ok(()),
    }
}

/// # Errors
/// What the writer says.
pub fn print_result(to: &mut impl Write, result: &RowResult, format: Format) -> io::Result<()> {
    match format {
        Format::Table => {
            let RowResult {
                id,
                claim,
                target,
                measured,
                verdict,
                seconds,
                command,
                ..
            } = result;
            // A measured text is one cell, whatever an error in it says.
            let measured = measured.replace('\n', " ").replace('|', "/");
            writeln!(
                to,
                "{id} | {claim} | {target} | {measured} | {verdict} | {seconds:.1} | {command}"
            )?;
        }
        Format::Json => {
            serde_json::to_writer(&mut *to, result)?;
            writeln!(to)?;
        }
    }
    to.flush()
}

/// # Errors
/// What the writer says.
pub fn print_total(to: &mut impl Write, total: Total, format: Format) -> io::Result<()> {
    match format {
        Format::Table => writeln!(to, "{total}"),
        Format::Json => {
            serde_json::to_writer(&mut *to, &total)?;
            writeln!(to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::Verdict;

    #[test]
    fn one_line_with_seven_columns() {
        let result = RowResult {
            slow_calls: Vec::new(),
            id: "demo",
            issue: 2,
            claim: "c",
            target: "t",
            measured: "a | b\nc".to_owned(),
            facts: serde_json::Value::Null,
            verdict: Verdict::Pass,
            seconds: 1.25,
            report: None,
            command: "x".to_owned(),
        };
        let mut out = Vec::new();
        print_result(&mut out, &result, Format::Table).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert_eq!(line, "demo | c | t | a / b c | PASS | 1.2 | x\n");
    }
}
