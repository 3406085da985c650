//! Many independent calls of one operation, proposed together: bulk load.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use spine_proto::internal::shard::v1 as pb;
use spine_services::{Principal, SpineError, authorise, catalogue};
use spine_statemachine::Applied;
use tokio::time::{Instant, timeout_at};

use super::call::{Attempts, Dispatcher, checked};
use super::execute::{Call, Look, Planned, Settled, check_begun, engine_open, settle};
use super::failure::{ExecuteError, deadline_exceeded, not_initialised};
use super::forward;
use crate::shard::host::Shard;
use crate::shard::map::META_SHARD;
use crate::shard::proposals::{ENTRY_BYTES_MAX, ENTRY_SUBS_MAX, txn_entry};

type Outcome = Result<Bytes, SpineError>;

impl Dispatcher {
    /// Carries out many independent requests of one operation; one outcome each, in order.
    /// Every request must be repeatable, by a request id or by what it says: parts of a batch are repeated after a
    /// lost answer.
    ///
    /// # Errors
    /// [`SpineError`] where the caller may not do this at all.
    pub async fn call_batch(
        &self,
        operation: &str,
        requests: Vec<Bytes>,
        principal: &Principal,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, SpineError> {
        let spec = catalogue::find(operation)?;
        authorise(principal, spec)?;
        let map = self.host.map().ok_or_else(not_initialised)?;
        let mut outcomes: Vec<Option<Outcome>> = requests.iter().map(|_| None).collect();
        let mut by_shard: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, request) in requests.iter().enumerate() {
            match (spec.identify)(request).map(|identity| map.shard_of(identity.routing_key.slot())) {
                Ok(Some(shard)) => by_shard.entry(shard).or_default().push(at),
                Ok(None) => outcomes[at] = Some(Err(not_initialised())),
                Err(failure) => outcomes[at] = Some(Err(failure.into())),
            }
        }
        let parts = by_shard.into_iter().flat_map(|(shard, at)| {
            parts(&at, &requests)
                .into_iter()
                .map(move |part| (shard, part))
                .collect::<Vec<_>>()
        });
        let running = parts.map(|(shard, part)| {
            let bodies: Vec<Bytes> = part.iter().map(|at| requests[*at].clone()).collect();
            async move {
                (
                    part,
                    self.part(spec.name, shard, bodies, principal, deadline).await,
                )
            }
        });
        for (part, result) in futures_util::future::join_all(running).await {
            match result {
                Ok(results) => part
                    .into_iter()
                    .zip(results)
                    .for_each(|(at, result)| outcomes[at] = Some(result)),
                Err(error) => part
                    .into_iter()
                    .for_each(|at| outcomes[at] = Some(Err(error.clone()))),
            }
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Err(super::execute::unknown())))
            .collect())
    }

    /// Carries out the same requests on every shard that has slots. Every request must be repeatable by what it says.
    ///
    /// # Errors
    /// The first failure; what came before it may have been carried out.
    pub async fn tell_every_shard(
        &self,
        operation: &str,
        requests: &[Bytes],
        principal: &Principal,
        deadline: Instant,
    ) -> Result<(), SpineError> {
        let spec = catalogue::find(operation)?;
        authorise(principal, spec)?;
        let map = self.host.map().ok_or_else(not_initialised)?;
        let shards = map.shards().iter().map(|shard| shard.shard);
        let running = shards
            .filter(|shard| *shard != META_SHARD)
            .map(|shard| self.part(spec.name, shard, requests.to_vec(), principal, deadline));
        for outcomes in futures_util::future::try_join_all(running).await? {
            for outcome in outcomes {
                outcome?;
            }
        }
        Ok(())
    }

    async fn part(
        &self,
        operation: &'static str,
        shard: u32,
        bodies: Vec<Bytes>,
        principal: &Principal,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, SpineError> {
        let mut attempts = Attempts::new(self, shard, true, deadline);
        loop {
            let request = forward::request(
                operation,
                shard,
                Bytes::new(),
                bodies.clone(),
                principal,
                deadline,
            );
            let response = match attempts.target() {
                None => Ok(self.forwarded_batch(request, deadline).await),
                Some(node) => self.forwarder.execute(node, request, deadline).await,
            };
            match response.and_then(|response| batch_outcome(response, bodies.len())) {
                Ok(outcomes) => return Ok(outcomes),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    /// A batch on this node's replica.
    pub(super) async fn forwarded_batch(
        &self,
        request: pb::ExecuteRequest,
        deadline: Instant,
    ) -> pb::ExecuteResponse {
        let outcomes = match self.host.shard(request.shard) {
            Some(shard) => {
                let batch = pin!(self.execute_batch(&shard, request, deadline));
                self.executor
                    .unless_stalled(&shard, ExecuteError::Unknown, batch)
                    .await
            }
            None => Err(ExecuteError::NotLeader(None)),
        };
        match outcomes {
            Ok(outcomes) => pb::ExecuteResponse {
                outcome: Some(pb::execute_response::Outcome::Batch(pb::BatchOutcome {
                    outcomes: outcomes.into_iter().map(forward::response).collect(),
                })),
            },
            Err(error) => forward::response(Err(error)),
        }
    }

    async fn execute_batch(
        &self,
        shard: &Arc<Shard>,
        request: pb::ExecuteRequest,
        deadline: Instant,
    ) -> Result<Vec<Result<Bytes, ExecuteError>>, ExecuteError> {
        let (spec, principal) = checked(&request)?;
        self.executor.check_may_write()?;
        timeout_at(deadline, shard.group.ready_to_plan())
            .await
            .map_err(|_| deadline_exceeded())??;
        check_begun(shard)?;
        let mut calls = Vec::with_capacity(request.batch.len());
        for body in request.batch {
            let identity = (spec.identify)(&body).map_err(SpineError::from)?;
            calls.push(Call {
                spec,
                request: body,
                identity,
                principal: Arc::clone(&principal),
                settle: false,
            });
        }
        engine_open(shard, deadline).await?;
        let mut outcomes = self.propose_together(shard, &calls, deadline).await?;
        for (outcome, call) in outcomes.iter_mut().zip(&calls) {
            // What could not ride along goes alone, with its latch and its barrier.
            if outcome.is_none() {
                *outcome = Some(self.executor.execute(shard, call, deadline).await);
            }
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Err(ExecuteError::Unknown)))
            .collect())
    }

    async fn propose_together(
        &self,
        shard: &Arc<Shard>,
        calls: &[Call],
        deadline: Instant,
    ) -> Result<Vec<Option<Result<Bytes, ExecuteError>>>, ExecuteError> {
        let mut outcomes: Vec<Option<Result<Bytes, ExecuteError>>> = calls.iter().map(|_| None).collect();
        let (mut subs, mut riders) = (Vec::new(), Vec::new());
        for (at, call) in calls.iter().enumerate() {
            let context = self.executor.context(&call.principal);
            if let Ok(Planned::Sub(sub)) = self.executor.plan(shard, call, &context, Look::First) {
                riders.push((at, context, sub.outcome.clone()));
                subs.push(sub);
            }
        }
        if subs.is_empty() {
            return Ok(outcomes);
        }
        let entry = txn_entry(subs, self.executor.time.stamp_ms(shard));
        let proposed = timeout_at(deadline, shard.group.propose(entry))
            .await
            .map_err(|_| ExecuteError::Unknown)??;
        let Applied::Txn(applied) = proposed.applied else {
            return Err(ExecuteError::Unknown);
        };
        for ((at, context, planned), applied) in riders.into_iter().zip(applied) {
            outcomes[at] = match settle(applied, planned) {
                Ok(Settled::Done {
                    revision,
                    outcome,
                    replayed,
                }) => Some(
                    self.executor
                        .respond(shard, &calls[at], &context, revision, outcome, replayed)
                        .map_err(ExecuteError::Final),
                ),
                Ok(Settled::Replan) => None,
                Err(error) => Some(Err(error)),
            };
        }
        Ok(outcomes)
    }
}

fn batch_outcome(response: pb::ExecuteResponse, expected: usize) -> Result<Vec<Outcome>, ExecuteError> {
    match response.outcome {
        Some(pb::execute_response::Outcome::Batch(batch)) if batch.outcomes.len() == expected => {
            batch.outcomes.into_iter().map(final_outcome).collect()
        }
        _ => Err(forward::outcome(response).err().unwrap_or(ExecuteError::Unknown)),
    }
}

/// Inside a batch only final outcomes count; anything else repeats the part, which repeatable requests make safe.
fn final_outcome(response: pb::ExecuteResponse) -> Result<Outcome, ExecuteError> {
    match forward::outcome(response) {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(ExecuteError::Final(error)) => Ok(Err(error)),
        Err(other) => Err(other),
    }
}

/// Cuts a shard's requests into transactions.
fn parts(at: &[usize], requests: &[Bytes]) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for at in at {
        let size = requests[*at].len();
        match parts.last_mut() {
            Some(part) if part.len() < ENTRY_SUBS_MAX && bytes + size <= ENTRY_BYTES_MAX => {
                part.push(*at);
                bytes += size;
            }
            _ => {
                parts.push(vec![*at]);
                bytes = size;
            }
        }
    }
    parts
}
