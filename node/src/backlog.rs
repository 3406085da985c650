//! Makes patients findable who were written before there were search tokens: the leader of each shard walks over all of
//! its patients once, behind the level that brings the tokens, and notes in the shard that it is done.
//!
//! A leader that is lost on the way is followed by another one, which begins again: whoever has tokens costs a look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spine_mutants::mutant;
use spine_proto::ids::NhsNumber;
use spine_proto::storage::v1 as pb;
use spine_services::pds::listing::{Next, Position, next};
use spine_services::pds::search::backlog;
use spine_services::{Context, Principal, SpineError, View, submit};
use spine_statemachine::key::SubjectKey;
use spine_statemachine::store::OrderedRead as _;
use spine_statemachine::{Applied, Rule, SubOutcome};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use crate::beat::beat;
use crate::clock_agreement::LeaderTime;
use crate::fitness::Fitness;
use crate::shard::host::{Host, Shard};
use crate::shard::map::META_SHARD;
use crate::shard::proposals::txn_entry;

/// Between two looks at all shards.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Shards of a node that are worked off at the same time.
const SHARDS_MAX: usize = 4;
/// Patients that get their tokens by one log entry.
const LOT: usize = 64;
/// After each lot, for the sake of callers: at most 3,000 patients of a shard a second, four shards of a node at a time.
const REST: Duration = Duration::from_millis(20);
/// Places that are passed between two rests where nobody lacks anything.
const LOOKS: usize = 256;
/// Looks after which other tasks run.
const LOOKS_AT_A_TIME: usize = 8;
/// A shard without a quorum is left alone after this, until the next look at it.
const SHARD_DEADLINE: Duration = Duration::from_secs(5);

/// See the module.
pub struct Backlog {
    walker: Arc<Walker>,
    /// When the node started.
    started: Instant,
    /// Shards that are known to be done; they stay so.
    done: BTreeSet<u32>,
    /// Shards that are being worked off. They end with this.
    tasks: JoinSet<()>,
    running: BTreeMap<u32, AbortHandle>,
    /// The shard that was begun last.
    last: u32,
}

/// What works a shard off.
struct Walker {
    host: Arc<Host>,
    time: LeaderTime,
    fitness: Fitness,
    subject_key: SubjectKey,
}

/// Some of a shard's patients.
#[derive(Default)]
struct Lot {
    subs: Vec<pb::SubTxn>,
    /// The last place of it; the end of the shard where it is `None`.
    after: Option<Position>,
}

impl Backlog {
    /// Of the shards of this node.
    #[must_use]
    pub fn new(
        host: Arc<Host>,
        time: LeaderTime,
        fitness: Fitness,
        subject_key: SubjectKey,
        started: Instant,
    ) -> Self {
        Self {
            walker: Arc::new(Walker {
                host,
                time,
                fitness,
                subject_key,
            }),
            started,
            done: BTreeSet::from([META_SHARD]),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            last: 0,
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        loop {
            while let Some(ended) = self.tasks.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(%error, "making patients findable ended");
                }
            }
            self.running.retain(|_, task| !task.is_finished());
            // Behind the one that was begun last: those that cannot be worked off now do not hold up all others.
            let mut shards = self.walker.host.all();
            shards.sort_by_key(|shard| {
                let number = shard.group.identity().shard;
                (number <= self.last, number)
            });
            for shard in shards {
                let number = shard.group.identity().shard;
                let is_next = self.running.len() < SHARDS_MAX && !self.running.contains_key(&number);
                if is_next && self.is_due(&shard) {
                    let walker = Arc::clone(&self.walker);
                    let task = self.tasks.spawn(async move { walker.work_off(&shard).await });
                    self.running.insert(number, task);
                    self.last = number;
                }
            }
            beat(self.started, LOOK_INTERVAL).await;
        }
    }

    /// Whether this node leads a shard that may have patients without tokens, and may write them.
    fn is_due(&mut self, shard: &Shard) -> bool {
        let group = &shard.group;
        let number = group.identity().shard;
        if self.done.contains(&number) || !self.walker.may_write(shard) {
            return false;
        }
        let read = group.store().read(|view| {
            let level = view.system().level;
            let done = view.get(&backlog::done_key());
            done.map(|done| (level, done.is_some()))
        });
        match read {
            Ok(Ok((_, true))) => {
                self.done.insert(number);
                false
            }
            Ok(Ok((level, false))) => Rule::SEARCH_TOKENS.holds_at(level),
            _ => false,
        }
    }
}

impl Walker {
    /// Nobody waits for these writes: they take no room that is kept for those of others.
    fn may_write(&self, shard: &Shard) -> bool {
        shard.group.status().leading && self.fitness.trouble().is_none()
    }

    /// All patients of the shard, while it is led here.
    async fn work_off(&self, shard: &Arc<Shard>) {
        let number = shard.group.identity().shard;
        // What an older leader has committed is there before the first look.
        let ready = timeout(SHARD_DEADLINE, shard.group.ready_to_plan()).await;
        if !matches!(ready, Ok(Ok(_))) {
            return;
        }
        let (mut after, mut written) = (None, 0);
        while self.may_write(shard) {
            let lot = match self.lot(shard, after).await {
                Ok(lot) => lot,
                Err(error) => {
                    tracing::error!(shard = number, %error, "look for patients without search tokens");
                    return;
                }
            };
            written += lot.subs.len();
            if !lot.subs.is_empty() && !self.propose(shard, lot.subs).await {
                return;
            }
            after = lot.after;
            if after.is_none() || mutant!("backlog-done-early") {
                return self.note_done(shard, written).await;
            }
            sleep(REST).await;
        }
    }

    async fn note_done(&self, shard: &Arc<Shard>, written: usize) {
        let done = pb::SubTxn {
            mutations: backlog::done(),
            ..pb::SubTxn::default()
        };
        if self.propose(shard, vec![done]).await {
            let shard = shard.group.identity().shard;
            tracing::info!(shard, written, "all patients have search tokens");
        }
    }

    /// The next patients that lack tokens.
    async fn lot(&self, shard: &Shard, after: Option<Position>) -> Result<Lot, SpineError> {
        let mut lot = Lot {
            after,
            ..Lot::default()
        };
        for look in 1..=LOOKS {
            if lot.subs.len() == LOT {
                return Ok(lot);
            }
            if look % LOOKS_AT_A_TIME == 0 {
                yield_now().await;
            }
            // Apply waits for a read, so each is of one patient.
            let found = shard.group.store().read(|records| {
                let found = next(records, &self.subject_key, lot.after.as_ref())?;
                let Next::Patient {
                    position, patient, ..
                } = found
                else {
                    return Ok((found, None::<pb::SubTxn>));
                };
                let mut view = View::new(records).at_level(records.system().level);
                let nhs_number = NhsNumber::parse(&patient.nhs_number).map_err(unreadable)?;
                let plan = backlog::missing(&mut view, &self.context(), nhs_number)?;
                let sub = (!plan.mutations.is_empty())
                    .then(|| submit::sub_txn(plan, view.into_guards(), None))
                    .transpose()?;
                Ok::<_, SpineError>((Next::Nobody(position), sub))
            });
            let (found, sub) = found.map_err(unreadable)??;
            lot.subs.extend(sub);
            match found {
                Next::Nobody(position) | Next::Patient { position, .. } => lot.after = Some(position),
                Next::End => {
                    lot.after = None;
                    return Ok(lot);
                }
            }
        }
        Ok(lot)
    }

    /// Whether it was committed. A patient who was changed meanwhile has got tokens with that change.
    async fn propose(&self, shard: &Arc<Shard>, subs: Vec<pb::SubTxn>) -> bool {
        let entry: Bytes = txn_entry(subs, self.time.stamp_ms(shard));
        let number = shard.group.identity().shard;
        let proposed = match timeout(SHARD_DEADLINE, shard.group.propose(entry)).await {
            Ok(Ok(proposed)) => proposed,
            Ok(Err(error)) => {
                tracing::info!(shard = number, %error, "search tokens wait");
                return false;
            }
            Err(_) => return false,
        };
        let is_done = |outcome: &SubOutcome| {
            matches!(
                outcome,
                SubOutcome::Committed { .. } | SubOutcome::GuardFailed { .. }
            )
        };
        let all = matches!(&proposed.applied, Applied::Txn(outcomes) if outcomes.iter().all(is_done));
        if !all {
            tracing::error!(shard = number, "search tokens are refused by the state machine");
        }
        all
    }

    /// Of nobody's call: only the key is used.
    fn context(&self) -> Context {
        Context {
            now_ms: 0,
            principal: Arc::new(Principal::default()),
            subject_key: self.subject_key.clone(),
            entropy: [0; 32],
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> SpineError {
    SpineError::new(
        spine_services::ErrorKind::Corrupt,
        spine_services::reason::STORE_DAMAGED,
        error.to_string(),
    )
}
