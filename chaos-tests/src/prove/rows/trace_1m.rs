//! Searches over HTTP in a large population, at a fixed rate whoever is slow.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt as _;
use serde::Serialize;
use serde_json::Value;
use spine_client::population::Population;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::patients::loaded_http_cluster;
use super::retrieve_http::quantile_ms;
use super::support::block_on;
use crate::http::{Call, Caller};
use crate::processes::Cluster;
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::seeded;

pub(super) const ROW: Row = Row {
    id: "trace-1m",
    issue: 6,
    claim: "traces in 1,000,000 patients over HTTP at 50/s, each begun on time: by name and birth date, and fuzzy; the one \
            searched for is found",
    target: "exact p99 <= 20 ms (gate 34), fuzzy p99 <= 100 ms (gate 170), 0 errors, 0 not found",
    run,
};

const PATIENTS: u64 = 1_000_000;
const PATIENTS_QUICK: u64 = 5_000;
const PER_SECOND: u32 = 50;
const CONNECTIONS: usize = 16;
const EXACT_MS: f64 = 20.0;
const FUZZY_MS: f64 = 100.0;
/// The share of a goal that is the gate of a time.
const GATE: f64 = 1.7;
/// The seed of what `spinectl population generate` wrote.
const POPULATION: u64 = 1;
const DEADLINE: Duration = Duration::from_secs(5);
const SEARCH: &str = "/personal-demographics/FHIR/R4/Patient";

#[derive(Clone, Serialize)]
struct Traces {
    searches: usize,
    errors: u64,
    not_found: u64,
    /// More than 50 people are like that, which is an answer.
    too_many: u64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} searches, p50 {:.1} p99 {:.1} max {:.1} ms, {} errors, {} not found, {} too many",
            self.searches, self.p50_ms, self.p99_ms, self.max_ms, self.errors, self.not_found, self.too_many
        )
    }
}

#[derive(Serialize)]
struct Measured {
    #[serde(skip)]
    gate: f64,
    patients: u64,
    exact: Traces,
    fuzzy: Traces,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.exact.p99_ms <= EXACT_MS && self.fuzzy.p99_ms <= FUZZY_MS {
            ""
        } else {
            " (goal not met)"
        };
        write!(f, "exact: {}; fuzzy: {}{met}", self.exact, self.fuzzy)
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let good = |traces: &Traces, goal: f64| {
            traces.errors == 0 && traces.not_found == 0 && traces.p99_ms <= goal * self.gate
        };
        good(&self.exact, EXACT_MS) && good(&self.fuzzy, FUZZY_MS)
    }
}

/// A search, and who is to be found.
struct Search {
    call: Call,
    nhs_number: String,
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let patients = context.rounds(PATIENTS, PATIENTS_QUICK);
    let seconds = context.rounds(20, 3);
    block_on(async move {
        let cluster = loaded_http_cluster(context, patients).await?;
        // What a cluster does first it does slowly.
        traces(&cluster, &searches(patients, 1, false, "warm")).await?;
        let exact = traces(&cluster, &searches(patients, seconds, false, "exact")).await?;
        let fuzzy = traces(&cluster, &searches(patients, seconds, true, "fuzzy")).await?;
        Finding::of(&Measured {
            gate: context.at_most(GATE),
            patients,
            exact,
            fuzzy,
        })
    })
}

fn searches(patients: u64, seconds: u32, fuzzy: bool, part: &str) -> Arc<[Search]> {
    let population = Population::new(POPULATION);
    let mut random = seeded(6, part);
    (0..PER_SECOND * seconds)
        .map(|number| {
            let patient = population.patient(random.random_range(0..patients));
            let resource: Value = serde_json::from_str(&patient.json).unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = &resource["name"][0];
            let birth = text(&resource["birthDate"]);
            let query = if fuzzy {
                // The names in each other's place.
                format!(
                    "family={}&given={}&birthdate={birth}&_fuzzy-match=true",
                    encoded(&text(&name["given"][0])),
                    encoded(&text(&name["family"]))
                )
            } else {
                format!(
                    "family={}&given={}&gender={}&birthdate=eq{birth}",
                    encoded(&text(&name["family"])),
                    encoded(&text(&name["given"][0])),
                    text(&resource["gender"])
                )
            };
            let call = Call::get(format!("{SEARCH}?{query}"))
                .header("x-request-id", format!("00000000-0000-4000-8000-{number:012x}"));
            Search {
                call,
                nhs_number: patient.nhs_number,
            }
        })
        .collect()
}

/// As a part of a query.
fn encoded(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    });
    escaped.collect()
}

#[derive(Default)]
struct Seen {
    micros: Vec<u64>,
    errors: u64,
    not_found: u64,
    too_many: u64,
}

/// Each search is due at its time, and its time counts from there.
async fn traces(cluster: &Cluster, searches: &Arc<[Search]>) -> Result<Traces, RowError> {
    let began = Instant::now() + Duration::from_millis(200);
    let next = Arc::<AtomicUsize>::default();
    let mut callers = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (searches, next) = (Arc::clone(searches), Arc::clone(&next));
        let mut caller = Caller::new(cluster.http().to_vec(), number);
        callers.spawn(async move {
            let mut seen = Seen::default();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(search) = searches.get(at) else {
                    return seen;
                };
                let due = began + Duration::from_secs(1) * u32::try_from(at).unwrap_or(0) / PER_SECOND;
                sleep_until(due).await;
                let answer = caller.ask(&search.call, DEADLINE).await;
                seen.micros
                    .push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
                match answer {
                    Ok(answer) if answer.status == 200 => judge(&answer.json(), search, &mut seen),
                    Ok(_) | Err(_) => seen.errors += 1,
                }
            }
        });
    }
    let mut all = Seen::default();
    while let Some(seen) = callers.join_next().await {
        let seen = seen.map_err(|error| RowError::because(error.to_string()))?;
        all.micros.extend(seen.micros);
        all.errors += seen.errors;
        all.not_found += seen.not_found;
        all.too_many += seen.too_many;
    }
    all.micros.sort_unstable();
    Ok(Traces {
        searches: all.micros.len(),
        errors: all.errors,
        not_found: all.not_found,
        too_many: all.too_many,
        p50_ms: quantile_ms(&all.micros, 0.5),
        p99_ms: quantile_ms(&all.micros, 0.99),
        max_ms: quantile_ms(&all.micros, 1.0),
    })
}

fn judge(answer: &Value, search: &Search, seen: &mut Seen) {
    if answer["resourceType"] == "OperationOutcome" {
        seen.too_many += 1;
        return;
    }
    let entries = answer["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = entries
        .iter()
        .any(|entry| entry["resource"]["id"] == search.nhs_number.as_str());
    if !found {
        seen.not_found += 1;
    }
}
