//! A whole population, loaded as fast as it goes.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::patients::{Patients, checkpoint, cluster};
use super::support::{block_on, disk_bytes, processor_seconds, resident_mib};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "load-1m",
    issue: 6,
    claim: "patient load of 1,000,000 generated patients, 3 replicas, durable: every one registered, on all replicas",
    target: "with their search tokens >= 12,000 patients/s (gate 7,200), 0 refused, <= 600 MiB resident (gate 1,020)",
    run,
};

const PATIENTS: u64 = 1_000_000;
const PATIENTS_QUICK: u64 = 20_000;
const GOAL_PER_SECOND: f64 = 12_000.0;
const GATE_PER_SECOND: f64 = 7_200.0;
const GATE_RESIDENT_MIB: u64 = 1_020;
/// What a load leaves to do is done after so long.
const CALM: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Measured {
    #[serde(skip)]
    per_second_min: f64,
    patients: u64,
    registered: u64,
    failed: u64,
    records_of_each_replica: u64,
    seconds: f64,
    per_second: f64,
    node_cpu_us_per_patient: f64,
    resident_mib: Vec<u64>,
    disk_bytes_per_patient: Vec<u64>,
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
            "{} of {} registered in {:.1} s: {:.0}/s{met}, {:.0} us of the nodes' processors each; resident {:?} MiB, \
             data directories {:?} bytes a patient",
            self.registered,
            self.patients,
            self.seconds,
            self.per_second,
            self.node_cpu_us_per_patient,
            self.resident_mib,
            self.disk_bytes_per_patient
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.registered == self.patients
            && self.failed == 0
            && self.records_of_each_replica >= self.patients
            && self.per_second >= self.per_second_min
            && self.resident_mib.iter().all(|mib| *mib <= GATE_RESIDENT_MIB)
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let count = context.rounds(PATIENTS, PATIENTS_QUICK);
    let patients = Patients::generate(context, count)?;
    block_on(async move {
        let cluster = cluster(context).await?;
        let before: f64 = processor_seconds(&cluster)?.iter().sum();
        let loaded = tokio::task::block_in_place(|| patients.load(context, &cluster))?;
        let used = processor_seconds(&cluster)?.iter().sum::<f64>() - before;
        checkpoint(&cluster).await?;
        tokio::time::sleep(CALM).await;
        let status = cluster.status(0).await?;
        let records = |node: u64| {
            let replicas = status.shards.iter().flat_map(|shard| &shard.replicas);
            replicas
                .filter(|replica| replica.node_id == node)
                .map(|replica| replica.record_count)
                .sum::<u64>()
        };
        let nodes = status.nodes.iter().map(|node| records(node.node_id));
        Finding::of(&Measured {
            per_second_min: context.at_least(GATE_PER_SECOND),
            patients: count,
            registered: loaded.registered,
            failed: loaded.failed,
            records_of_each_replica: nodes.min().unwrap_or(0),
            seconds: loaded.seconds,
            per_second: loaded.registered as f64 / loaded.seconds.max(0.001),
            node_cpu_us_per_patient: used * 1_000_000.0 / count as f64,
            resident_mib: resident_mib(&cluster)?,
            disk_bytes_per_patient: disk_bytes(&cluster)?.iter().map(|bytes| bytes / count).collect(),
        })
    })
}
