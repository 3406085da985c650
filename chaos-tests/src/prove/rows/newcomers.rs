//! Many callers who ask at once for a number for the same person, while nodes that carry out the steps are killed.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use spine_client::{AllocateOptions, Allocated, SpineClient};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::support::{block_on, cluster};
use crate::processes::Cluster;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ALLOCATE: Row = Row {
    id: "allocate-parallel",
    issue: 6,
    claim: "however many callers ask for a number for one person at once, over killed nodes, there is one record, one \
            caller gets the number and the others are told of it, and a repeated request gets it again",
    target: "20 rounds with a kill, 8 persons x 8 callers, 0 violations, 0 failed calls",
    run: |context| run(context, false),
};

pub(super) const CONDITIONAL: Row = Row {
    id: "conditional-create",
    issue: 6,
    claim: "of many callers who create a person unless there is one, over killed nodes, one creates and the others get \
            what it has created",
    target: "20 rounds with a kill, 8 persons x 8 callers, 0 violations, 0 failed calls",
    run: |context| run(context, true),
};

const ROUNDS: u32 = 20;
const ROUNDS_QUICK: u32 = 2;
const PERSONS: u32 = 8;
const CALLERS: u32 = 8;
const DEADLINE: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(60);
/// The steps of a person take about so long when eight are asked for at once: a kill comes somewhere among them.
const KILL_WITHIN_MS: u64 = 120;

#[derive(Serialize)]
struct Measured {
    rounds: u32,
    kills: u32,
    persons: usize,
    calls: u32,
    failed: usize,
    failures: Vec<String>,
    p99_ms: u64,
    longest_ms: u64,
    #[serde(skip)]
    took_ms: Vec<u64>,
    violations: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds, {} kills, {} persons of {} calls, {} violations, {} failed, p99 {} ms, longest call {} ms",
            self.rounds,
            self.kills,
            self.persons,
            self.calls,
            self.violations.len(),
            self.failed,
            self.p99_ms,
            self.longest_ms
        )?;
        let first = self.violations.first().into_iter().chain(self.failures.first());
        first.into_iter().try_for_each(|why| write!(f, " ({why})"))
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.violations.is_empty() && self.failed == 0 && self.persons > 0
    }
}

/// One caller's part.
struct Call {
    person: u32,
    /// The number that it was told, and whether it is the one that created the record.
    told: Result<(String, bool), String>,
    took: Duration,
}

fn run(context: &Context, conditional: bool) -> Result<Finding, RowError> {
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    let quick = context.quick;
    block_on(async move {
        let mut cluster = cluster(context).await?;
        let client = cluster.client(DEADLINE)?;
        let mut measured = Measured {
            rounds,
            kills: 0,
            persons: 0,
            calls: 0,
            failed: 0,
            failures: Vec::new(),
            p99_ms: 0,
            longest_ms: 0,
            took_ms: Vec::new(),
            violations: Vec::new(),
        };
        let mut numbers = BTreeSet::new();
        for round in 0..rounds {
            let asked = ask(&client, round, conditional);
            let calls = if quick {
                asked.join_all().await
            } else {
                measured.kills += 1;
                with_a_kill(&mut cluster, asked, round).await?
            };
            measured.judge(&calls, &mut numbers);
            // Under the same request ids nothing changes.
            let again = ask(&client, round, conditional).join_all().await;
            let before = numbers.len();
            measured.judge(&again, &mut numbers);
            if numbers.len() != before {
                measured
                    .violations
                    .push("a repeated request got another number".to_owned());
            }
            measured.persons = numbers.len();
        }
        if numbers.len() != usize::try_from(rounds * PERSONS).unwrap_or(0) {
            let count = numbers.len();
            measured
                .violations
                .push(format!("{count} numbers for {} persons", rounds * PERSONS));
        }
        for number in &numbers {
            client.pds().retrieve(number).await?;
        }
        if !measured.violations.is_empty() {
            cluster.keep_files();
        }
        measured.took_ms.sort_unstable();
        measured.longest_ms = measured.took_ms.last().copied().unwrap_or(0);
        let rank = measured.took_ms.len() * 99 / 100;
        measured.p99_ms = measured.took_ms.get(rank).copied().unwrap_or(0);
        Finding::of(&measured)
    })
}

async fn with_a_kill(cluster: &mut Cluster, asked: JoinSet<Call>, round: u32) -> Result<Vec<Call>, RowError> {
    let victim = usize::try_from(round).unwrap_or(0) % cluster.nodes();
    sleep(Duration::from_millis(u64::from(round) * 37 % KILL_WITHIN_MS)).await;
    cluster.kill(victim)?;
    let calls = asked.join_all().await;
    cluster.restart(victim)?;
    cluster.wait_healthy(SETTLE).await?;
    Ok(calls)
}

/// Every caller of a round, each with a request id of its own that is the same each time.
fn ask(client: &SpineClient, round: u32, conditional: bool) -> JoinSet<Call> {
    let mut asked = JoinSet::new();
    for caller in 0..CALLERS {
        for person in 0..PERSONS {
            let id = format!("{conditional}-{round}-{person}-{caller}");
            let pds = client.pds().with_request_id(id);
            let (body, options) = newcomer(round, person, conditional);
            asked.spawn(async move {
                let started = Instant::now();
                let told = match pds.allocate(body, options).await {
                    Ok(Allocated::New(new)) => Ok((new.patient.nhs_number, true)),
                    Ok(Allocated::Existing(patient)) if conditional => Ok((patient.nhs_number, false)),
                    Ok(Allocated::Alike(alike)) if alike.len() == 1 && !conditional => {
                        Ok((alike[0].expose().to_owned(), false))
                    }
                    Ok(Allocated::Existing(_) | Allocated::Alike(_) | Allocated::Several) => {
                        Err("violation: several records, or another answer".to_owned())
                    }
                    Err(error) => Err(error.to_string()),
                };
                Call {
                    person,
                    told,
                    took: started.elapsed(),
                }
            });
        }
    }
    asked
}

/// Different in name from all others; some are born on the same day and wait for each other.
fn newcomer(round: u32, person: u32, conditional: bool) -> (String, AllocateOptions) {
    let letter = |number: u32| char::from(b'a' + u8::try_from(number % 26).unwrap_or(0));
    // Given names that are more than a slip apart.
    let given: String = [round / 26, round, person, round, person, person]
        .map(letter)
        .iter()
        .collect();
    let birth = format!("19{:02}-03-{:02}", 50 + round % 40, 1 + person % 4);
    let body = json!({
        "resourceType": "Patient",
        "name": [{ "use": "usual", "family": "Newcomer", "given": [given] }],
        "gender": "female",
        "birthDate": birth,
    });
    let criteria = [
        ("family", "Newcomer"),
        ("given", given.as_str()),
        ("birthdate", birth.as_str()),
    ];
    let criteria = criteria.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = AllocateOptions {
        national: false,
        if_none: if conditional {
            criteria.to_vec()
        } else {
            Vec::new()
        },
    };
    (body.to_string(), options)
}

impl Measured {
    fn judge(&mut self, calls: &[Call], numbers: &mut BTreeSet<String>) {
        for person in 0..PERSONS {
            let of_person: Vec<&Call> = calls.iter().filter(|call| call.person == person).collect();
            let told: Vec<&(String, bool)> = of_person
                .iter()
                .filter_map(|call| call.told.as_ref().ok())
                .collect();
            let different: BTreeSet<&str> = told.iter().map(|(number, _)| number.as_str()).collect();
            let created = told.iter().filter(|(_, created)| *created).count();
            if different.len() > 1 || created > 1 {
                let count = different.len();
                self.violations
                    .push(format!("{count} numbers for one person, {created} created"));
            }
            numbers.extend(different.into_iter().map(str::to_owned));
        }
        for call in calls {
            self.calls += 1;
            let took = u64::try_from(call.took.as_millis()).unwrap_or(u64::MAX);
            self.took_ms.push(took);
            match &call.told {
                Ok(_) => {}
                Err(why) if why.starts_with("violation") => self.violations.push(why.clone()),
                Err(why) => {
                    self.failed += 1;
                    self.failures.push(why.clone());
                }
            }
        }
    }
}
