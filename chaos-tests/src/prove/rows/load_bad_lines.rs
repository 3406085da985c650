//! A bad line never stops a good one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use spine_client::{LoadLine, LoadReport, SpineClient};

use super::support::{block_on, cluster, last_line, output};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "load-bad-lines",
    issue: 2,
    claim: "a load reports each bad line by number and reason, registers every good one, and repeats harmlessly",
    target: "all good lines registered, all bad ones reported, second run replays all and registers none",
    run,
};

const LINES: u64 = 2_000;
const LINES_QUICK: u64 = 300;
/// Every so many lines one is spoilt.
const BAD_EVERY: u64 = 17;

#[derive(Serialize)]
struct Measured {
    good: u64,
    bad: u64,
    registered: u64,
    reported: u64,
    reported_wrongly: u64,
    replayed: u64,
    registered_again: u64,
    reasons: BTreeMap<String, u64>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} good lines registered, {} of {} bad ones reported ({} wrongly) for {} reasons; \
             second run: {} replayed, {} registered",
            self.registered,
            self.good,
            self.reported,
            self.bad,
            self.reported_wrongly,
            self.reasons.len(),
            self.replayed,
            self.registered_again
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let first = self.registered == self.good && self.reported == self.bad && self.reported_wrongly == 0;
        let again = self.replayed == self.good && self.registered_again == 0;
        first && again && self.bad > 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let count = context.rounds(LINES, LINES_QUICK);
    let directory = tempfile::tempdir()?;
    let mut lines = generate(context, count, directory.path())?;
    let bad = spoil(&mut lines);
    block_on(async move {
        let cluster = cluster(context).await?;
        let client = cluster.client(Duration::from_secs(10))?;
        let first = load(&client, &lines).await?;
        let again = load(&client, &lines).await?;
        let mut reasons = BTreeMap::new();
        for reason in first.1.values() {
            *reasons.entry(reason.clone()).or_default() += 1;
        }
        let reported = |numbers: &BTreeMap<u64, String>, good| {
            numbers.keys().filter(|line| bad.contains(line) != good).count() as u64
        };
        Finding::of(&Measured {
            good: count - bad.len() as u64,
            bad: bad.len() as u64,
            registered: first.0.registered,
            reported: reported(&first.1, false),
            reported_wrongly: reported(&first.1, true) + reported(&again.1, true),
            replayed: again.0.replayed,
            registered_again: again.0.registered,
            reasons,
        })
    })
}

fn generate(context: &Context, count: u64, directory: &Path) -> Result<Vec<LoadLine>, RowError> {
    let spinectl = context.programs.join("spinectl");
    let count = count.to_string();
    let arguments = ["population", "generate", "--count", &count, "--seed", "7"];
    let output = output(&spinectl, &arguments, directory)?;
    if !output.status.success() {
        return Err(RowError::because(format!(
            "population generate: {}",
            last_line(&output.stderr)
        )));
    }
    let text = String::from_utf8(output.stdout).map_err(|error| RowError::because(error.to_string()))?;
    let line = |(number, line): (usize, &str)| LoadLine {
        line: number as u64 + 1,
        fhir_json: Bytes::copy_from_slice(line.as_bytes()),
    };
    Ok(text.lines().enumerate().map(line).collect())
}

/// Spoils some lines, each in one of several ways; returns their numbers.
fn spoil(lines: &mut [LoadLine]) -> BTreeSet<u64> {
    let mut bad = BTreeSet::new();
    for line in lines.iter_mut().filter(|line| line.line % BAD_EVERY == 0) {
        let text = String::from_utf8_lossy(&line.fhir_json).into_owned();
        let spoilt = match line.line / BAD_EVERY % 5 {
            0 => text[..text.len() / 2].to_owned(),
            1 => text.replacen("\"Patient\"", "\"Practitioner\"", 1),
            2 => "{}".to_owned(),
            3 => String::new(),
            _ => wrong_number(&text),
        };
        line.fhir_json = spoilt.into();
        bad.insert(line.line);
    }
    bad
}

/// The same patient under a number whose check digit is wrong.
fn wrong_number(text: &str) -> String {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
    let id = parsed
        .ok()
        .and_then(|patient| patient["id"].as_str().map(str::to_owned))
        .unwrap_or_default();
    let (body, digit) = id.split_at(id.len().saturating_sub(1));
    let digit: u32 = digit.parse().unwrap_or(0);
    text.replace(&id, &format!("{body}{}", (digit + 1) % 10))
}

async fn load(
    client: &SpineClient,
    lines: &[LoadLine],
) -> Result<(LoadReport, BTreeMap<u64, String>), RowError> {
    let mut errors = BTreeMap::new();
    let stream = futures_util::stream::iter(lines.to_vec());
    let report = client
        .pds()
        .load()
        .batch_lines(50)
        .run(stream, |outcome| {
            errors.extend(
                outcome
                    .errors
                    .iter()
                    .map(|error| (error.line, error.reason.clone())),
            );
        })
        .await?;
    Ok((report, errors))
}
