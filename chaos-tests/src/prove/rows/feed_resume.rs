//! Readers of the feed of patients, while nodes are killed and come back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use spine_client::population::Population;
use spine_client::{PatchFormat, PatientWatch, PatientsFrom, Pds};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::support::{SHARDS, block_on};
use crate::http::{Events, Refused};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "feed-resume",
    issue: 6,
    claim: "readers of the change feed, over server-sent events and gRPC, see every version of every patient once and in \
            order, while the nodes are killed in turn; one that begins in the middle with all that there is ends with \
            the newest of each",
    target: "30 kills, 3 readers, 0 missed, 0 repeated, 0 out of order",
    run,
};

const ROUNDS: u32 = 30;
const ROUNDS_QUICK: u32 = 3;
const WRITERS: u64 = 8;
const PATIENTS_EACH: u64 = 10;
/// So many of them are written again and again; the others are in the list and in nothing that comes after it.
const CHANGING_EACH: u64 = 5;
const POPULATION: u64 = 6;
/// Before a kill, and while the node is away.
const CALM: Duration = Duration::from_millis(700);
const SETTLE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const FEED: &str = "/fhir/R4/_feed";

#[derive(Serialize)]
struct Measured {
    kills: u32,
    patients: usize,
    versions: u64,
    connections: u64,
    wrong: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kills,
            patients,
            versions,
            connections,
            ..
        } = self;
        write!(
            f,
            "{kills} kills, {versions} versions of {patients} patients read twice, over {connections} connections of the \
             reader over HTTP, and once from the middle on; "
        )?;
        match self.wrong.first() {
            None => write!(f, "each once and in order"),
            Some(first) => write!(f, "{} wrong, first: {first}", self.wrong.len()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.wrong.is_empty() && self.versions > 0 && self.connections > 1
    }
}

/// The newest version of each patient, once nobody writes any more.
type Newest = Arc<Mutex<Option<BTreeMap<String, u32>>>>;

/// What one reader was shown.
#[derive(Default)]
struct Seen {
    newest: BTreeMap<String, u32>,
    connections: u64,
    wrong: Vec<String>,
}

impl Seen {
    fn note(&mut self, number: &str, version: u32) {
        let before = self.newest.insert(number.to_owned(), version).unwrap_or(0);
        if version != before + 1 {
            // Without the number: it may be in a report.
            self.wrong
                .push(format!("version {version} after version {before} of a patient"));
        }
    }

    fn is_all(&self, newest: &Newest) -> bool {
        newest
            .lock()
            .as_ref()
            .is_some_and(|newest| *newest == self.newest)
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    block_on(async move {
        let options = Options {
            nodes: 3,
            shards: SHARDS,
            programs: context.programs.clone(),
        };
        let cluster = Cluster::start_with_http(&options, Vec::new()).await?;
        let mut cluster = cluster.noted_in(context.journal.clone());
        let pds = cluster.client(DEADLINE)?.pds();
        let mut watch = pds.watch(PatientsFrom::Now);
        watch.begin().await?;
        let newest = Newest::default();
        let begin = watch.cursor().to_owned();
        let events = tokio::spawn(read_events(cluster.http().to_vec(), begin, Arc::clone(&newest)));
        let watched = tokio::spawn(read_watch(watch, Arc::clone(&newest)));
        let writers = Writers::start(&pds);
        let mut late = None;
        for round in 0..rounds {
            if round == rounds / 2 {
                let watch = pds.watch(PatientsFrom::Start);
                late = Some(tokio::spawn(keep_newest(watch, Arc::clone(&newest))));
            }
            let victim = usize::try_from(round).unwrap_or(0) % cluster.nodes();
            sleep(CALM).await;
            cluster.kill(victim)?;
            sleep(CALM).await;
            cluster.restart(victim)?;
            cluster.wait_healthy(SETTLE).await?;
        }
        let written = writers.stop().await?;
        *newest.lock() = Some(written.clone());
        let (events, watched) = (ended(events).await?, ended(watched).await?);
        let late = late.ok_or_else(|| RowError::because("nobody began in the middle"))?;
        let late = ended(late).await?;
        let mut wrong = [events.wrong, watched.wrong].concat();
        let readers = [
            ("events", &events.newest),
            ("watch", &watched.newest),
            ("the list", &late.newest),
        ];
        for (reader, seen) in readers {
            if *seen != written {
                wrong.push(format!("the reader of {reader} did not see all"));
            }
        }
        Finding::of(&Measured {
            kills: rounds,
            patients: written.len(),
            versions: written.values().map(|version| u64::from(*version)).sum(),
            connections: events.connections,
            wrong,
        })
    })
}

async fn ended(reader: JoinHandle<Result<Seen, RowError>>) -> Result<Seen, RowError> {
    let ended = timeout(SETTLE, reader).await;
    let ended = ended.map_err(|_| RowError::because("a reader did not reach the end"))?;
    ended.map_err(|error| RowError::because(error.to_string()))?
}

/// Tasks that write patients of their own, one version after another.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<BTreeMap<String, u32>, RowError>>>,
}

impl Writers {
    fn start(pds: &Pds) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let changes = Arc::<AtomicU64>::default();
        let task = |writer| {
            tokio::spawn(write(
                pds.clone(),
                writer,
                Arc::clone(&stop),
                Arc::clone(&changes),
            ))
        };
        Self {
            tasks: (0..WRITERS).map(task).collect(),
            stop,
        }
    }

    async fn stop(self) -> Result<BTreeMap<String, u32>, RowError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::new();
        for task in self.tasks {
            all.extend(
                task.await
                    .map_err(|error| RowError::because(error.to_string()))??,
            );
        }
        Ok(all)
    }
}

async fn write(
    pds: Pds,
    writer: u64,
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
) -> Result<BTreeMap<String, u32>, RowError> {
    let population = Population::new(POPULATION);
    let mut newest = BTreeMap::new();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) && turn >= PATIENTS_EACH {
            break;
        }
        let turn = if turn < PATIENTS_EACH {
            turn
        } else {
            turn % CHANGING_EACH
        };
        let index = writer * PATIENTS_EACH + turn;
        let patient = population.patient(index);
        let changed = if newest.contains_key(&patient.nhs_number) {
            let change = changes.fetch_add(1, Ordering::Relaxed);
            let patch = json!({ "telecom": [{ "id": "1", "system": "phone", "use": "mobile", "value": format!("{change}") }] });
            pds.patch(&patient.nhs_number, 0, PatchFormat::Merge, patch.to_string())
                .await?
        } else {
            pds.register(patient.json).await?
        };
        newest.insert(patient.nhs_number, changed.patient.version_id);
    }
    Ok(newest)
}

async fn read_watch(mut watch: PatientWatch, newest: Newest) -> Result<Seen, RowError> {
    let mut seen = Seen::default();
    while !seen.is_all(&newest) {
        match timeout(POLL, watch.next()).await {
            Err(_) => {}
            Ok(Ok(event)) => seen.note(&event.patient.nhs_number, event.patient.version_id),
            Ok(Err(error)) if error.advice == spine_client::Advice::RetrySameId => {}
            Ok(Err(error)) => return Err(error.into()),
        }
    }
    Ok(seen)
}

/// Keeps of each patient what is newest of all that it is shown.
async fn keep_newest(mut watch: PatientWatch, newest: Newest) -> Result<Seen, RowError> {
    let mut seen = Seen::default();
    while !seen.is_all(&newest) {
        match timeout(POLL, watch.next()).await {
            Err(_) => {}
            Ok(Ok(event)) => {
                let kept = seen.newest.entry(event.patient.nhs_number).or_default();
                *kept = event.patient.version_id.max(*kept);
            }
            Ok(Err(error)) if error.advice == spine_client::Advice::RetrySameId => {}
            Ok(Err(error)) => return Err(error.into()),
        }
    }
    Ok(seen)
}

/// Comes again at the next node, behind what it saw last, whenever a feed ends.
async fn read_events(addresses: Vec<String>, mut last_id: String, newest: Newest) -> Result<Seen, RowError> {
    let mut seen = Seen::default();
    let mut refused_since = Instant::now();
    for address in addresses.iter().cycle() {
        if seen.is_all(&newest) {
            break;
        }
        match Events::open(address, FEED, &last_id).await {
            Ok(feed) => {
                seen.connections += 1;
                refused_since = Instant::now();
                last_id = follow(feed, &mut seen, &newest).await;
            }
            Err(Refused::Io(_) | Refused::Status(429 | 503, _)) if refused_since.elapsed() < SETTLE => {
                sleep(POLL).await;
            }
            Err(refused) => return Err(RowError::because(format!("the feed: {refused:?}"))),
        }
    }
    Ok(seen)
}

/// Until it ends or everything was seen; gives what was seen last.
async fn follow(mut feed: Events, seen: &mut Seen, newest: &Newest) -> String {
    while !seen.is_all(newest) {
        let event = match timeout(POLL, feed.next()).await {
            Err(_) => continue,
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None) | Err(_)) => break,
        };
        if event.name == "patient" {
            let resource: Value = serde_json::from_str(&event.data).unwrap_or_default();
            let version = resource["meta"]["versionId"].as_str();
            let version = version.and_then(|text| text.parse().ok()).unwrap_or(0);
            seen.note(resource["id"].as_str().unwrap_or_default(), version);
        }
    }
    feed.last_id
}
