//! Reads of patients over HTTP/1.1.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use serde::Serialize;
use spine_client::population::Population;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::patients::loaded_http_cluster;
use super::support::{block_on, processor_seconds};
use crate::http::{Call, Connection};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::seeded;

pub(super) const ROW: Row = Row {
    id: "retrieve-http",
    issue: 6,
    claim: "patients of 1,000,000 read over HTTP/1.1, 64 connections that stay open, spread over 3 nodes, each read linearizable",
    target: ">= 10,000/s (gate 6,000), 0 errors",
    run,
};

const PATIENTS: u64 = 1_000_000;
const PATIENTS_QUICK: u64 = 5_000;
const CONNECTIONS: usize = 64;
const GOAL_PER_SECOND: f64 = 10_000.0;
const GATE_PER_SECOND: f64 = 6_000.0;
const WARM_UP: Duration = Duration::from_secs(2);
/// The seed of what `spinectl population generate` wrote.
const POPULATION: u64 = 1;
/// Different patients that are read.
const READ: usize = 100_000;

#[derive(Serialize)]
struct Measured {
    #[serde(skip)]
    gate: f64,
    patients: u64,
    seconds: f64,
    reads: u64,
    errors: u64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    node_cpu_us_per_read: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.per_second >= GOAL_PER_SECOND {
            ""
        } else {
            " (goal not met)"
        };
        write!(
            f,
            "{:.0}/s{met} of {} patients, p50 {:.1} p99 {:.1} ms, {} errors, {:.0} us of the nodes' processors each",
            self.per_second, self.patients, self.p50_ms, self.p99_ms, self.errors, self.node_cpu_us_per_read
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.errors == 0 && self.per_second >= self.gate
    }
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    micros: Vec<u64>,
    errors: u64,
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let patients = context.rounds(PATIENTS, PATIENTS_QUICK);
    let lasts = Duration::from_secs(context.rounds(20, 3));
    block_on(async move {
        let cluster = loaded_http_cluster(context, patients).await?;
        let population = Population::new(POPULATION);
        let mut random = seeded(6, "retrieve-http");
        let paths: Arc<[Call]> = (0..READ)
            .map(|_| {
                let number = population.nhs_number(random.random_range(0..patients));
                Call::get(format!("/fhir/R4/Patient/{number}"))
            })
            .collect();
        let from = Instant::now() + WARM_UP;
        let until = from + lasts;
        let mut readers = JoinSet::new();
        for reader in 0..CONNECTIONS {
            let address = cluster.http()[reader % cluster.nodes()].clone();
            let first = reader * READ / CONNECTIONS;
            readers.spawn(read(address, Arc::clone(&paths), first, from, until));
        }
        sleep_until(from).await;
        let before: f64 = processor_seconds(&cluster)?.iter().sum();
        sleep_until(until).await;
        let used = processor_seconds(&cluster)?.iter().sum::<f64>() - before;
        let mut all = Seen::default();
        while let Some(seen) = readers.join_next().await {
            let seen = seen.map_err(|error| RowError::because(error.to_string()))?;
            all.micros.extend(seen.micros);
            all.errors += seen.errors;
        }
        all.micros.sort_unstable();
        let reads = all.micros.len() as u64;
        Finding::of(&Measured {
            gate: context.at_least(GATE_PER_SECOND),
            patients,
            seconds: lasts.as_secs_f64(),
            reads,
            errors: all.errors,
            per_second: reads as f64 / lasts.as_secs_f64(),
            p50_ms: quantile_ms(&all.micros, 0.5),
            p99_ms: quantile_ms(&all.micros, 0.99),
            node_cpu_us_per_read: used * 1_000_000.0 / (reads.max(1) as f64),
        })
    })
}

/// Of sorted microseconds.
pub(super) fn quantile_ms(sorted: &[u64], quantile: f64) -> f64 {
    let at = (sorted.len() as f64 * quantile).ceil();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let at = (at as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(0.0, |micros| *micros as f64 / 1_000.0)
}

/// One connection, one read after another; what ends inside the window counts.
async fn read(address: String, calls: Arc<[Call]>, first: usize, from: Instant, until: Instant) -> Seen {
    let mut seen = Seen::default();
    let Ok(mut connection) = Connection::open(&address).await else {
        seen.errors += 1;
        return seen;
    };
    for at in first.. {
        let began = Instant::now();
        if began >= until {
            break;
        }
        let answer = connection.exchange(&calls[at % calls.len()]).await;
        let ended = Instant::now();
        let good = answer
            .as_ref()
            .is_ok_and(|answer| answer.status == 200 && answer.body.len() > 100 && !answer.closes());
        if !good {
            seen.errors += 1;
            match Connection::open(&address).await {
                Ok(again) => connection = again,
                Err(_) => break,
            }
        } else if ended >= from && ended < until {
            seen.micros
                .push(u64::try_from((ended - began).as_micros()).unwrap_or(u64::MAX));
        }
    }
    seen
}
