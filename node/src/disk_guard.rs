//! Watches this node's disk, and keeps the node from leading and writing while the disk is in trouble.
//!
//! Nothing here waits for the disk or for a group: a group whose vote cannot be saved answers nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spine_storage::wal::Wal;
use tokio::time::{Instant, timeout};

use crate::beat::beat;
use crate::disk_health::{DiskHealth, Seen};
use crate::events::EventKind;
use crate::fitness::Trouble;
use crate::node::Inner;
use crate::telemetry::metrics::DiskTrouble as TroubleLabel;
use crate::unfit::Reason;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks between two questions for the free space.
const FREE_SPACE_EVERY_LOOKS: u64 = 5;
/// Looks between two rounds of checkpoints that were put off.
const CHECKPOINTS_EVERY_LOOKS: u64 = 40;
/// Between two probes of a disk that stalled.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// Between two tries to hand leadership over, so that the first has time to work.
const HAND_OVER_EVERY: Duration = Duration::from_millis(200);
/// A write of the log that takes so long is told: calls that are slow by it look like anything else. The disk of a
/// node that is well takes a few milliseconds.
const SLOW_WRITE: Duration = Duration::from_millis(100);
/// Between two lines about it.
const SLOW_WRITE_TOLD_EVERY: Duration = Duration::from_secs(1);
/// A group that does not even take an order is left to its peers, who see that this node claims nothing.
const ORDER_TIME: Duration = Duration::from_millis(20);

/// See the module.
pub struct DiskGuard {
    node: Arc<Inner>,
    wal: Wal,
    health: DiskHealth,
    /// What was wrong in the last look.
    trouble: Option<Trouble>,
    started: Instant,
    looks: u64,
    free_bytes: Option<u64>,
    /// A probe has been answered.
    probed: Arc<AtomicBool>,
    probing: Arc<AtomicBool>,
    last_probe: Option<Instant>,
    last_hand_over: Option<Instant>,
    /// The slowest write since the last line about it, and when that was.
    slowest: Duration,
    slow_told: Option<Instant>,
}

impl DiskGuard {
    /// A guard of the disk under this log.
    #[must_use]
    pub fn new(node: Arc<Inner>, wal: Wal) -> Self {
        let health = DiskHealth::new(node.config.storage.full_below_bytes);
        Self {
            node,
            wal,
            health,
            trouble: None,
            started: Instant::now(),
            looks: 0,
            free_bytes: None,
            probed: Arc::default(),
            probing: Arc::default(),
            last_probe: None,
            last_hand_over: None,
            slowest: Duration::ZERO,
            slow_told: None,
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        loop {
            let seen = self.see();
            self.tell_slow_writes(seen.slowest);
            let trouble = self.health.look(self.started.elapsed(), &seen);
            let before = std::mem::replace(&mut self.trouble, trouble);
            if before != trouble {
                self.tell(before, trouble);
            }
            // The others are told of the trouble in either case: whoever is better is to lead.
            self.node.peers.unfit().set(Reason::Disk, trouble.is_some());
            let held_back = DiskHealth::holds_back(trouble, &seen, || self.is_another_fit());
            self.node.fitness.set(held_back);
            self.node.fitness.set_exhausted(self.health.is_exhausted());
            match trouble {
                Some(trouble) => {
                    if trouble == Trouble::DiskStalled {
                        self.probe();
                    }
                    self.hand_over().await;
                }
                None => self.last_hand_over = None,
            }
            self.ask_for_checkpoints();
            beat(self.node.started, LOOK_EVERY).await;
        }
    }

    /// Whether every shard of this node could be led by another one that does not lack what it takes.
    fn is_another_fit(&self) -> bool {
        let shards = self.node.host.all();
        let voters = shards.iter().map(|shard| {
            let voters = shard.group.voters();
            voters.into_iter().map(|(_, node)| node).collect()
        });
        self.node.peers.is_another_fit(&voters.collect())
    }

    /// One that found no room is not made again by itself, and apply may be waiting for it.
    fn ask_for_checkpoints(&self) {
        if !self.looks.is_multiple_of(CHECKPOINTS_EVERY_LOOKS) {
            return;
        }
        let Some(running) = self.node.running() else {
            return;
        };
        for shard in self.node.host.all() {
            if shard.group.store().wants_checkpoint() {
                running.checkpoints.request(shard.group.store());
            }
        }
    }

    fn see(&mut self) -> Seen {
        if self.looks.is_multiple_of(FREE_SPACE_EVERY_LOOKS) {
            let dir = &self.node.config.node.data_dir;
            self.free_bytes = self.node.parts.disk.free_bytes(dir).ok();
        }
        self.looks += 1;
        Seen {
            busy: self.wal.stalled_for(),
            slowest: self.wal.slowest_batch(),
            probed: self.probed.swap(false, Ordering::AcqRel),
            log_waits: self.wal.is_full(),
            free_bytes: self.free_bytes,
        }
    }

    fn tell_slow_writes(&mut self, slowest: Duration) {
        self.slowest = self.slowest.max(slowest);
        let lately = |told: Instant| told.elapsed() < SLOW_WRITE_TOLD_EVERY;
        if self.slowest < SLOW_WRITE || self.slow_told.is_some_and(lately) {
            return;
        }
        let ms = u64::try_from(self.slowest.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(ms, "slow disk: a write of the log, with its sync");
        self.slow_told = Some(Instant::now());
        self.slowest = Duration::ZERO;
    }

    /// For operators: once in the log, the events and the metrics.
    fn tell(&self, before: Option<Trouble>, now: Option<Trouble>) {
        match now {
            Some(trouble) => tracing::warn!(
                trouble = trouble.as_str(),
                free_bytes = self.free_bytes,
                busy_ms = u64::try_from(self.wal.stalled_for().as_millis()).unwrap_or(u64::MAX),
                "disk in trouble: this node gives up leadership"
            ),
            None => tracing::info!("disk works again"),
        }
        let kind = match now {
            Some(Trouble::DiskStalled) => EventKind::DiskStalled,
            Some(Trouble::DiskFull) => EventKind::DiskFull,
            None => EventKind::DiskHealthy,
        };
        self.node.note(kind, None);
        let metrics = &self.node.metrics.storage;
        for trouble in Trouble::ALL {
            let label = TroubleLabel {
                trouble: trouble.as_str(),
            };
            metrics
                .disk_trouble
                .get_or_create(&label)
                .set(u64::from(now == Some(trouble)));
            if now == Some(trouble) && before != now {
                metrics.disk_troubles.get_or_create(&label).inc();
            }
        }
    }

    /// One at a time, in the background: it may hang.
    fn probe(&mut self) {
        let due = self.last_probe.is_none_or(|last| last.elapsed() >= PROBE_EVERY);
        if !due || self.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        self.last_probe = Some(Instant::now());
        let (wal, probed, probing) = (
            self.wal.clone(),
            Arc::clone(&self.probed),
            Arc::clone(&self.probing),
        );
        self.node.spawn(async move {
            if wal.probe().await.is_ok() {
                probed.store(true, Ordering::Release);
            }
            probing.store(false, Ordering::Release);
        });
    }

    /// Every group that is led here goes to its best follower.
    async fn hand_over(&mut self) {
        if self
            .last_hand_over
            .is_some_and(|last| last.elapsed() < HAND_OVER_EVERY)
        {
            return;
        }
        self.last_hand_over = Some(Instant::now());
        for shard in self.node.host.all() {
            if !shard.group.status().leading {
                continue;
            }
            if let Some(successor) = self.node.best_successor(&shard) {
                // One that takes no order is taken over by the others.
                let _ = timeout(ORDER_TIME, shard.group.transfer_to(successor)).await;
            }
        }
    }
}
