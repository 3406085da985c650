//! The two scripts, as a newcomer runs them.

use std::fmt;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use spine_client::{Key, SpineClient};
use tempfile::TempDir;

use super::support::{block_on, output};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "start-stop",
    issue: 2,
    claim: "start.sh brings up three nodes with patients and those of the sandbox, prints a curl line that shows one of them, \
            refuses taken ports, and finds all data after stop.sh",
    target: "every step as said, 0 records lost, 0 processes left",
    run,
};

const PATIENTS: u64 = 10_000;
const PATIENTS_QUICK: u64 = 300;
const NODES: u16 = 3;
/// Ports are looked for from here on; below those the kernel gives to outgoing connections.
const PORT_FIRST: u16 = 12_000;
const PORT_STEP: u16 = 400;
const PORT_LAST: u16 = 19_000;
/// What the sandbox is, from the root.
const SANDBOX: &str = "cluster-config/sandbox/patients.ndjson";
/// The patient of the curl line; loaded in two versions.
const SHOWN: &str = "9000000009";
const SHOWN_VERSION: u32 = 2;
/// What the line then answers.
const SHOWN_ANSWER: &str = "200 9000000009";

#[derive(Default, Serialize)]
struct Measured {
    patients: u64,
    records_before: u64,
    records_after: u64,
    sandbox: usize,
    sandbox_missing: Vec<String>,
    /// What the printed curl line answers; `None` where there is no curl.
    printed_line: Option<String>,
    refused_taken_ports: bool,
    written_found_again: bool,
    ports_free_after_stop: bool,
    start_again_ms: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} patients, {} records before and {} after, {} of the sandbox of which {} missing, printed line: {}, taken \
             ports refused: {}, write found again: {}, ports free after stop: {}, second start {} ms",
            self.patients,
            self.records_before,
            self.records_after,
            self.sandbox,
            self.sandbox_missing.len(),
            self.printed_line.as_deref().unwrap_or("SKIPPED, no curl"),
            self.refused_taken_ports,
            self.written_found_again,
            self.ports_free_after_stop,
            self.start_again_ms
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.records_before >= self.patients
            && self.records_after >= self.records_before
            && self.sandbox > 0
            && self.sandbox_missing.is_empty()
            && self
                .printed_line
                .as_deref()
                .is_none_or(|said| said == SHOWN_ANSWER)
            && self.refused_taken_ports
            && self.written_found_again
            && self.ports_free_after_stop
    }
}

/// A cluster that the scripts run; stopped whatever happens.
pub(super) struct Scripts<'a> {
    context: &'a Context,
    directory: TempDir,
    base_port: u16,
}

impl<'a> Scripts<'a> {
    /// In a directory of its own; nothing is started yet.
    pub(super) fn new(context: &'a Context) -> Result<Self, RowError> {
        Ok(Self {
            context,
            directory: tempfile::tempdir()?,
            base_port: free_base().ok_or_else(|| RowError::because("no free block of ports"))?,
        })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(super) fn script(&self, name: &str, arguments: &[&str]) -> Result<Output, RowError> {
        let data = self.data().display().to_string();
        let arguments = [&["--data", &data], arguments].concat();
        output(
            &self.context.root.join("cluster-config").join(name),
            &arguments,
            &self.context.root,
        )
    }

    pub(super) fn start(&self, patients: u64) -> Result<Output, RowError> {
        let programs = self.context.programs.display().to_string();
        let (port, patients) = (self.base_port.to_string(), patients.to_string());
        self.script(
            "start.sh",
            &[
                "--base-port",
                &port,
                "--patients",
                &patients,
                "--bin-dir",
                &programs,
            ],
        )
    }

    pub(super) fn must(&self, output: &Output, what: &str) -> Result<(), RowError> {
        if output.status.success() {
            return Ok(());
        }
        // All of it: the reason comes first, what was stopped after it.
        let said = String::from_utf8_lossy(&output.stderr);
        Err(RowError::because(format!("{what}: {}", said.trim())))
    }

    fn ports(&self) -> Vec<u16> {
        (1..=NODES)
            .flat_map(|node| [0, 100, 200, 300].map(|lane| self.base_port + lane + node))
            .collect()
    }

    pub(super) fn client(&self) -> Result<SpineClient, RowError> {
        let endpoints = (1..=NODES).map(|node| format!("127.0.0.1:{}", self.base_port + node));
        Ok(SpineClient::builder()
            .endpoints(endpoints)
            .deadline(Duration::from_secs(10))
            .connect()?)
    }

    /// The numbers of the sandbox, and those of them that are not there as they should be.
    async fn sandbox(&self) -> Result<(usize, Vec<String>), RowError> {
        let lines = fs::read_to_string(self.context.root.join(SANDBOX))?;
        let numbers: Vec<String> = lines.lines().filter_map(number_of).collect();
        let pds = self.client()?.pds();
        let mut missing = Vec::new();
        for number in &numbers {
            let found = pds.retrieve(number).await;
            let expected = if number == SHOWN { SHOWN_VERSION } else { 1 };
            if found.is_ok_and(|patient| patient.version_id == expected) {
                continue;
            }
            missing.push(number.clone());
        }
        Ok((numbers.len(), missing))
    }

    /// Records of all shards, as the replica that holds most of each shows them.
    async fn records(&self) -> Result<u64, RowError> {
        let client = self.client()?;
        let status = client
            .admin(&format!("127.0.0.1:{}", self.base_port + 1))?
            .cluster_status()
            .await?;
        let of = |shard: &spine_proto::admin::v1::ShardSummary| {
            shard
                .replicas
                .iter()
                .map(|replica| replica.record_count)
                .max()
                .unwrap_or(0)
        };
        Ok(status.shards.iter().map(of).sum())
    }
}

impl Drop for Scripts<'_> {
    fn drop(&mut self) {
        let _ = self.script("stop.sh", &[]);
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let scripts = Scripts::new(context)?;
    let base_port = scripts.base_port;
    let patients = context.rounds(PATIENTS, PATIENTS_QUICK);
    let mut measured = Measured {
        patients,
        ..Measured::default()
    };
    let key = Key::new("start-stop", "");

    let started = scripts.start(patients)?;
    scripts.must(&started, "start.sh")?;
    measured.printed_line = printed_line(&started.stdout, &context.root)?;
    let revision = block_on(async {
        let written = scripts.client()?.records().put(&key, "here").await?;
        (measured.sandbox, measured.sandbox_missing) = scripts.sandbox().await?;
        measured.records_before = scripts.records().await?;
        Ok(written.revision)
    })?;
    let second = Scripts {
        context,
        directory: tempfile::tempdir()?,
        base_port,
    };
    let refused = second.start(0)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    measured.refused_taken_ports = !refused.status.success() && said.contains(&(base_port + 1).to_string());

    scripts.must(&scripts.script("stop.sh", &[])?, "stop.sh")?;
    measured.ports_free_after_stop = all_free(&scripts.ports());
    let again = Instant::now();
    scripts.must(&scripts.start(patients)?, "start.sh again")?;
    measured.start_again_ms = u64::try_from(again.elapsed().as_millis()).unwrap_or(u64::MAX);
    block_on(async {
        let found = scripts.client()?.records().get(&key).await?;
        measured.written_found_again = found.record.is_some_and(|record| record.revision == revision);
        measured.sandbox_missing.extend(scripts.sandbox().await?.1);
        measured.records_after = scripts.records().await?;
        Ok(())
    })?;
    scripts.must(&scripts.script("stop.sh", &[])?, "stop.sh again")?;
    measured.ports_free_after_stop &= all_free(&scripts.ports());
    Finding::of(&measured)
}

/// The `id` of a line.
fn number_of(line: &str) -> Option<String> {
    let patient: Value = serde_json::from_str(line).ok()?;
    patient["id"].as_str().map(str::to_owned)
}

/// Runs the line that is printed for people to try: the status of its answer, and who is in it.
fn printed_line(printed: &[u8], root: &Path) -> Result<Option<String>, RowError> {
    if Command::new("curl").arg("--version").output().is_err() {
        return Ok(None);
    }
    let printed = String::from_utf8_lossy(printed);
    let mut lines = printed.lines().map(str::trim);
    let Some(line) = lines.find(|line| line.starts_with("curl ") && line.ends_with(SHOWN)) else {
        return Ok(Some("not printed".to_owned()));
    };
    // The status stands on a line of its own behind the answer.
    let script = format!("{line} --max-time 20 -w '\\n%{{http_code}}'");
    let answer = output(Path::new("bash"), &["-c", &script], root)?.stdout;
    let answer = String::from_utf8_lossy(&answer);
    let Some((patient, status)) = answer.rsplit_once('\n') else {
        return Ok(Some("no answer".to_owned()));
    };
    let who = number_of(patient).unwrap_or_else(|| "nobody".to_owned());
    Ok(Some(format!("{status} {who}")))
}

fn free_base() -> Option<u16> {
    let ports = |base: &u16| {
        (1..=NODES)
            .flat_map(|node| [0, 100, 200, 300].map(|lane| base + lane + node))
            .collect::<Vec<_>>()
    };
    (PORT_FIRST..PORT_LAST)
        .step_by(usize::from(PORT_STEP))
        .find(|base| all_free(&ports(base)))
}

fn all_free(ports: &[u16]) -> bool {
    ports
        .iter()
        .all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}
