//! On the leader: view -> plan -> txn -> propose -> applied -> response. The only place that runs business rules.

use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use spine_mutants::mutant;
use spine_proto::storage::v1 as pb;
use spine_services::{
    CallId, Completed, Context, ErrorKind, Identity, OperationSpec, Principal, SpineError, View, submit,
};
use spine_statemachine::request::Seen;
use spine_statemachine::store::OrderedRead;
use spine_statemachine::{SubOutcome, request};
use spine_storage::replica::{ReplicaError, View as StoreView};
use tokio::time::{Instant, timeout_at};

use super::failure::{BUSY_PAUSE, ExecuteError, busy, deadline_exceeded, outcome_unknown};
use crate::clock::Clock;
use crate::clock_agreement::LeaderTime;
use crate::entropy::Entropy;
use crate::fitness::Fitness;
use crate::shard::host::Shard;

/// How often a plan is made again because what it read had changed.
pub const REPLANS_MAX: u32 = 5;

/// What every execution needs of the node.
pub struct Executor {
    /// For rules about dates.
    pub clock: Arc<dyn Clock>,
    /// For `proposed_at`.
    pub time: LeaderTime,
    /// For plans that need randomness.
    pub entropy: Arc<Entropy>,
    /// Whether this node may write.
    pub fitness: Fitness,
    /// Key of the subject permutation.
    pub subject_key: spine_statemachine::key::SubjectKey,
}

/// One call to execute.
#[derive(Clone)]
pub struct Call {
    /// The operation.
    pub spec: &'static OperationSpec,
    /// Its encoded request.
    pub request: Bytes,
    /// Which call it is.
    pub identity: Identity,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// Only what became of an earlier try is asked: it is answered as that one was, or it never takes effect.
    pub settle: bool,
}

/// When it is asked what is known of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Before it is planned.
    First,
    /// Only where the plan has nothing to propose: what is proposed is looked up where it is applied. Much less work
    /// for calls of a session, whose row remembers many others.
    Last,
}

impl Look {
    pub(super) fn for_call(call: &Call) -> Self {
        match call.identity.call_id {
            Some(CallId::Session(_)) if !call.settle => Self::Last,
            _ => Self::First,
        }
    }
}

/// A plan that is ready to propose.
pub(super) enum Planned {
    /// Propose this.
    Sub(pb::SubTxn),
    /// It took effect before.
    Replayed { revision: u64, outcome: Bytes },
    /// Nothing to change: a no, or nothing to do. Counts only after a barrier.
    Nothing(Result<Bytes, SpineError>),
}

impl Executor {
    pub(super) fn context(&self, principal: &Arc<Principal>) -> Context {
        Context {
            now_ms: self.clock.now_ms(),
            principal: Arc::clone(principal),
            subject_key: self.subject_key.clone(),
            entropy: self.entropy.bytes(),
        }
    }

    /// Executes a call on this node's replica.
    ///
    /// # Errors
    /// [`ExecuteError`]
    pub async fn execute(
        &self,
        shard: &Arc<Shard>,
        call: &Call,
        deadline: Instant,
    ) -> Result<Bytes, ExecuteError> {
        if call.spec.writes {
            self.check_may_write()?;
            let work = pin!(self.write(shard, call, deadline));
            self.unless_stalled(shard, ExecuteError::Unknown, work).await
        } else {
            let work = pin!(self.read(shard, call, deadline));
            self.unless_stalled(shard, ExecuteError::NotLeader(None), work)
                .await
        }
    }

    /// # Errors
    /// [`ExecuteError::Unfit`] while the disk is in trouble.
    pub(super) fn check_may_write(&self) -> Result<(), ExecuteError> {
        self.fitness
            .trouble()
            .map_or(Ok(()), |trouble| Err(ExecuteError::Unfit(trouble)))
    }

    /// A group on a disk that stalls may answer nobody; another replica of it does. The work is pinned where it is:
    /// given away it would be copied, and the future of a call is large.
    pub(super) async fn unless_stalled<T>(
        &self,
        shard: &Arc<Shard>,
        otherwise: ExecuteError,
        work: Pin<&mut impl Future<Output = Result<T, ExecuteError>>>,
    ) -> Result<T, ExecuteError> {
        let stalled = async {
            self.fitness.stalled().await;
            if shard.group.is_alone() {
                pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = stalled => Err(otherwise),
        }
    }

    async fn read(&self, shard: &Arc<Shard>, call: &Call, deadline: Instant) -> Result<Bytes, ExecuteError> {
        timeout_at(deadline, shard.barrier())
            .await
            .map_err(|_| deadline_exceeded())??;
        check_begun(shard)?;
        engine_open(shard, deadline).await?;
        let context = self.context(&call.principal);
        let response = shard.group.store().read(|view| -> Result<Bytes, SpineError> {
            let mut reader = View::new(view).at_level(view.system().level);
            let plan = (call.spec.plan)(&mut reader, &call.request, &context)?;
            let done = completed(shard, index_of(view), 0, plan.outcome, false);
            Ok((call.spec.respond)(view, &call.request, &done, &context)?)
        });
        Ok(response.map_err(|error| halted(&error))??)
    }

    async fn write(&self, shard: &Arc<Shard>, call: &Call, deadline: Instant) -> Result<Bytes, ExecuteError> {
        let context = self.context(&call.principal);
        let latch = timeout_at(deadline, shard.latches.acquire(&call.identity.routing_key))
            .await
            .map_err(|_| deadline_exceeded())?
            .map_err(|_| busy(BUSY_PAUSE))?;
        timeout_at(deadline, shard.group.ready_to_plan())
            .await
            .map_err(|_| deadline_exceeded())??;
        check_begun(shard)?;

        let mut latch = Some(latch);
        let mut look = Look::for_call(call);
        let mut after_barrier = false;
        for _ in 0..=REPLANS_MAX {
            engine_open(shard, deadline).await?;
            match self.plan(shard, call, &context, look)? {
                Planned::Replayed { revision, outcome } => {
                    return Ok(self.respond(shard, call, &context, revision, outcome, true)?);
                }
                Planned::Nothing(result) if after_barrier || mutant!("rejection-without-barrier") => {
                    return Ok(result?);
                }
                // A no is a read: proven by a barrier begun after the request, then decided again.
                Planned::Nothing(_) => {
                    timeout_at(deadline, shard.barrier())
                        .await
                        .map_err(|_| deadline_exceeded())??;
                    after_barrier = true;
                }
                Planned::Sub(sub) => {
                    let outcome_bytes = sub.outcome.clone();
                    let (guard, outcome) = self.propose(shard, sub, latch.take(), deadline).await?;
                    latch = guard;
                    // It took effect just before it was to be given up, or the other way round.
                    if outcome == SubOutcome::RequestIdReused && (call.settle || look == Look::Last) {
                        look = Look::First;
                        continue;
                    }
                    match settle(outcome, outcome_bytes)? {
                        Settled::Done { .. } if call.settle => return Err(submit::not_executed().into()),
                        Settled::Done {
                            revision,
                            outcome,
                            replayed,
                        } => {
                            return Ok(self.respond(shard, call, &context, revision, outcome, replayed)?);
                        }
                        Settled::Replan => {}
                    }
                }
            }
        }
        Err(contended().into())
    }

    /// Plans on a view that is exact at one applied index.
    pub(super) fn plan(
        &self,
        shard: &Arc<Shard>,
        call: &Call,
        context: &Context,
        look: Look,
    ) -> Result<Planned, SpineError> {
        let planned = shard.group.store().read(|view| {
            let key = submit::request_key(
                call.spec,
                &call.identity,
                &call.request,
                &call.principal,
                &self.subject_key,
            )?;
            let known = |now: Look| match &key {
                Some(key) if now == look => decided(view, key, call.settle),
                _ => Ok(None),
            };
            if let Some(planned) = known(Look::First)? {
                return Ok(planned);
            }
            let mut reader = View::new(view).at_level(view.system().level);
            let plan = match (call.spec.plan)(&mut reader, &call.request, context) {
                Ok(plan) => plan,
                Err(failure) => {
                    let no = Planned::Nothing(Err(failure.into()));
                    return Ok(known(Look::Last)?.unwrap_or(no));
                }
            };
            if plan.mutations.is_empty() {
                if let Some(planned) = known(Look::Last)? {
                    return Ok(planned);
                }
                let done = completed(shard, index_of(view), 0, plan.outcome, false);
                let response = (call.spec.respond)(view, &call.request, &done, context);
                return Ok(Planned::Nothing(response.map_err(SpineError::from)));
            }
            submit::sub_txn(plan, reader.into_guards(), key).map(Planned::Sub)
        });
        planned.map_err(|error| halted(&error))?
    }

    async fn propose(
        &self,
        shard: &Arc<Shard>,
        sub: pb::SubTxn,
        latch: Option<crate::shard::latch::LatchGuard>,
        deadline: Instant,
    ) -> Result<(Option<crate::shard::latch::LatchGuard>, SubOutcome), ExecuteError> {
        let room = Arc::clone(&shard.room)
            .try_acquire_owned()
            .map_err(|_| busy(BUSY_PAUSE))?;
        let proposal = shard.propose(sub, latch, room, &self.time);
        let (latch, outcome) = timeout_at(deadline, proposal)
            .await
            .map_err(|_| ExecuteError::Unknown)?;
        Ok((latch, outcome?))
    }

    pub(super) fn respond(
        &self,
        shard: &Arc<Shard>,
        call: &Call,
        context: &Context,
        revision: u64,
        outcome: Bytes,
        replayed: bool,
    ) -> Result<Bytes, SpineError> {
        let response = shard.group.store().read(|view| -> Result<Bytes, SpineError> {
            let done = completed(shard, revision, revision, outcome, replayed);
            Ok((call.spec.respond)(
                view as &dyn OrderedRead,
                &call.request,
                &done,
                context,
            )?)
        });
        response.map_err(|error| halted(&error))?
    }
}

/// # Errors
/// The call's time is over before the replica's engine is open again.
pub(super) async fn engine_open(shard: &Arc<Shard>, deadline: Instant) -> Result<(), ExecuteError> {
    let open = timeout_at(deadline, shard.group.store().engine_open()).await;
    Ok(open.map_err(|_| deadline_exceeded())?)
}

/// What is already decided for the call of this key; `None` where it is to be planned.
fn decided(view: &StoreView<'_>, key: &pb::RequestKey, settle: bool) -> Result<Option<Planned>, SpineError> {
    let look = |key| request::look(view, view.system(), key).map_err(|error| damaged(&error));
    let mut seen = look(key)?;
    if let Seen::Before { same, .. } = &mut seen {
        *same |= mutant!("reused-request-id-replayed");
    }
    if matches!(seen, Seen::Before { same: false, .. })
        && matches!(look(&request::void_of(key))?, Seen::Before { same: true, .. })
    {
        return Ok(Some(Planned::Nothing(Err(submit::not_executed()))));
    }
    Ok(match submit::known(seen) {
        Ok(None) => settle.then(|| Planned::Sub(submit::void(key))),
        Ok(Some((revision, outcome))) => Some(Planned::Replayed { revision, outcome }),
        // A state that is behind may not know the session's newest row.
        Err(no) => Some(Planned::Nothing(Err(no))),
    })
}

/// What the outcome of a SubTxn means for its call.
pub(super) enum Settled {
    Done {
        revision: u64,
        outcome: Bytes,
        replayed: bool,
    },
    Replan,
}

pub(super) fn settle(outcome: SubOutcome, planned: Bytes) -> Result<Settled, ExecuteError> {
    match outcome {
        SubOutcome::Committed { revision } => Ok(Settled::Done {
            revision,
            outcome: planned,
            replayed: false,
        }),
        SubOutcome::Replayed { revision, outcome } => Ok(Settled::Done {
            revision,
            outcome,
            replayed: true,
        }),
        SubOutcome::GuardFailed { .. } => Ok(Settled::Replan),
        SubOutcome::RequestIdReused => Err(submit::request_id_reused().into()),
        SubOutcome::SessionExpired => Err(submit::session_expired().into()),
        SubOutcome::ForeignSlot { .. } => Err(ExecuteError::NotLeader(None)),
        SubOutcome::TooLarge { limit } => Err(submit::broken_limit(limit).into()),
    }
}

/// # Errors
/// [`ExecuteError::NotLeader`]: a shard that has only just begun is asked again.
pub(super) fn check_begun(shard: &Shard) -> Result<(), ExecuteError> {
    if shard.has_begun() {
        Ok(())
    } else {
        Err(ExecuteError::NotLeader(None))
    }
}

fn completed(shard: &Arc<Shard>, index: u64, revision: u64, outcome: Bytes, replayed: bool) -> Completed {
    Completed {
        shard: shard.group.identity().shard,
        index,
        revision,
        outcome,
        replayed,
    }
}

fn contended() -> SpineError {
    let mut error = SpineError::new(
        ErrorKind::RateLimited,
        "CONTENDED",
        "the record kept changing while the call was planned",
    );
    error.retry_after_ms = 50;
    error
}

/// The index that a view is exact at.
fn index_of(view: &StoreView<'_>) -> u64 {
    view.applied().map_or(0, |id| id.index)
}

/// The replica serves nothing any more; another one may.
fn halted(error: &ReplicaError) -> SpineError {
    tracing::error!(%error, "read replica");
    SpineError::new(
        ErrorKind::Corrupt,
        "STORE_DAMAGED",
        "this replica cannot read its store",
    )
}

fn damaged(error: &spine_statemachine::store::ReadError) -> SpineError {
    tracing::error!(%error, "read request row");
    SpineError::new(
        ErrorKind::Corrupt,
        "STORE_DAMAGED",
        "this replica cannot read its store",
    )
}

/// For callers whose write ended without an answer.
#[must_use]
pub fn unknown() -> SpineError {
    outcome_unknown()
}
