//! Random work, and the power cut or the process killed at random moments, many lives in a row on one disk.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spine_storage::disk::SimDisk;
use spine_storage::wal::Wal;

use crate::model::{Model, Op};
use crate::support::{Place, TASKS};

const SEEDS: u64 = 60;
const LIVES: u32 = 8;
const OPERATIONS_PER_LIFE: u32 = 60;
/// The last group is nearly always idle: its records must be moved forward.
const GROUPS: u64 = 4;

fn draw(rng: &mut ChaCha8Rng, len: usize) -> Op {
    match rng.random_range(0..100) {
        0..60 => Op::Append {
            count: rng.random_range(1..=4),
            len: rng.random_range(0..=900),
        },
        60..72 => Op::Vote,
        72..80 => Op::Committed,
        80..86 => Op::Truncate(rng.random_range(0..=3)),
        // Keep about ten entries, so that disk space can be bounded.
        86..99 => Op::Purge((len as u64).saturating_sub(rng.random_range(0..=10))),
        _ => Op::PurgeBeyond(rng.random_range(1..=5)),
    }
}

async fn live(wal: &Wal, model: &mut Model, rng: &mut ChaCha8Rng) -> bool {
    for group in 1..=GROUPS {
        if !wal.group(group).exists() && !model.run(wal, group, &Op::Create).await {
            return false;
        }
    }
    for _ in 0..OPERATIONS_PER_LIFE {
        let idle = rng.random_ratio(1, 40);
        let group = if idle { GROUPS } else { rng.random_range(1..GROUPS) };
        let len = model.now()[&group].len();
        let op = draw(rng, len);
        if !model.run(wal, group, &op).await {
            return false;
        }
        for _ in 0..rng.random_range(0..3) {
            tokio::task::yield_now().await;
        }
    }
    true
}

/// One process: its tasks die with it.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

fn run_seed(seed: u64) -> (u64, u64) {
    let disk = SimDisk::new(seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut model = Model::new(1..=GROUPS);
    let mut place = Place::simulated(&disk, TASKS);
    place.options.cache_bytes = 4096;
    let (mut relocated_bytes, mut segments) = (0, 0);
    for _ in 0..LIVES {
        let process = runtime();
        process.block_on(async {
            let wal = place.open();
            model.recovered(&wal);
            let cut = rng.random_bool(0.7);
            if cut {
                disk.power_cut_after(rng.random_range(0..120));
            }
            let finished = live(&wal, &mut model, &mut rng).await;
            if finished && !cut && rng.random_bool(0.3) {
                wal.close().await.unwrap();
                model.check_now(&wal);
            }
            relocated_bytes += wal.stats().relocated_bytes;
            segments = segments.max(wal.stats().segments);
        });
        drop(process);
        // Not to strike in the next life.
        disk.cancel_power_cut();
        disk.process_crash();
        if rng.random_bool(0.2) {
            disk.power_cut();
        }
    }
    let process = runtime();
    process.block_on(async { model.recovered(&place.open()) });
    (relocated_bytes, segments)
}

#[test]
fn nothing_acknowledged_is_lost() {
    let (mut relocated_bytes, mut segments) = (0, 0);
    for seed in 0..SEEDS {
        let (relocated, used) = run_seed(seed);
        relocated_bytes += relocated;
        segments = segments.max(used);
    }
    assert!(relocated_bytes > 0, "the test never made the log move records");
    assert!(segments >= 4, "the test never filled a few segments");
}
