//! Programs that others wrote, against a cluster with the sandbox patients: `chaos-tests/acceptance/clients.sh`.

use std::fmt;
use std::fs;
use std::time::Duration;

use serde::Serialize;
use spine_client::population::Population;

use super::pds_cases::open;
use super::support::{block_on, last_line, output};
use crate::processes::Cluster;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const CLIENTS: Row = Row {
    id: "pds-clients",
    issue: 6,
    claim: "existing clients work with another base URL: a PDS script in Python, PyPI fhirpy and fhirclient, npm \
            fhir-kit-client; read, search, create, update, patch, history",
    target: "all as they should be",
    run: run_clients,
};

pub(super) const MEDPLUM: Row = Row {
    id: "medplum",
    issue: 6,
    claim: "answers of both dialects are valid FHIR R4 by npm @medplum/core and the definitions of the standard",
    target: "0 wrong",
    run: run_medplum,
};

pub(super) const SCHEMATHESIS: Row = Row {
    id: "schemathesis",
    issue: 6,
    claim: "PyPI schemathesis against the served OpenAPI document: no 5xx, no answer that is not documented",
    target: "10 minutes, 0 failures",
    run: run_schemathesis,
};

const DEADLINE: Duration = Duration::from_secs(20);
/// `clients.sh` exits so where a registry does not answer.
const SKIPPED: i32 = 77;
const PROGRAMS: [&str; 4] = ["pds", "fhirpy", "fhirclient", "fhir-kit"];
const VALIDATED: u64 = 200;
const VALIDATED_QUICK: u64 = 20;
/// The sandbox, in its directory.
const SANDBOX: &str = "cluster-config/sandbox";

#[derive(Serialize)]
struct Measured {
    passed: Vec<String>,
    skipped: Vec<String>,
    failed: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.passed.join("; "))?;
        for skipped in &self.skipped {
            write!(f, "; {skipped}")?;
        }
        for failed in &self.failed {
            write!(f, "; FAILED {failed}")?;
        }
        Ok(())
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.failed.is_empty() && !self.passed.is_empty()
    }
}

impl Measured {
    fn finding(&self) -> Result<Finding, RowError> {
        if self.passed.is_empty() && self.failed.is_empty() {
            return Ok(Finding::Skipped {
                reason: self.skipped.join("; "),
            });
        }
        Finding::of(self)
    }
}

/// A cluster with the patients that public examples name, as `start.sh` loads them.
async fn sandbox(context: &Context) -> Result<Cluster, RowError> {
    let cluster = open(context).await?;
    let pds = cluster.client(DEADLINE)?.pds();
    let dir = context.root.join(SANDBOX);
    for line in fs::read_to_string(dir.join("patients.ndjson"))?.lines() {
        pds.register(line.to_owned()).await?;
    }
    let second = fs::read_to_string(dir.join("9000000009.json"))?;
    pds.update("9000000009", 1, second).await?;
    Ok(cluster)
}

/// Runs one program and notes how it ended.
fn note(context: &Context, arguments: &[&str], measured: &mut Measured) -> Result<(), RowError> {
    let script = context.root.join("chaos-tests/acceptance/clients.sh");
    let output = tokio::task::block_in_place(|| output(&script, arguments, &context.root))?;
    let name = arguments.first().copied().unwrap_or_default();
    match output.status.code() {
        Some(0) => {
            let said = last_line(&output.stdout);
            measured.passed.push(if said.is_empty() {
                name.to_owned()
            } else {
                format!("{name}: {said}")
            });
        }
        Some(SKIPPED) => measured
            .skipped
            .push(format!("{name} {}", last_line(&output.stdout))),
        _ => {
            let said = [last_line(&output.stdout), last_line(&output.stderr)].join(" ");
            measured.failed.push(format!("{name}: {said}"));
        }
    }
    Ok(())
}

fn nothing() -> Measured {
    Measured {
        passed: Vec::new(),
        skipped: Vec::new(),
        failed: Vec::new(),
    }
}

fn url(cluster: &Cluster, node: usize) -> String {
    format!("http://{}", cluster.http()[node])
}

fn run_clients(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let cluster = sandbox(context).await?;
        let mut measured = nothing();
        for program in PROGRAMS {
            note(
                context,
                &[program, &url(&cluster, 0), &url(&cluster, 1)],
                &mut measured,
            )?;
        }
        measured.finding()
    })
}

fn run_medplum(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let cluster = sandbox(context).await?;
        let pds = cluster.client(DEADLINE)?.pds();
        let mut numbers = ["9000000009", "9000000017", "9000000025", "9000000033"]
            .map(str::to_owned)
            .to_vec();
        let population = Population::new(6);
        for patient in population.patients(0..context.rounds(VALIDATED, VALIDATED_QUICK)) {
            pds.register(patient.json).await?;
            numbers.push(patient.nhs_number);
        }
        let mut measured = nothing();
        note(
            context,
            &["medplum", &url(&cluster, 0), &numbers.join(",")],
            &mut measured,
        )?;
        measured.finding()
    })
}

fn run_schemathesis(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let cluster = sandbox(context).await?;
        let mut measured = nothing();
        let seconds = context.rounds("600", "10");
        note(
            context,
            &["schemathesis", &url(&cluster, 0), seconds],
            &mut measured,
        )?;
        cluster.check_alive()?;
        measured.finding()
    })
}
