//! Chooses rows and runs them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use serde::Serialize;

use super::{Context, Finding, Row};
use crate::report::{self, Page, SlowCall};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Pass,
    Fail,
    Skipped,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Skipped => "SKIPPED",
        })
    }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct RowResult {
    pub id: &'static str,
    pub issue: u32,
    pub claim: &'static str,
    pub target: &'static str,
    pub measured: String,
    pub facts: serde_json::Value,
    pub verdict: Verdict,
    pub seconds: f64,
    pub command: String,
    /// The slowest of the clients in this process, of those above 100 ms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slow_calls: Vec<SlowCall>,
    /// The HTML report of a failed row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

/// The last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
}

impl Total {
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass => self.passed += 1,
            Verdict::Fail => self.failed += 1,
            Verdict::Skipped => self.skipped += 1,
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// The rows asked for, in the order of the table.
///
/// # Errors
/// An id that is no row, or an issue that has none.
pub fn select<'a>(rows: &'a [Row], issue: Option<u32>, only: &[String]) -> Result<Vec<&'a Row>, String> {
    for id in only {
        if !rows.iter().any(|row| row.id == *id) {
            let known: Vec<&str> = rows.iter().map(|row| row.id).collect();
            return Err(format!("no row is called {id}; there are: {}", known.join(", ")));
        }
    }
    let chosen: Vec<&Row> = rows
        .iter()
        .filter(|row| issue.is_none_or(|issue| row.issue == issue))
        .filter(|row| only.is_empty() || only.iter().any(|id| id == row.id))
        .collect();
    if chosen.is_empty() {
        return Err("no row belongs to this choice; see --list".to_owned());
    }
    Ok(chosen)
}

/// Measures one row. An error or a panic of the row is a failure, never a skip.
#[must_use]
pub fn run(row: &Row, context: &Context) -> RowResult {
    let began = Instant::now();
    context.journal.clear();
    drop(context.slow_calls.take());
    let found = catch_unwind(AssertUnwindSafe(|| (row.run)(context)));
    let nothing = serde_json::Value::Null;
    let (verdict, measured, facts) = match found {
        Ok(Ok(Finding::Measured { met, text, facts })) => {
            (if met { Verdict::Pass } else { Verdict::Fail }, text, facts)
        }
        Ok(Ok(Finding::Skipped { reason })) => (Verdict::Skipped, reason, nothing),
        Ok(Err(error)) => (Verdict::Fail, format!("not measured: {error}"), nothing),
        Err(_) => (
            Verdict::Fail,
            "not measured: the row panicked, see above".to_owned(),
            nothing,
        ),
    };
    let command = row.command(context.quick);
    let slow_calls = context.slow_calls.take();
    let report = (verdict == Verdict::Fail).then(|| {
        // All that was measured: the one line keeps of a hundred faults only the worst.
        let facts = (!facts.is_null()).then(|| facts.to_string());
        let calls = slow_calls.iter().map(ToString::to_string);
        let lines: Vec<String> = facts.into_iter().chain(calls).collect();
        report(row, &measured, &lines, &command, context)
    });
    RowResult {
        slow_calls,
        report,
        id: row.id,
        issue: row.issue,
        claim: row.claim,
        target: row.target,
        measured,
        facts,
        verdict,
        seconds: began.elapsed().as_secs_f64(),
        command,
    }
}

/// Writes the report of a failed row and gives its path, or why there is none.
fn report(row: &Row, measured: &str, lines: &[String], command: &str, context: &Context) -> String {
    let page = Page {
        title: &format!("prove {}", row.id),
        problem: &format!("{}: target {}, measured {measured}", row.claim, row.target),
        command,
        lines,
    };
    match report::write(
        &context.root.join("target").join("reports"),
        &page,
        &context.journal,
    ) {
        Ok(path) => path.display().to_string(),
        Err(error) => format!("not written: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::prove::{Measurement, RowError};
    use crate::report::{Journal, SlowCalls};

    #[derive(Serialize)]
    struct Lost(u32);
    impl fmt::Display for Lost {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} lost", self.0)
        }
    }
    impl Measurement for Lost {
        fn met(&self) -> bool {
            self.0 == 0
        }
    }

    fn row(id: &'static str, issue: u32, run: fn(&Context) -> Result<Finding, RowError>) -> Row {
        Row {
            id,
            issue,
            claim: "nothing is lost",
            target: "0 lost",
            run,
        }
    }

    fn rows() -> Vec<Row> {
        vec![
            row("good", 2, |_| Finding::of(&Lost(0))),
            row("bad", 2, |_| Finding::of(&Lost(3))),
            row("broken", 3, |_| Err(RowError::because("no such port"))),
            row("panics", 3, |_| panic!("on purpose")),
            row("missing", 3, |_| {
                Ok(Finding::Skipped {
                    reason: "no strace".to_owned(),
                })
            }),
        ]
    }

    fn context() -> Context {
        Context {
            engine: "sled".to_owned(),
            quick: true,
            programs: PathBuf::new(),
            root: std::env::temp_dir().join("spine-prove-tests"),
            journal: Journal::default(),
            slow_calls: SlowCalls::default(),
        }
    }

    #[test]
    fn every_end_has_its_verdict() {
        let mut total = Total::default();
        let mut measured = Vec::new();
        for row in &rows() {
            let result = run(row, &context());
            total.add(result.verdict);
            measured.push(result.measured);
        }
        assert_eq!(total.to_string(), "1 passed, 3 failed, 1 skipped");
        let failed = run(&rows()[1], &context());
        let html = std::fs::read_to_string(failed.report.unwrap()).unwrap();
        assert!(html.contains("3 lost") && html.contains("cargo prove --only bad --quick"));
        assert_eq!(&measured[..3], ["0 lost", "3 lost", "not measured: no such port"]);
    }

    #[test]
    fn unknown_ids_and_empty_choices_are_errors() {
        let rows = rows();
        let ids = |chosen: Vec<&Row>| chosen.iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(select(&rows, Some(2), &[]).unwrap()), ["good", "bad"]);
        assert_eq!(
            ids(select(&rows, None, &["panics".to_owned()]).unwrap()),
            ["panics"]
        );
        assert!(
            select(&rows, None, &["nope".to_owned()])
                .err()
                .unwrap()
                .contains("good, bad")
        );
        assert!(select(&rows, Some(9), &[]).is_err());
    }

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<&str> = crate::prove::rows::ROWS.iter().map(|row| row.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
