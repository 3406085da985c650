//! A disk that takes 50 to 100 ms for whatever is to be durable: too little for a stall.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spine_faultdisk::Command;
use tokio::time::{Instant, sleep};

use super::{CALLS_BETWEEN, Part, SETTLE, load_of, ms};
use crate::processes::{FaultyCluster, Run};
use crate::prove::rows::leadership::{leads_most, led_by};
use crate::prove::{Context, RowError};

const SLOW_TIME: Duration = Duration::from_secs(3);
/// In turns every read, write and sync is slow, so that what is written and synced takes twice as long ...
const EACH_MS: RangeInclusive<u64> = 25..=50;
/// ... and syncs alone.
const SYNC_MS: RangeInclusive<u64> = 50..=100;
/// A cluster that does less meanwhile stands still.
const CALLS_MIN: usize = 100;
const CALLS_MIN_QUICK: usize = 30;

#[derive(Default, Serialize)]
pub(super) struct Slows {
    rounds: u32,
    /// Within the slow time of a round.
    fewest_calls: Option<usize>,
    /// What the node still led at the end of its slow time, the meta group too, the most.
    led_on: usize,
    /// From the heal to a healthy cluster, the slowest.
    back_ms: u64,
    #[serde(skip)]
    calls_min: usize,
}

impl fmt::Display for Slows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds of {} s, at least {} calls in each, the slow node led {} groups at most in the end, \
             healthy {} ms after the heal",
            self.rounds,
            SLOW_TIME.as_secs(),
            self.fewest_calls.unwrap_or(0),
            self.led_on,
            self.back_ms
        )
    }
}

impl Slows {
    pub(super) fn is_met(&self) -> bool {
        self.fewest_calls.is_some_and(|calls| calls >= self.calls_min)
    }

    async fn round(
        &mut self,
        faulty: &FaultyCluster,
        load: &Run,
        random: &mut ChaCha8Rng,
    ) -> Result<(), RowError> {
        let cluster = faulty.cluster();
        load.wait_operations(CALLS_BETWEEN).await?;
        cluster.wait_leaders_spread(SETTLE).await?;
        let node = leads_most(cluster).await?;
        let order = if self.rounds.is_multiple_of(2) {
            Command::Slow(random.random_range(EACH_MS))
        } else {
            Command::StallSync(Some(random.random_range(SYNC_MS)))
        };
        faulty.order(node, &order)?;
        let before = load.operations();
        sleep(SLOW_TIME).await;
        let calls = load.operations() - before;
        let fewest = self.fewest_calls.map_or(calls, |fewest| fewest.min(calls));
        self.fewest_calls = Some(fewest);
        let led = led_by(cluster, node, (node + 1) % cluster.nodes()).await?;
        self.led_on = self.led_on.max(led);
        cluster.check_alive()?;
        faulty.order(node, &Command::Heal)?;
        let healed = Instant::now();
        cluster.wait_healthy(SETTLE).await?;
        self.back_ms = self.back_ms.max(ms(healed.elapsed()));
        self.rounds += 1;
        Ok(())
    }
}

pub(super) async fn run(
    context: &Context,
    faulty: &mut FaultyCluster,
    rounds: u32,
    random: &mut ChaCha8Rng,
) -> Result<Part<Slows>, RowError> {
    let load = Run::start(faulty.cluster(), &load_of(2))?;
    let mut slows = Slows {
        calls_min: context.rounds(CALLS_MIN, CALLS_MIN_QUICK),
        ..Slows::default()
    };
    for _ in 0..rounds {
        slows.round(faulty, &load, random).await?;
    }
    load.wait_operations(CALLS_BETWEEN).await?;
    let operations = load.stop().await;
    Part::of(slows, faulty, &operations).await
}
