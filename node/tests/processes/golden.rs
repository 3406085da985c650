//! Data directories that each release wrote, opened by this one. `make` writes those of the present release, once:
//! what is in `tests/golden` is never written again, and none of it goes as long as that release can be upgraded from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use spine_client::local_cluster::{LocalCluster, Plan};
use spine_client::population::Population;
use spine_client::{Key, SpineClient};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);
/// The whole directory goes into the repository, so its log is as small as a log can be.
const SETTINGS: [&str; 2] = ["storage.segment_bytes=8388608", "storage.min_free_bytes=67108864"];
const SHARDS: u32 = 2;
const PATIENTS: u64 = 12;
const ENGINES: [&str; 2] = ["sled", "fjall"];
/// Where directories come from.
const MAKE: &str = "`cargo test --workspace --test processes -- --ignored golden::make` writes those of this \
                    release, once; those of an earlier one stand in its commit";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every release, the present one last.
fn releases() -> Vec<&'static str> {
    let lines = include_str!("../../../proto/testdata/releases.txt").lines();
    lines.filter(|line| !line.starts_with('#')).collect()
}

/// What they have left: names without their ends.
fn names() -> Vec<String> {
    let of_one = |release: &str| ENGINES.map(|engine| format!("{release}-{engine}"));
    releases().into_iter().flat_map(of_one).collect()
}

/// One node on this directory. It is a cluster by itself, so that the directory is all there is.
fn node(dir: &Path, engine: &str) -> LocalCluster {
    let settings = SETTINGS.iter().map(ToString::to_string);
    let plan = Plan {
        dir: Some(dir.to_path_buf()),
        nodes: 1,
        shards: SHARDS,
        settings: settings.chain([format!("storage.engine={engine}")]).collect(),
        ..Plan::new(env!("CARGO_BIN_EXE_spine-node"))
    };
    LocalCluster::start(plan).unwrap()
}

/// Changes of every kind; each call changes and adds to what the one before left.
async fn change(client: &SpineClient, round: u64) {
    let records = client.records();
    for number in 0..40 {
        let key = Key::new(format!("golden-{}", number % 8), format!("{number}"));
        match (number + round) % 5 {
            0 => drop(records.delete(&key).await.unwrap()),
            1 => drop(records.put(&key, vec![b'g'; 4_000]).await.unwrap()),
            _ => drop(records.put(&key, format!("{number} in {round}")).await.unwrap()),
        }
    }
    for index in 0..PATIENTS {
        let first = Population::new(7).patient(index);
        if round == 0 {
            client.pds().register(first.json).await.unwrap();
            continue;
        }
        if index % 3 == 0 {
            continue;
        }
        let now = client.pds().retrieve(&first.nhs_number).await.unwrap();
        let mut patient: Value = serde_json::from_slice(&now.fhir_json).unwrap();
        patient["gender"] =
            ["female", "male", "unknown"][usize::try_from((round + index) % 3).unwrap()].into();
        let (number, version) = (now.nhs_number, now.version_id);
        let changed = client.pds().update(&number, version, patient.to_string()).await;
        changed.unwrap();
    }
}

/// Everything a caller can see of it.
async fn seen(client: &SpineClient) -> Value {
    let mut records = BTreeMap::new();
    for number in 0..40 {
        let (routing_key, suffix) = (format!("golden-{}", number % 8), number.to_string());
        let key = Key::new(routing_key.clone(), suffix.clone());
        let found = client.records().get(&key).await.unwrap().record;
        let value = found.map(|record| String::from_utf8(record.value.to_vec()).unwrap());
        records.insert(format!("{routing_key}/{suffix}"), value);
    }
    let mut patients = BTreeMap::new();
    for index in 0..PATIENTS {
        let number = Population::new(7).nhs_number(index);
        let page = client.pds().history(&number, 100, 0).await.unwrap();
        let versions = page.versions.iter().map(|version| {
            let text = String::from_utf8(version.fhir_json.to_vec()).unwrap();
            json!([version.version_id, text])
        });
        patients.insert(number, versions.collect::<Vec<_>>());
    }
    json!({ "records": records, "patients": patients })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_release_has_written_is_read() {
    for name in names() {
        let facts = golden().join(format!("{name}.json"));
        let text = fs::read(&facts).unwrap_or_else(|error| panic!("{name}: {error}: {MAKE}"));
        let known: Value = serde_json::from_slice(&text).unwrap();
        let of = ["release", "engine"].map(|part| known[part].as_str().unwrap());
        assert_eq!(of.join("-"), name, "another one under its name");
        let dir = tempfile::tempdir().unwrap();
        unpack(
            &fs::read(golden().join(format!("{name}.zst"))).unwrap(),
            dir.path(),
        );
        let mut cluster = node(dir.path(), known["engine"].as_str().unwrap());
        cluster.wait_started(1, START).await.unwrap();
        cluster.wait_healthy(START).await.unwrap();
        assert_eq!(seen(cluster.client()).await, known["seen"], "{}", facts.display());
        // It goes on, and comes back by itself.
        change(cluster.client(), 9).await;
        let changed = seen(cluster.client()).await;
        assert_ne!(changed, known["seen"]);
        cluster.kill(1).unwrap();
        cluster.restart(1).unwrap();
        cluster.wait_healthy(START).await.unwrap();
        assert_eq!(seen(cluster.client()).await, changed);
    }
}

/// From the day on which a release is the present one it is opened by every later one.
#[test]
fn every_release_has_its_directories() {
    let present = env!("CARGO_PKG_VERSION");
    assert_eq!(
        releases().last(),
        Some(&present),
        "proto/testdata/releases.txt ends with the release of the workspace"
    );
    let needed: BTreeSet<String> = names()
        .iter()
        .flat_map(|name| ["json", "zst"].map(|end| format!("{name}.{end}")))
        .collect();
    let there: BTreeSet<String> = fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let missing: Vec<&String> = needed.difference(&there).collect();
    assert!(
        missing.is_empty(),
        "not in node/tests/golden: {missing:?}: {MAKE}"
    );
    let unknown: Vec<&String> = there.difference(&needed).collect();
    assert!(
        unknown.is_empty(),
        "of no release in proto/testdata/releases.txt: {unknown:?}"
    );
}

/// `cargo test --workspace --test processes -- --ignored golden::make`, once for each release.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes into the repository, once for each release"]
async fn make() {
    let mut made = 0;
    for engine in ENGINES {
        let name = format!("{}-{engine}", env!("CARGO_PKG_VERSION"));
        let facts = golden().join(format!("{name}.json"));
        if facts.exists() {
            continue;
        }
        made += 1;
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = node(dir.path(), engine);
        cluster.wait_started(1, START).await.unwrap();
        cluster.init().await.unwrap();
        cluster.wait_healthy(START).await.unwrap();
        for round in 0..3 {
            change(cluster.client(), round).await;
            if round == 1 {
                // A part is in the engine, a part in the log alone.
                let admin = cluster.client().admin(cluster.nodes()[0].grpc_address()).unwrap();
                for shard in 0..=SHARDS {
                    admin.compact_replica(shard).await.unwrap();
                }
            }
        }
        let seen = seen(cluster.client()).await;
        assert!(cluster.stop(1, STOP).await.unwrap());
        let known = json!({ "release": env!("CARGO_PKG_VERSION"), "engine": engine, "seen": seen });
        fs::create_dir_all(golden()).unwrap();
        fs::write(golden().join(format!("{name}.zst")), pack(dir.path())).unwrap();
        fs::write(&facts, known.to_string() + "\n").unwrap();
    }
    assert!(made > 0, "those of this release are there already, and stay");
}

/// All files below `node-1/data`, one after the other (length and bytes of its path and of itself), compressed.
fn pack(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut part = |part: &[u8]| {
        bytes.extend_from_slice(&u64::try_from(part.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(part);
    };
    for path in files(&dir.join("node-1/data")) {
        part(path.strip_prefix(dir).unwrap().to_str().unwrap().as_bytes());
        part(&fs::read(&path).unwrap());
    }
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut packed, &bytes, 19).unwrap();
    packed
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn unpack(packed: &[u8], dir: &Path) {
    let length = zstd_safe::get_frame_content_size(packed).unwrap().unwrap();
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap());
    zstd_safe::decompress(&mut bytes, packed).unwrap();
    let mut rest = bytes.as_slice();
    let mut part = || -> Option<&[u8]> {
        let (length, after) = rest.split_first_chunk()?;
        let (part, after) = after.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        rest = after;
        Some(part)
    };
    while let (Some(path), Some(content)) = (part(), part()) {
        let path = dir.join(str::from_utf8(path).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
