//! Power cuts of real nodes, whose disks lose what was not synced.

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spine_cluster_config::EngineKind;
use spine_faultdisk::Cut;

use super::support::{Checked, block_on, faulty_cluster, no_fuse};
use crate::processes::{Calls, FaultyCluster, Run, RunOptions, settle_and_check};
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::seeded;

pub(super) const ROW: Row = Row {
    id: "powercut-fuse",
    issue: 3,
    claim: "power cuts of one real node and of all three, where unsynced data and names are gone or torn, \
            lose nothing acknowledged",
    target: "both engines: 20 cuts of one node and 10 of all, 0 violations",
    run,
};

const ONE: u32 = 20;
const ONE_QUICK: u32 = 2;
const ALL: u32 = 10;
const ALL_QUICK: u32 = 1;
const CALLS_BETWEEN: usize = 300;
const SETTLE: Duration = Duration::from_secs(60);
/// Large values and the smallest delta make checkpoints while calls go on.
const VALUE_BYTES: usize = 2_048;
const CHECKPOINT_SETTING: &str = "storage.checkpoint_bytes=1048576";
/// A planned cut strikes during one of so many changes of the disk.
const CHANGES_MAX: u64 = 400;
const PLANNED_CUT_LIMIT: Duration = Duration::from_secs(3);
const PAUSE_MS_MAX: u64 = 300;

#[derive(Serialize)]
struct OfEngine {
    engine: String,
    cuts_of_one: u32,
    cuts_of_all: u32,
    #[serde(flatten)]
    checked: Checked,
}

#[derive(Serialize)]
struct Measured {
    engines: Vec<OfEngine>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, of) in self.engines.iter().enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(
                f,
                "{between}{}: {} cuts of one, {} of all, {}, {} unknown",
                of.engine,
                of.cuts_of_one,
                of.cuts_of_all,
                of.checked.text(),
                of.checked.unknown
            )?;
        }
        Ok(())
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        let sound = |of: &OfEngine| of.checked.violations.is_empty() && of.checked.acknowledged > 0;
        self.engines.len() == 2 && self.engines.iter().all(sound)
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    if let Some(skipped) = no_fuse() {
        return Ok(skipped);
    }
    block_on(async move {
        let mut engines = Vec::new();
        for engine in [EngineKind::Sled, EngineKind::Fjall] {
            engines.push(of_engine(context, engine).await?);
        }
        Finding::of(&Measured { engines })
    })
}

async fn of_engine(context: &Context, engine: EngineKind) -> Result<OfEngine, RowError> {
    let settings = [format!("storage.engine={engine}"), CHECKPOINT_SETTING.to_owned()];
    let mut faulty = faulty_cluster(context, &settings).await?;
    let mut random = seeded(3, "powercut-fuse");
    let options = RunOptions {
        value_len: VALUE_BYTES,
        ..RunOptions::default()
    };
    let (one, all) = (context.rounds(ONE, ONE_QUICK), context.rounds(ALL, ALL_QUICK));
    let load = Run::start(faulty.cluster(), &options)?;
    for round in 0..one + all {
        load.wait_operations(CALLS_BETWEEN).await?;
        // Every third round takes all nodes, as long as such rounds are left.
        if round % 3 == 2 && round / 3 < all {
            cut_all(&mut faulty, &mut random).await?;
        } else {
            let victim = random.random_range(0..faulty.cluster().nodes());
            cut_one(&mut faulty, victim, &mut random).await?;
        }
        faulty
            .cluster()
            .wait_healthy(SETTLE)
            .await
            .map_err(|error| RowError::because(format!("{engine}, round {round}: {error}")))?;
    }
    let operations = load.stop().await;
    let report = settle_and_check(faulty.cluster_mut(), &operations, SETTLE).await?;
    Ok(OfEngine {
        engine: engine.to_string(),
        cuts_of_one: one,
        cuts_of_all: all,
        checked: Checked::new(Calls::of(&operations), &report),
    })
}

/// One cut in three keeps nothing; the others keep by luck.
fn draw_cut(random: &mut ChaCha8Rng) -> Cut {
    match random.random_range(0..3_u8) {
        0 => Cut::Clean,
        _ => Cut::Torn(random.random()),
    }
}

async fn pause(random: &mut ChaCha8Rng) {
    let pause_ms = random.random_range(0..PAUSE_MS_MAX);
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
}

async fn cut_all(faulty: &mut FaultyCluster, random: &mut ChaCha8Rng) -> Result<(), RowError> {
    let nodes: Vec<usize> = (0..faulty.cluster().nodes()).collect();
    pause(random).await;
    faulty.power_cut(&nodes, draw_cut(random))?;
    for node in nodes {
        faulty.cluster_mut().restart(node)?;
    }
    Ok(())
}

/// At any moment, or during a change of the disk.
async fn cut_one(faulty: &mut FaultyCluster, node: usize, random: &mut ChaCha8Rng) -> Result<(), RowError> {
    let cut = draw_cut(random);
    if random.random_bool(0.5) {
        let changes = random.random_range(0..CHANGES_MAX);
        faulty
            .power_cut_after(node, changes, cut, PLANNED_CUT_LIMIT)
            .await?;
    } else {
        pause(random).await;
        faulty.power_cut(&[node], cut)?;
    }
    pause(random).await;
    Ok(faulty.cluster_mut().restart(node)?)
}
