//! What a patient takes on a disk, part by part: read from the files of a node that has ended.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message as _;
use serde::Serialize;
use spine_client::SpineClient;
use spine_client::population::Population;
use spine_proto::storage::v1::StoredRecord;
use spine_statemachine::frame;
use spine_statemachine::key::{Family, PREFIX_BYTES};
use spine_storage::engine::{Engine, factory_by_name};

use super::patients::{Patients, checkpoint, cluster};
use super::support::{block_on, tree_bytes};
use crate::processes::Cluster;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "bytes",
    issue: 4,
    claim: "bytes of a generated patient in one replica, version 1, and after one update of each; of version 1 with the tokens \
            that find it, too",
    target: "value, history and envelope <= 350 (gate 583), with the tokens <= 450 (gate 750); after an update of each <= 1.5 x \
             the former (gate 2.5), files <= 1.3 x live bytes (gate 2.17)",
    run,
};

const PATIENTS: u64 = 200_000;
const PATIENTS_QUICK: u64 = 4_000;
const GOAL_BYTES: u64 = 350;
const GATE_BYTES: u64 = 583;
/// The same with the search tokens, of version 1.
const GOAL_FOUND_BYTES: u64 = 450;
const GATE_FOUND_BYTES: u64 = 750;
const GOAL_GROWTH: f64 = 1.5;
const GATE_GROWTH: f64 = 2.5;
const GOAL_FILES: f64 = 1.3;
const GATE_FILES: f64 = 2.17;
/// The seed of the population that is loaded.
const SEED: u64 = 1;
const UPDATERS: usize = 128;
const SETTLE: Duration = Duration::from_secs(60);
/// Pairs read from an engine at once.
const PAGE: usize = 4_096;
/// The kind of a key whose record is an older version.
const KIND_OLDER: u8 = 2;

/// Bytes per patient.
#[derive(Clone, Copy, Default, Serialize)]
struct Parts {
    /// Content of the current version.
    value: u64,
    /// Contents of older versions.
    history: u64,
    /// Keys, frame headers, revisions of both.
    envelope: u64,
    /// By what a search finds it.
    tokens: u64,
    /// What makes the change take effect once; gone after the window.
    requests: u64,
    /// Everything else that an engine holds.
    others: u64,
    /// Files of the engines beyond all of these.
    engine: u64,
}

impl Parts {
    fn patient(&self) -> u64 {
        self.value + self.history + self.envelope
    }

    /// A patient who can be found.
    fn found(&self) -> u64 {
        self.patient() + self.tokens
    }

    fn live(&self) -> u64 {
        self.found() + self.requests + self.others
    }

    fn files(&self) -> f64 {
        (self.live() + self.engine) as f64 / self.live().max(1) as f64
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (value {}, history {}, envelope {}), {} with tokens of {}, request row {}, engine {}, files {:.2} x live",
            self.patient(),
            self.value,
            self.history,
            self.envelope,
            self.found(),
            self.tokens,
            self.requests,
            self.engine,
            self.files()
        )
    }
}

#[derive(Serialize)]
struct Measured {
    patients: u64,
    quick: bool,
    registered: Parts,
    updated: Parts,
}

impl Measured {
    fn growth(&self) -> f64 {
        self.updated.patient() as f64 / self.registered.patient().max(1) as f64
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.registered.patient() <= GOAL_BYTES && self.registered.found() <= GOAL_FOUND_BYTES;
        let met = if small && self.growth() <= GOAL_GROWTH && self.updated.files() <= GOAL_FILES {
            ""
        } else {
            " (goal not met)"
        };
        write!(
            f,
            "{} patients: {}; after an update of each {}: {:.2} x{met}",
            self.patients,
            self.registered,
            self.updated,
            self.growth()
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        // Few patients do not fill an engine's first file.
        let fits = self.quick || self.updated.files() <= GATE_FILES;
        let Self {
            registered, updated, ..
        } = self;
        let is_there = registered.value > 0 && registered.tokens > 0 && updated.history > 0;
        let small = registered.patient() <= GATE_BYTES && registered.found() <= GATE_FOUND_BYTES;
        is_there && small && self.growth() <= GATE_GROWTH && fits
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let count = context.rounds(PATIENTS, PATIENTS_QUICK);
    let patients = Patients::generate(context, count)?;
    block_on(async move {
        let mut cluster = cluster(context).await?;
        tokio::task::block_in_place(|| patients.load(context, &cluster))?;
        let registered = weigh(&mut cluster, &context.engine, count).await?;
        update_all(&cluster, count).await?;
        let updated = weigh(&mut cluster, &context.engine, count).await?;
        Finding::of(&Measured {
            patients: count,
            quick: context.quick,
            registered,
            updated,
        })
    })
}

/// Changes one telephone number of each patient.
async fn update_all(cluster: &Cluster, count: u64) -> Result<(), RowError> {
    let client = cluster.client(SETTLE)?;
    let mut tasks = tokio::task::JoinSet::new();
    for first in (0..).take(UPDATERS) {
        let client = client.clone();
        tasks.spawn(async move {
            let population = Population::new(SEED);
            for index in (first..count).step_by(UPDATERS) {
                update(&client, &population.nhs_number(index)).await?;
            }
            Ok::<_, RowError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| RowError::because(error.to_string()))??;
    }
    Ok(())
}

async fn update(client: &SpineClient, number: &str) -> Result<(), RowError> {
    let patient = client.pds().retrieve(number).await?;
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&patient.fhir_json);
    let mut resource = parsed.map_err(|error| RowError::because(error.to_string()))?;
    resource["telecom"] = serde_json::json!([{ "system": "phone", "use": "home", "value": "01632 960001" }]);
    client
        .pds()
        .update(number, patient.version_id, resource.to_string())
        .await?;
    Ok(())
}

/// Ends the first node in order, looks at its files, and starts it again.
async fn weigh(cluster: &mut Cluster, engine: &str, count: u64) -> Result<Parts, RowError> {
    checkpoint(cluster).await?;
    cluster.kill(0)?;
    let mut parts = Parts::default();
    for directory in engines(cluster.node_directory(0))? {
        let factory = factory_by_name(engine).ok_or_else(|| RowError::because("no such engine"))?;
        let engine = factory
            .open(&directory)
            .map_err(|error| RowError::because(error.to_string()))?;
        let before = parts.live();
        add(&mut parts, engine.as_ref())?;
        drop(engine);
        let files = tree_bytes(&directory)?;
        parts.engine += files.saturating_sub(parts.live() - before);
    }
    cluster.restart(0)?;
    cluster.wait_healthy(SETTLE).await?;
    let each = |bytes: u64| bytes / count;
    Ok(Parts {
        value: each(parts.value),
        history: each(parts.history),
        envelope: each(parts.envelope),
        tokens: each(parts.tokens),
        requests: each(parts.requests),
        others: each(parts.others),
        engine: each(parts.engine),
    })
}

/// Every engine's directory below this one.
fn engines(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if path.file_name().is_some_and(|name| name == "engine") {
            found.push(path);
        } else {
            found.extend(engines(&path)?);
        }
    }
    Ok(found)
}

fn add(parts: &mut Parts, engine: &dyn Engine) -> Result<(), RowError> {
    let mut start = Vec::new();
    loop {
        let page = engine.range(&start, &[], PAGE);
        let page = page.map_err(|error| RowError::because(error.to_string()))?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        start = [last, &[0][..]].concat();
        for (key, stored) in &page {
            weigh_one(parts, key, stored)?;
        }
    }
}

fn weigh_one(parts: &mut Parts, key: &[u8], stored: &[u8]) -> Result<(), RowError> {
    let all = (key.len() + stored.len()) as u64;
    match Family::of(key) {
        Some(Family::Pds) => {
            let record =
                StoredRecord::decode(stored).map_err(|error| RowError::because(error.to_string()))?;
            let content = record.value.len().saturating_sub(frame::HEADER_BYTES) as u64;
            let older = key.get(PREFIX_BYTES - 1) == Some(&KIND_OLDER);
            *if older {
                &mut parts.history
            } else {
                &mut parts.value
            } += content;
            parts.envelope += all - content;
        }
        Some(Family::PdsToken) => parts.tokens += all,
        Some(Family::Request) => parts.requests += all,
        _ => parts.others += all,
    }
    Ok(())
}
