//! Changes that reach over several shards, carried out here step by step: this node may die at any of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use spine_proto::pds::v1::{
    AllocateRequest, AllocateResponse, ListRelatedRequest, ListRelatedResponse, MergeRequest, MergeResponse,
    RetrieveRequest, RetrieveResponse,
};
use spine_services::pds::access::Mode;
use spine_services::pds::allocate::steps::Steps;
use spine_services::pds::allocate::{allocate, turn};
use spine_services::pds::person::merge::merge;
use spine_services::{ErrorKind, Principal, SpineError, reason};
use tokio::time::{Instant, sleep, timeout_at};

use super::edge::Edge;
use crate::dispatch::call::Answer;
use crate::dispatch::failure::{BUSY_PAUSE, busy, deadline_exceeded, outcome_unknown};
use crate::shard::latch::LatchGuard;

/// Numbers that were merged, one into another, before one answers.
const SUPERSEDED_MAX: usize = 16;
/// Longest that a caller waits for others who ask this node for people of the same day.
const TURN_PATIENCE: Duration = Duration::from_secs(3);
/// Who is there for a patient.
const RELATED: &str = "pds.list_related";
/// An answer without a resource is shorter than this; nothing longer is decoded.
const BARE_BYTES_MAX: usize = 128;

/// One change on its way.
struct Walk<'a> {
    edge: &'a Edge,
    principal: &'a Arc<Principal>,
    deadline: Instant,
}

impl Steps for Walk<'_> {
    async fn call(&self, operation: &'static str, request: Bytes) -> Result<Bytes, SpineError> {
        let answer = self
            .edge
            .call_once(operation, request, self.principal, self.deadline, false)
            .await?;
        Ok(answer.body)
    }

    async fn every_shard(&self, operation: &'static str, request: Bytes) -> Result<Vec<Bytes>, SpineError> {
        self.edge
            .call_every_shard(operation, request, self.principal, self.deadline)
            .await
    }

    async fn pause(&self, ms: u64) -> Result<(), SpineError> {
        let pause = Duration::from_millis(ms);
        if Instant::now() + pause >= self.deadline {
            // An earlier try may have got further than this one knows.
            return Err(outcome_unknown());
        }
        sleep(pause).await;
        Ok(())
    }
}

impl Edge {
    /// Has a patient created under a new NHS Number, unless there is one.
    ///
    /// # Errors
    /// [`SpineError`] with advice on what to do next.
    pub async fn allocate(
        &self,
        request: &AllocateRequest,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<AllocateResponse, SpineError> {
        let started = Instant::now();
        let _turn = self.turn(request, deadline).await?;
        let walk = Walk {
            edge: self,
            principal,
            deadline,
        };
        let result = Box::pin(allocate(&walk, request, principal, self.clock.now_ms())).await;
        self.note("pds.allocate", started, result.as_ref().err());
        result
    }

    /// Saves work and nothing else: who waits in vain goes on without it, as long as there is time.
    async fn turn(
        &self,
        request: &AllocateRequest,
        deadline: Instant,
    ) -> Result<Option<LatchGuard>, SpineError> {
        let Some(day) = turn(request) else {
            return Ok(None);
        };
        let patience = Instant::now() + TURN_PATIENCE;
        match timeout_at(patience.min(deadline), self.newcomers.acquire(&day)).await {
            Ok(Ok(latch)) => Ok(Some(latch)),
            Ok(Err(_)) => Err(busy(BUSY_PAUSE)),
            Err(_) if deadline <= patience => Err(deadline_exceeded()),
            Err(_) => Ok(None),
        }
    }

    /// Merges one number into another.
    ///
    /// # Errors
    /// [`SpineError`] with advice on what to do next.
    pub async fn merge(
        &self,
        request: &MergeRequest,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<MergeResponse, SpineError> {
        let started = Instant::now();
        let walk = Walk {
            edge: self,
            principal,
            deadline,
        };
        let result = Box::pin(merge(&walk, request, principal)).await;
        self.note("pds.merge", started, result.as_ref().err());
        result
    }

    /// The answer of the number that answers for this one, where they were merged.
    pub(super) async fn followed(
        &self,
        operation: &str,
        request: &Bytes,
        mut answer: Answer,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<Answer, SpineError> {
        if operation == RELATED && decoded::<ListRelatedRequest>(request)?.number > 0 {
            return self.unless_survivor_hides(answer, principal, deadline).await;
        }
        let mut principal = Arc::clone(principal);
        for _ in 0..SUPERSEDED_MAX {
            let Some(next) = next(operation, request, &answer.body)? else {
                return Ok(answer);
            };
            principal = of_survivor(&principal, next.number);
            answer = self
                .call_once(next.operation, next.request, &principal, deadline, false)
                .await?;
        }
        Err(too_many_merges())
    }

    /// The related person of a number that was merged; nobody where the one that answers for it shows nobody.
    async fn unless_survivor_hides(
        &self,
        mut answer: Answer,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<Answer, SpineError> {
        let mut told: ListRelatedResponse = decoded(&answer.body)?;
        let survivor = std::mem::take(&mut told.superseded_by);
        if survivor.is_empty() {
            return Ok(answer);
        }
        if self.hides_related(survivor, principal, deadline).await? {
            told.related.clear();
            told.restricted = true;
        }
        answer.body = told.encode_to_vec().into();
        Ok(answer)
    }

    /// Whether the number that answers for this one in the end is of somebody sensitive.
    ///
    /// # Errors
    /// Where it answers with one: the record was marked as invalid, or is not there.
    async fn hides_related(
        &self,
        mut number: String,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<bool, SpineError> {
        for _ in 0..SUPERSEDED_MAX {
            let request = ListRelatedRequest {
                nhs_number: number.clone(),
                ..ListRelatedRequest::default()
            };
            let request = Bytes::from(request.encode_to_vec());
            let principal = of_survivor(principal, number);
            let answer = self
                .call_once(RELATED, request, &principal, deadline, false)
                .await?;
            let told: ListRelatedResponse = decoded(&answer.body)?;
            if told.superseded_by.is_empty() {
                return Ok(told.restricted);
            }
            number = told.superseded_by;
        }
        Err(too_many_merges())
    }
}

fn too_many_merges() -> SpineError {
    SpineError::new(
        ErrorKind::Internal,
        reason::INTERNAL,
        "too many numbers were merged one into another",
    )
}

/// A patient who was let see a number is let see the one that answers for it: both are theirs. Whether they were is
/// decided by the number that they asked for.
fn of_survivor(principal: &Arc<Principal>, number: String) -> Arc<Principal> {
    if Mode::of(principal) != Mode::Patient {
        return Arc::clone(principal);
    }
    Arc::new(Principal {
        id: number,
        permissions: principal.permissions.clone(),
    })
}

/// What to ask instead.
struct Next {
    operation: &'static str,
    request: Bytes,
    /// Whom it is about.
    number: String,
}

/// `None` where the answer is one.
fn next(operation: &str, request: &Bytes, body: &Bytes) -> Result<Option<Next>, SpineError> {
    if body.len() > BARE_BYTES_MAX {
        return Ok(None);
    }
    let (operation, number, request): (_, _, Bytes) = match operation {
        "pds.retrieve" => {
            let number = decoded::<RetrieveResponse>(body)?.superseded_by;
            let request = RetrieveRequest {
                nhs_number: number.clone(),
            };
            ("pds.retrieve", number, request.encode_to_vec().into())
        }
        RELATED => {
            let number = decoded::<ListRelatedResponse>(body)?.superseded_by;
            let mut request: ListRelatedRequest = decoded(request)?;
            request.nhs_number.clone_from(&number);
            (RELATED, number, request.encode_to_vec().into())
        }
        _ => return Ok(None),
    };
    Ok((!number.is_empty()).then_some(Next {
        operation,
        request,
        number,
    }))
}

fn decoded<M: Message + Default>(bytes: &Bytes) -> Result<M, SpineError> {
    M::decode(bytes.clone())
        .map_err(|_| SpineError::new(ErrorKind::Internal, reason::INTERNAL, "message of another kind"))
}
