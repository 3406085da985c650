//! Data directories that each release wrote, on the program that is proved: read, changed, raised to its level, and read
//! again.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use spine_client::local_cluster::{LocalCluster, LocalClusterError, Plan};
use spine_client::{Key, SpineClient};

use super::support::block_on;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "golden-dirs",
    issue: 5,
    claim: "a data directory of every release since 0.1.0, on each engine, opens with all that was in it, and goes on",
    target: "0 differences before and after the level is raised",
    run,
};

/// As the directories were written.
const SETTINGS: [&str; 2] = ["storage.segment_bytes=8388608", "storage.min_free_bytes=67108864"];
const START: Duration = Duration::from_secs(60);
/// Versions of a patient.
const VERSIONS_MAX: u32 = 100;
/// Every release, the present one last.
const RELEASES: &str = "proto/testdata/releases.txt";
const ENGINES: [&str; 2] = ["sled", "fjall"];
/// Where directories come from.
const MAKE: &str = "`cargo test --workspace --test processes -- --ignored golden::make` writes those of this \
                    release";

#[derive(Default, Serialize)]
struct Measured {
    directories: Vec<String>,
    records: usize,
    versions: usize,
    differences: usize,
    first_difference: Option<String>,
    level: u32,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} records and {} versions of patients, read at level 0 and at level {}, {} differences",
            self.directories.join(", "),
            self.records,
            self.versions,
            self.level,
            self.differences
        )?;
        match &self.first_difference {
            Some(first) => write!(f, " (first: {first})"),
            None => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        !self.directories.is_empty() && self.records > 0 && self.versions > 0 && self.differences == 0
    }
}

impl From<LocalClusterError> for RowError {
    fn from(error: LocalClusterError) -> Self {
        Self::because(error.to_string())
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let all = needed(&context.root)?;
    block_on(async {
        let mut measured = Measured::default();
        for facts in all {
            one(context, &facts, &mut measured).await?;
        }
        Finding::of(&measured)
    })
}

/// What says what is in each of them: of each release, the present one too, one for each engine.
fn needed(root: &Path) -> Result<Vec<PathBuf>, RowError> {
    let list = fs::read_to_string(root.join(RELEASES))?;
    let releases: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let present = env!("CARGO_PKG_VERSION");
    if releases.last() != Some(&present) {
        let why = format!("{RELEASES} does not end with {present}");
        return Err(RowError::because(why));
    }
    let of_one = |release: &str| ENGINES.map(|engine| format!("{release}-{engine}"));
    let mut all = Vec::new();
    for name in releases.into_iter().flat_map(of_one) {
        let facts = root.join(format!("node/tests/golden/{name}.json"));
        if !facts.is_file() {
            let why = format!("{} is missing: {MAKE}", facts.display());
            return Err(RowError::because(why));
        }
        all.push(facts);
    }
    Ok(all)
}

async fn one(context: &Context, facts: &Path, measured: &mut Measured) -> Result<(), RowError> {
    let known: Value = serde_json::from_slice(&fs::read(facts)?).map_err(std::io::Error::other)?;
    let name = facts
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    measured.directories.push(name);
    let dir = tempfile::tempdir()?;
    unpack(&fs::read(facts.with_extension("zst"))?, dir.path())?;
    let engine = known["engine"].as_str().unwrap_or_default();
    let settings = SETTINGS.iter().map(ToString::to_string);
    let plan = Plan {
        dir: Some(dir.path().to_path_buf()),
        nodes: 1,
        settings: settings.chain([format!("storage.engine={engine}")]).collect(),
        ..Plan::new(context.programs.join("spine-node"))
    };
    let mut cluster = LocalCluster::start(plan)?;
    cluster.wait_started(1, START).await?;
    cluster.wait_healthy(START).await?;
    compare(cluster.client(), &known["seen"], measured).await?;
    measured.level = raise(&cluster).await?;
    let key = Key::new("golden-again", "");
    cluster.client().records().put(&key, "here").await?;
    cluster.kill(1)?;
    cluster.restart(1)?;
    cluster.wait_healthy(START).await?;
    compare(cluster.client(), &known["seen"], measured).await?;
    if cluster.client().records().get(&key).await?.record.is_none() {
        measured.differs("what was written into it is gone");
    }
    Ok(())
}

/// The highest level that the program knows, in every shard.
async fn raise(cluster: &LocalCluster) -> Result<u32, RowError> {
    let admin = cluster.client().admin(cluster.nodes()[0].grpc_address())?;
    let level = admin.node_status().await?.level_max;
    for shard in admin.cluster_status().await?.shards {
        admin.raise_level(shard.shard, level).await?;
    }
    Ok(level)
}

/// Everything that was there.
async fn compare(client: &SpineClient, seen: &Value, measured: &mut Measured) -> Result<(), RowError> {
    let empty = serde_json::Map::new();
    for (name, value) in seen["records"].as_object().unwrap_or(&empty) {
        let (routing_key, suffix) = name.split_once('/').unwrap_or((name, ""));
        let found = client
            .records()
            .get(&Key::new(routing_key.to_owned(), suffix.to_owned()))
            .await?
            .record;
        let found = found.map(|record| String::from_utf8_lossy(&record.value).into_owned());
        measured.records += 1;
        if json!(found) != *value {
            measured.differs(&format!("record {name}"));
        }
    }
    for (number, versions) in seen["patients"].as_object().unwrap_or(&empty) {
        let page = client.pds().history(number, VERSIONS_MAX, 0).await?;
        let found = page.versions.iter().map(|version| {
            let text = String::from_utf8_lossy(&version.fhir_json).into_owned();
            json!([version.version_id, text])
        });
        let found: Vec<Value> = found.collect();
        measured.versions += found.len();
        if json!(found) != *versions {
            measured.differs("versions of a patient");
        }
    }
    Ok(())
}

impl Measured {
    fn differs(&mut self, what: &str) {
        self.differences += 1;
        let at = self.directories.last().cloned().unwrap_or_default();
        self.first_difference
            .get_or_insert_with(|| format!("{at}: {what}"));
    }
}

/// Files one after the other, length and bytes of path and content, compressed.
fn unpack(packed: &[u8], dir: &Path) -> Result<(), RowError> {
    let unreadable = || RowError::because("a golden directory cannot be unpacked");
    let length = zstd_safe::get_frame_content_size(packed).map_err(|_| unreadable())?;
    let length = usize::try_from(length.unwrap_or(0)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length);
    zstd_safe::decompress(&mut bytes, packed).map_err(|_| unreadable())?;
    let mut rest = bytes.as_slice();
    let mut part = || -> Option<&[u8]> {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (part, after) = after.split_at_checked(length)?;
        rest = after;
        Some(part)
    };
    while let (Some(path), Some(content)) = (part(), part()) {
        let path = dir.join(String::from_utf8_lossy(path).into_owned());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}
