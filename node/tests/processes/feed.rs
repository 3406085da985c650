//! The feed of patients of a cluster of real processes: what is seen, in which order, and how a reader goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use spine_client::local_cluster::{LocalCluster, Plan, free_ports};
use spine_client::population::Population;
use spine_client::{PatientsFrom, Pds};

use crate::sse::Sse;

const START: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(30);
const PATIENTS: u64 = 12;
/// Feeds of one mebibyte, of which each of a node's replicas has its share.
const SMALL_FEEDS: &str = "storage.feed_bytes=1048576";

async fn cluster(shards: u32, settings: &[&str]) -> (LocalCluster, Vec<String>) {
    let ports = free_ports(3).unwrap();
    let common = ["storage.segment_bytes=8388608", "storage.min_free_bytes=67108864"];
    let http = ports
        .iter()
        .map(|port| vec![format!("listen.http=127.0.0.1:{port}")]);
    let plan = Plan {
        shards,
        settings: common.iter().chain(settings).map(ToString::to_string).collect(),
        node_settings: http.collect(),
        ..Plan::new(env!("CARGO_BIN_EXE_spine-node"))
    };
    let cluster = LocalCluster::launch(plan, START).await.unwrap();
    let addresses = ports.iter().map(|port| format!("127.0.0.1:{port}"));
    (cluster, addresses.collect())
}

/// Writes one more version of each patient, and gives each patient's newest version.
async fn write_all(pds: &Pds, newest: &mut BTreeMap<String, u32>) {
    write_some(pds, 0..PATIENTS, newest).await;
}

/// The same of these patients.
async fn write_some(pds: &Pds, patients: Range<u64>, newest: &mut BTreeMap<String, u32>) {
    for index in patients {
        let patient = Population::new(5).patient(index);
        let written = match newest.get(&patient.nhs_number) {
            None => pds.register(patient.json).await.unwrap(),
            Some(version) => pds
                .update(&patient.nhs_number, *version, patient.json)
                .await
                .unwrap(),
        };
        newest.insert(patient.nhs_number, written.patient.version_id);
    }
}

/// What one reader has seen: of every patient the versions in their order, each once.
#[derive(Default)]
struct Seen(BTreeMap<String, u32>);

impl Seen {
    fn note(&mut self, number: &str, version: u32) {
        let before = self.0.insert(number.to_owned(), version).unwrap_or(0);
        assert_eq!(version, before + 1, "each version once and in order");
    }
}

/// Reads over HTTP at one node after another, each time behind what was seen last, until everything was seen.
async fn read_over_http(addresses: Vec<String>, mut last_id: String, expected: Arc<ExpectedSlot>) -> usize {
    let mut seen = Seen::default();
    let mut connections = 0;
    for address in addresses.iter().cycle() {
        let mut feed = match Sse::open(address, "", &last_id).await {
            Ok(feed) => feed,
            Err((0 | 503, _)) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(other) => panic!("{other:?}"),
        };
        connections += 1;
        loop {
            if expected.is_met(&seen.0) {
                return connections;
            }
            let next = tokio::time::timeout(Duration::from_millis(200), feed.next()).await;
            let Ok(next) = next else { continue };
            let Some(event) = next else { break };
            if event.name == "patient" {
                let resource: Value = serde_json::from_str(&event.data).unwrap();
                let version = resource["meta"]["versionId"].as_str().unwrap().parse().unwrap();
                seen.note(resource["id"].as_str().unwrap(), version);
            } else {
                assert_eq!(event.name, "end");
            }
            last_id = event.id;
        }
    }
    unreachable!("there are addresses")
}

/// Known only at the end.
#[derive(Default)]
struct ExpectedSlot {
    known: AtomicBool,
    newest: std::sync::Mutex<BTreeMap<String, u32>>,
}

impl ExpectedSlot {
    fn is_met(&self, seen: &BTreeMap<String, u32>) -> bool {
        self.known.load(Ordering::Acquire) && *self.newest.lock().unwrap() == *seen
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_is_seen_once_and_in_order_while_each_node_is_killed() {
    let (mut cluster, addresses) = cluster(3, &[]).await;
    let pds = cluster.client().pds();
    let mut library = pds.watch(PatientsFrom::Now);
    library.begin().await.unwrap();
    let mut first = Sse::open(&addresses[0], "", "").await.ok().unwrap();
    first.began().await;
    let expected = Arc::<ExpectedSlot>::default();
    let reading = tokio::spawn(read_over_http(
        addresses.clone(),
        first.last_id.clone(),
        Arc::clone(&expected),
    ));
    let mut newest = BTreeMap::new();
    for number in 1..=3 {
        write_all(&pds, &mut newest).await;
        cluster.kill(number).unwrap();
        write_all(&pds, &mut newest).await;
        cluster.restart(number).unwrap();
        cluster.wait_healthy(SOON).await.unwrap();
    }
    expected.newest.lock().unwrap().clone_from(&newest);
    expected.known.store(true, Ordering::Release);
    let connections = tokio::time::timeout(SOON, reading).await.unwrap().unwrap();
    assert!(
        connections > 1,
        "the reader was cut off, or the test shows nothing"
    );
    let mut seen = Seen::default();
    let mut middle = String::new();
    while seen.0 != newest {
        let event = tokio::time::timeout(SOON, library.next()).await.unwrap().unwrap();
        seen.note(&event.patient.nhs_number, event.patient.version_id);
        if seen.0.values().sum::<u32>() == newest.values().sum::<u32>() / 2 {
            middle = event.cursor;
        }
    }
    // Whoever comes later with a cursor sees just the rest, of one shard only what is in it.
    let mut rest = pds.watch(PatientsFrom::Cursor(middle));
    for _ in 0..newest.values().sum::<u32>() / 2 {
        tokio::time::timeout(SOON, rest.next()).await.unwrap().unwrap();
    }
    assert_eq!(rest.cursor(), library.cursor());
    let mut one = Sse::open(&addresses[1], "?shard=2", &first.last_id)
        .await
        .ok()
        .unwrap();
    let event = one.next().await.unwrap();
    assert!(event.id.starts_with("1-2."), "{}", event.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_overtaken_is_told_so_and_a_cursor_of_old_is_gone() {
    let (cluster, addresses) = cluster(1, &[SMALL_FEEDS]).await;
    let pds = cluster.client().pds();
    let mut slow = Sse::open(&addresses[0], "", "").await.ok().unwrap();
    slow.began().await;
    let begin = slow.last_id.clone();
    let patient = Population::new(5).patient(0);
    pds.register(patient.json.clone()).await.unwrap();
    let mut resource: Value = serde_json::from_str(&patient.json).unwrap();
    for version in 1..=220_u32 {
        // Text that does not compress: more of it than the feed and all buffers on the way to the reader hold.
        let noise: String = (0..1_500_u32)
            .map(|part| {
                format!(
                    "{:08x}",
                    (part * 220 + version)
                        .wrapping_mul(0x9e37_79b1)
                        .rotate_left(part % 32)
                )
            })
            .collect();
        let noise = noise.repeat(5);
        resource["extension"] = json!([{ "url": "https://example.org/noise", "valueString": noise }]);
        pds.update(&patient.nhs_number, version, resource.to_string())
            .await
            .unwrap();
    }
    let mut seen = Seen::default();
    let end = loop {
        match slow.next().await {
            Some(event) if event.name == "patient" => {
                let resource: Value = serde_json::from_str(&event.data).unwrap();
                let version = resource["meta"]["versionId"].as_str().unwrap().parse().unwrap();
                seen.note(&patient.nhs_number, version);
            }
            end => break end.unwrap(),
        }
    };
    assert_eq!(end.name, "compacted", "{}", end.data);
    assert!(
        seen.0.values().all(|seen| (1..221).contains(seen)),
        "what was shown has no gap"
    );
    let (status, body) = Sse::open(&addresses[1], "", &begin).await.err().unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, body["resourceType"].as_str()),
        (410, Some("OperationOutcome"))
    );
    let error = pds.watch(PatientsFrom::Cursor(begin)).next().await.unwrap_err();
    assert_eq!(error.reason, "COMPACTED");
    let mut anew = pds.watch(PatientsFrom::Start);
    let event = tokio::time::timeout(SOON, anew.next()).await.unwrap().unwrap();
    assert_eq!(event.patient.version_id, 221, "what it missed, as it is now");
    assert!(!event.cursor.contains('*'), "that was all");
    for (query, expected) in [
        ("?cursor=9-1.1", 400),
        ("?cursor=1-7.1", 400),
        ("?cursor=x", 400),
        ("?cursor=1-1.1*1.zz", 400),
        ("?shard=7", 400),
        ("?shard=x", 400),
        ("?what=1", 400),
    ] {
        let (status, _) = Sse::open(&addresses[0], query, "").await.err().unwrap();
        assert_eq!(status, expected, "{query}");
    }
}

/// The numbers of these patients.
fn written_by(patients: Range<u64>) -> BTreeSet<String> {
    let population = Population::new(5);
    patients
        .map(|index| population.patient(index).nhs_number)
        .collect()
}

/// The newest version of each patient that a reader knows, who began with all that there were.
#[derive(Default)]
struct Kept(BTreeMap<String, u32>);

impl Kept {
    fn note(&mut self, number: &str, version: u32) {
        let kept = self.0.entry(number.to_owned()).or_default();
        *kept = version.max(*kept);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_without_a_cursor_begins_with_everybody_and_misses_nothing_that_comes_meanwhile() {
    let (cluster, addresses) = cluster(3, &[]).await;
    let pds = cluster.client().pds();
    let mut newest = BTreeMap::new();
    write_all(&pds, &mut newest).await;
    write_all(&pds, &mut newest).await;
    let mut library = pds.watch(PatientsFrom::Start);
    let mut events = Sse::open(&addresses[0], "?cursor=start", "").await.ok().unwrap();
    let (mut kept, mut kept_over_http) = (Kept::default(), Kept::default());
    let mut shown = Vec::new();
    while kept.0 != newest {
        let event = tokio::time::timeout(SOON, library.next()).await.unwrap().unwrap();
        kept.note(&event.patient.nhs_number, event.patient.version_id);
        shown.push((event.cursor, event.patient.nhs_number));
        if shown.len() == 1 {
            // The others are in the list and in nothing that comes after it.
            write_some(&pds, 0..PATIENTS / 2, &mut newest).await;
        }
    }
    while kept_over_http.0 != newest {
        let event = tokio::time::timeout(SOON, events.next()).await.unwrap().unwrap();
        assert_eq!(event.name, "patient");
        let resource: Value = serde_json::from_str(&event.data).unwrap();
        let version = resource["meta"]["versionId"].as_str().unwrap().parse().unwrap();
        kept_over_http.note(resource["id"].as_str().unwrap(), version);
    }
    // From the middle of the list on at another node, over HTTP: the rest of it, and all that was written since.
    let middle = shown.iter().position(|(cursor, _)| cursor.contains('*'));
    let middle = middle.expect("a cursor within the list");
    assert!(middle < 3, "most of the list is still to come");
    let mut rest = Sse::open(&addresses[2], "", &shown[middle].0).await.ok().unwrap();
    let before: BTreeSet<&String> = shown[..=middle].iter().map(|(_, number)| number).collect();
    let rewritten = written_by(0..PATIENTS / 2);
    let mut expected = newest.clone();
    expected.retain(|number, _| rewritten.contains(number) || !before.contains(number));
    let mut later = Kept::default();
    while later.0 != expected {
        let event = tokio::time::timeout(SOON, rest.next()).await.unwrap().unwrap();
        let resource: Value = serde_json::from_str(&event.data).unwrap();
        let version = resource["meta"]["versionId"].as_str().unwrap().parse().unwrap();
        later.note(resource["id"].as_str().unwrap(), version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_readers_with_a_word_and_another_node_goes_on_with_what_its_own_replica_no_longer_has() {
    let (mut cluster, addresses) = cluster(1, &[]).await;
    let pds = cluster.client().pds();
    let mut here = Sse::open(&addresses[0], "", "").await.ok().unwrap();
    here.began().await;
    let begin = here.last_id.clone();
    let mut newest = BTreeMap::new();
    write_all(&pds, &mut newest).await;
    cluster.wait_caught_up(SOON).await.unwrap();
    let address = cluster.nodes()[0].grpc_address().to_owned();
    // Its feed begins anew at its checkpoint; those of the others still reach back.
    cluster
        .client()
        .admin(&address)
        .unwrap()
        .compact_replica(1)
        .await
        .unwrap();
    let stopping = std::time::Instant::now();
    assert!(cluster.stop(1, SOON).await.unwrap());
    assert!(
        stopping.elapsed() < Duration::from_secs(8),
        "readers do not hold up a stop"
    );
    let mut names = Vec::new();
    while let Some(event) = here.next().await {
        names.push(event.name);
    }
    assert_eq!(names.pop().as_deref(), Some("end"));
    assert_eq!(names.len(), newest.len());
    cluster.restart(1).unwrap();
    cluster.wait_healthy(SOON).await.unwrap();
    let mut again = Sse::open(&addresses[0], &format!("?cursor={begin}"), "")
        .await
        .ok()
        .unwrap();
    for _ in &newest {
        assert_eq!(again.next().await.unwrap().name, "patient");
    }
    // Past what it had to ask others for, it goes on by itself.
    write_all(&pds, &mut newest).await;
    for _ in &newest {
        assert_eq!(again.next().await.unwrap().name, "patient");
    }
}
