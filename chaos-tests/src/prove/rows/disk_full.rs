//! The disk of a leader is full.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use prost::Message;
use serde::Serialize;
use spine_faultdisk::Command;
use spine_proto::records::v1::records_service_client::RecordsServiceClient;
use spine_proto::records::v1::{CommitRequest, GetRequest, Mutation, RecordKey, mutation};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use super::leadership::{leads_most, wait_leads_nothing};
use super::support::{Checked, block_on, faulty_cluster, no_fuse};
use crate::processes::{Calls, FaultyCluster, Run, RunOptions, first_failures, settle_and_check};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "disk-full",
    issue: 3,
    claim: "a leader whose disk is full answers writes there or refuses them clearly, goes on reading, gives up \
            leadership, fails no library call, and recovers without a restart",
    target: "every direct write answered or refused with a reason, 0 failed reads, leads nothing, 0 failed calls, \
             0 violations, healthy after the heal",
    run,
};

const ROUNDS: u32 = 3;
const ROUNDS_QUICK: u32 = 1;
const GIVEN_UP_LIMIT: Duration = Duration::from_secs(10);
/// Direct calls to the node while its disk is full; they reach all shards.
const DIRECT: u32 = 64;
const DIRECT_DEADLINE: Duration = Duration::from_secs(5);
const BETWEEN_DIRECT: Duration = Duration::from_millis(20);
const CALLS_BETWEEN: usize = 300;
const SETTLE: Duration = Duration::from_secs(60);
const VALUE_BYTES: usize = 2_048;

type Direct = RecordsServiceClient<Channel>;

#[derive(Default, Serialize)]
struct Fulls {
    rounds: u32,
    /// The slowest round; none if it was not given up.
    given_up_ms: Option<u64>,
    writes_answered: u32,
    writes_refused: u32,
    /// With what words.
    refusals: BTreeSet<String>,
    /// Neither answered nor refused with a reason.
    writes_unclear: Vec<String>,
    reads: u32,
    reads_failed: Vec<String>,
    back_ms: u64,
}

#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    fulls: Fulls,
    failures: String,
    #[serde(flatten)]
    checked: Checked,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fulls = &self.fulls;
        let given_up = fulls
            .given_up_ms
            .map_or_else(|| "not given up".to_owned(), |ms| format!("given up in {ms} ms"));
        let refusals: Vec<&str> = fulls.refusals.iter().map(String::as_str).collect();
        write!(
            f,
            "{} rounds, leadership {given_up}, direct writes: {} answered, {} refused ({}), {} unclear",
            fulls.rounds,
            fulls.writes_answered,
            fulls.writes_refused,
            refusals.join(" "),
            fulls.writes_unclear.len()
        )?;
        if let Some(first) = fulls.writes_unclear.first() {
            write!(f, " ({first})")?;
        }
        write!(
            f,
            ", direct reads: {} of {} failed",
            fulls.reads_failed.len(),
            fulls.reads
        )?;
        if let Some(first) = fulls.reads_failed.first() {
            write!(f, " ({first})")?;
        }
        write!(f, ", {} calls failed", self.checked.calls.failed)?;
        if !self.failures.is_empty() {
            write!(f, " ({})", self.failures)?;
        }
        write!(
            f,
            ", healthy {} ms after the heal, {}",
            fulls.back_ms,
            self.checked.text()
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.fulls.given_up_ms.is_some()
            && self.fulls.writes_unclear.is_empty()
            && self.fulls.reads_failed.is_empty()
            && self.checked.calls.failed == 0
            && self.checked.violations.is_empty()
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    if let Some(skipped) = no_fuse() {
        return Ok(skipped);
    }
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    block_on(async move {
        let mut faulty = faulty_cluster(context, &[]).await?;
        let options = RunOptions {
            value_len: VALUE_BYTES,
            ..RunOptions::default()
        };
        let load = Run::start(faulty.cluster(), &options)?;
        let mut fulls = Fulls {
            given_up_ms: Some(0),
            ..Fulls::default()
        };
        for _ in 0..rounds {
            load.wait_operations(CALLS_BETWEEN).await?;
            fulls.round(&faulty).await?;
        }
        load.wait_operations(CALLS_BETWEEN).await?;
        let operations = load.stop().await;
        let report = settle_and_check(faulty.cluster_mut(), &operations, SETTLE).await?;
        Finding::of(&Measured {
            fulls,
            failures: first_failures(&operations),
            checked: Checked::new(Calls::of(&operations), &report),
        })
    })
}

impl Fulls {
    async fn round(&mut self, faulty: &FaultyCluster) -> Result<(), RowError> {
        let cluster = faulty.cluster();
        let node = leads_most(cluster).await?;
        let mut direct = connect(cluster.grpc(node)).await?;
        faulty.order(node, &Command::Full(0))?;
        let given_up = wait_leads_nothing(cluster, node, GIVEN_UP_LIMIT).await?;
        let ms = given_up.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.given_up_ms = self.given_up_ms.zip(ms).map(|(most, ms)| most.max(ms));
        for number in 0..DIRECT {
            self.write(&mut direct, number).await;
            self.read(&mut direct, number).await;
            sleep(BETWEEN_DIRECT).await;
        }
        cluster.check_alive()?;
        faulty.order(node, &Command::Heal)?;
        let healed = Instant::now();
        cluster.wait_healthy(SETTLE).await?;
        let back_ms = u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.back_ms = self.back_ms.max(back_ms);
        self.rounds += 1;
        Ok(())
    }

    async fn write(&mut self, node: &mut Direct, number: u32) {
        let put = mutation::Put {
            suffix: "full".into(),
            value: vec![1; VALUE_BYTES].into(),
        };
        let request = CommitRequest {
            routing_key: routing_key(number),
            guards: Vec::new(),
            mutations: vec![Mutation {
                kind: Some(mutation::Kind::Put(put)),
            }],
            request_id: format!("full-{}-{number}", self.rounds),
            session: None,
        };
        match node.commit(request).await {
            Ok(_) => self.writes_answered += 1,
            Err(status) => match reason(&status) {
                Some(word) => {
                    self.writes_refused += 1;
                    self.refusals.insert(word);
                }
                None => self.writes_unclear.push(status.to_string()),
            },
        }
    }

    async fn read(&mut self, node: &mut Direct, number: u32) {
        let key = RecordKey {
            routing_key: routing_key(number),
            suffix: "full".into(),
        };
        self.reads += 1;
        if let Err(status) = node.get(GetRequest { key: Some(key) }).await {
            let why = reason(&status).unwrap_or_else(|| status.to_string());
            self.reads_failed.push(why);
        }
    }
}

fn routing_key(number: u32) -> String {
    format!("full-{number}")
}

/// The word that says why; none where the answer does not say.
fn reason(status: &tonic::Status) -> Option<String> {
    let detail = spine_proto::common::v1::ErrorDetail::decode(status.details()).ok()?;
    (!detail.reason.is_empty()).then_some(detail.reason)
}

async fn connect(address: &str) -> Result<Direct, RowError> {
    let told = |error: &dyn fmt::Display| RowError::because(error.to_string());
    let endpoint = Channel::from_shared(format!("http://{address}")).map_err(|error| told(&error))?;
    let channel = endpoint.timeout(DIRECT_DEADLINE).connect().await;
    Ok(RecordsServiceClient::new(channel.map_err(|error| told(&error))?))
}
