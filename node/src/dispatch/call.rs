//! Any node takes any call: authorise -> route -> here, or one hop to the leader, again with a new hint inside
//! the deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use spine_consensus::group::Reign;
use spine_mutants::mutant;
use spine_proto::internal::shard::v1 as pb;
use spine_proto::records::v1::OpenSessionResponse;
use spine_services::{
    ErrorKind, Identity, OperationSpec, Principal, SpineError, authorise, catalogue, reason, session,
};
use tokio::time::{Instant, sleep_until};

use super::execute::{Call, Executor};
use super::failure::{ExecuteError, deadline_exceeded, no_leader, not_initialised, outcome_unknown};
use super::forward::{self, Forwarder};
use super::{feed, listing, retry};
use crate::entropy::Entropy;
use crate::fitness::Trouble;
use crate::shard::host::Host;
use crate::shard::map::META_SHARD;

/// An answer is on its way to the caller for about so long.
const ANSWER_TIME: Duration = Duration::from_millis(20);
/// Leadership leaves a node whose disk is in trouble within this; after it the caller is told of the trouble.
const UNFIT_PATIENCE: Duration = Duration::from_millis(1_500);

/// Routes calls; shared by every gateway.
pub struct Dispatcher {
    pub(super) node_id: u64,
    pub(super) host: Arc<Host>,
    pub(super) executor: Executor,
    pub(super) forwarder: Forwarder,
    pub(super) entropy: Arc<Entropy>,
    /// Where clients reach each node.
    pub(super) grpc_addresses: ArcSwap<BTreeMap<u64, String>>,
}

/// What a call gave.
pub struct Answer {
    /// The encoded response.
    pub body: Bytes,
    /// gRPC address of the node that led the shard a moment ago; a hint for the caller's next call.
    pub leader_address: Option<String>,
}

impl Dispatcher {
    /// A dispatcher over this node's shards and links.
    #[must_use]
    pub fn new(
        node_id: u64,
        host: Arc<Host>,
        executor: Executor,
        forwarder: Forwarder,
        entropy: Arc<Entropy>,
        grpc_addresses: BTreeMap<u64, String>,
    ) -> Self {
        Self {
            node_id,
            host,
            executor,
            forwarder,
            entropy,
            grpc_addresses: ArcSwap::from_pointee(grpc_addresses),
        }
    }

    /// From now on clients reach the nodes there.
    pub fn set_grpc_addresses(&self, addresses: BTreeMap<u64, String>) {
        self.grpc_addresses.store(Arc::new(addresses));
    }

    /// Opens a session for changes of this principal.
    ///
    /// # Errors
    /// `CLOCK_NOT_AGREED`: the time of opening decides when a session counts as forgotten.
    pub fn open_session(&self, principal: &Principal) -> Result<OpenSessionResponse, SpineError> {
        let executor = &self.executor;
        if !executor.time.verdict().is_agreed() {
            let message = "the clock of this node does not agree with those of its peers";
            return Err(SpineError::new(
                ErrorKind::Unavailable,
                reason::CLOCK_NOT_AGREED,
                message,
            ));
        }
        Ok(session::open(
            &principal.id,
            &executor.subject_key,
            &self.entropy.bytes(),
            executor.clock.now_ms(),
        ))
    }

    /// Carries out one operation, wherever its shard is led.
    ///
    /// # Errors
    /// [`SpineError`] with advice on what to do next.
    pub fn call(
        &self,
        operation: &str,
        request: Bytes,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer, SpineError>> + Send {
        self.carry_out(operation, request, principal, deadline, false)
    }

    /// Says what became of a change whose answer was lost: answers as it would have, or it never takes effect.
    ///
    /// # Errors
    /// `NOT_EXECUTED`, and what [`Self::call`] gives.
    pub fn settle(
        &self,
        operation: &str,
        request: Bytes,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer, SpineError>> + Send {
        self.carry_out(operation, request, principal, deadline, true)
    }

    async fn carry_out(
        &self,
        operation: &str,
        request: Bytes,
        principal: &Arc<Principal>,
        deadline: Instant,
        settle: bool,
    ) -> Result<Answer, SpineError> {
        let spec = catalogue::find(operation)?;
        authorise(principal, spec)?;
        let identity = (spec.identify)(&request)?;
        let shard = self
            .host
            .map()
            .ok_or_else(not_initialised)?
            .shard_of(identity.routing_key.slot())
            .ok_or_else(not_initialised)?;
        self.carry_out_in(shard, spec, identity, request, principal, deadline, settle)
            .await
    }

    /// Carries out one read on every shard that has slots, each exact at its own index.
    ///
    /// # Errors
    /// The first failure: the answers are complete, or none.
    pub async fn call_every_shard(
        &self,
        operation: &str,
        request: Bytes,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, SpineError> {
        let spec = catalogue::find(operation)?;
        authorise(principal, spec)?;
        let identity = (spec.identify)(&request)?;
        let map = self.host.map().ok_or_else(not_initialised)?;
        let shards = map
            .shards()
            .iter()
            .map(|shard| shard.shard)
            .filter(|shard| *shard != META_SHARD);
        let calls = shards.map(|shard| {
            let (identity, request) = (identity.clone(), request.clone());
            self.carry_out_in(shard, spec, identity, request, principal, deadline, false)
        });
        let answers = futures_util::future::try_join_all(calls).await?;
        Ok(answers.into_iter().map(|answer| answer.body).collect())
    }

    #[allow(clippy::too_many_arguments, reason = "one call, taken apart")]
    async fn carry_out_in(
        &self,
        shard: u32,
        spec: &'static OperationSpec,
        identity: Identity,
        request: Bytes,
        principal: &Arc<Principal>,
        deadline: Instant,
        settle: bool,
    ) -> Result<Answer, SpineError> {
        let repeatable = !spec.writes || identity.call_id.is_some();
        if settle && !repeatable {
            // Nobody could tell its tries from others, and to ask would be to make it.
            return Err(SpineError::new(
                ErrorKind::Invalid,
                reason::INVALID_REQUEST_ID,
                "a change without a request id cannot be settled",
            ));
        }
        let mut call = Call {
            spec,
            request,
            identity,
            principal: Arc::clone(principal),
            settle: settle && spec.writes,
        };
        let mut attempts = Attempts::new(self, shard, repeatable, deadline);
        attempts.settles = spec.writes && repeatable && !settle;
        loop {
            let result = match attempts.target() {
                None => self.here(shard, &call, deadline).await,
                Some(node) => {
                    let body = call.request.clone();
                    let mut wire = forward::request(spec.name, shard, body, Vec::new(), principal, deadline);
                    wire.settle = call.settle;
                    self.forwarder
                        .execute(node, wire, deadline)
                        .await
                        .and_then(forward::outcome)
                }
            };
            match result {
                Ok(body) => {
                    let leader_address = self.grpc_addresses.load().get(&attempts.current).cloned();
                    return Ok(Answer { body, leader_address });
                }
                Err(error) => attempts.after(error).await?,
            }
            call.settle |= attempts.refusal.is_some();
        }
    }

    async fn here(&self, shard: u32, call: &Call, deadline: Instant) -> Result<Bytes, ExecuteError> {
        match self.host.shard(shard) {
            Some(shard) => self.executor.execute(&shard, call, deadline).await,
            None => Err(ExecuteError::NotLeader(None)),
        }
    }

    /// The node that this node's own replica believes to lead.
    fn believed_leader(&self, shard: u32) -> Option<u64> {
        let status = self.host.shard(shard)?.group.status();
        if status.leading {
            // An unfit node hands over; who leads next is found by asking.
            self.executor.fitness.trouble().is_none().then_some(self.node_id)
        } else {
            status.leader.map(|(_, node)| node)
        }
    }

    /// Without a hint, the hosts in turn.
    fn some_node(&self, shard: u32, tries: u32) -> u64 {
        let nodes = self.host.map().map(|map| map.nodes_of(shard)).unwrap_or_default();
        let turn = usize::try_from(tries).unwrap_or(0);
        nodes
            .get(turn % nodes.len().max(1))
            .copied()
            .unwrap_or(self.node_id)
    }

    /// A call that another node forwarded: executed here or refused, never forwarded again.
    pub async fn forwarded(&self, request: pb::ExecuteRequest) -> pb::ExecuteResponse {
        let deadline = Instant::now() + Duration::from_millis(u64::from(request.deadline_ms));
        let page = match &*request.operation {
            feed::PAGE => Some(self.page_asked_for(&request).await),
            listing::PAGE => Some(self.list_page_asked_for(&request).await),
            _ => None,
        };
        if let Some(page) = page {
            return forward::response(page.map_err(ExecuteError::Final));
        }
        if !request.batch.is_empty() {
            return self.forwarded_batch(request, deadline).await;
        }
        forward::response(self.execute_forwarded(request, deadline).await)
    }

    async fn execute_forwarded(
        &self,
        request: pb::ExecuteRequest,
        deadline: Instant,
    ) -> Result<Bytes, ExecuteError> {
        let (spec, principal) = checked(&request)?;
        if mutant!("forwarded-again") {
            let again = self.call(spec.name, request.request, &principal, deadline);
            return Ok(again.await?.body);
        }
        let identity = (spec.identify)(&request.request).map_err(SpineError::from)?;
        let call = Call {
            spec,
            request: request.request,
            identity,
            principal,
            settle: request.settle && spec.writes,
        };
        self.here(request.shard, &call, deadline).await
    }
}

/// Which node to try next, and when to stop.
pub(super) struct Attempts<'a> {
    dispatcher: &'a Dispatcher,
    shard: u32,
    /// The call may be sent again although an earlier try may have taken effect.
    repeatable: bool,
    deadline: Instant,
    hint: Option<u64>,
    current: u64,
    unknown: bool,
    /// A refusal after a try without an answer counts once that try can no longer take effect.
    settles: bool,
    /// The refusal that waits for that.
    refusal: Option<SpineError>,
    /// Since when nodes with a disk in trouble have been all that answered.
    refused: Option<(Trouble, Instant)>,
    /// What this node's own replica knew of the leader before the last try.
    known: Option<Reign>,
    tries: u32,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(dispatcher: &'a Dispatcher, shard: u32, repeatable: bool, deadline: Instant) -> Self {
        let hint = dispatcher.believed_leader(shard);
        let current = dispatcher.node_id;
        Self {
            dispatcher,
            shard,
            repeatable,
            deadline,
            hint,
            current,
            unknown: false,
            settles: false,
            refusal: None,
            refused: None,
            known: None,
            tries: 0,
        }
    }

    /// The node to try now; `None` is this one.
    pub(super) fn target(&mut self) -> Option<u64> {
        let shard = self.dispatcher.host.shard(self.shard);
        self.known = shard.map(|shard| shard.group.reign());
        self.current = self
            .hint
            .take()
            .unwrap_or_else(|| self.dispatcher.some_node(self.shard, self.tries));
        (self.current != self.dispatcher.node_id).then_some(self.current)
    }

    /// Returns when another try makes sense.
    ///
    /// # Errors
    /// The final error, or the deadline is too near.
    pub(super) async fn after(&mut self, error: ExecuteError) -> Result<(), SpineError> {
        let here = self.current == self.dispatcher.node_id;
        // A leader that hands over names who is to lead, and that one does not yet.
        let handing_over = here && matches!(error, ExecuteError::NotLeader(Some(_)));
        match error {
            ExecuteError::Final(error) => return self.refused_by(error),
            ExecuteError::Unknown if !self.repeatable => return Err(outcome_unknown()),
            ExecuteError::Unknown => self.unknown = true,
            ExecuteError::NotLeader(leader) => self.hint = leader.filter(|node| *node != self.current),
            ExecuteError::NoQuorum => self.refused = None,
            ExecuteError::Unfit(trouble) => {
                let (_, since) = *self.refused.get_or_insert_with(|| (trouble, Instant::now()));
                self.refused = Some((trouble, since));
                if since.elapsed() >= UNFIT_PATIENCE {
                    return Err(self.in_vain());
                }
            }
        }
        let fraction = || self.dispatcher.entropy.fraction();
        if let Some(most) = retry::pause(self.tries, self.hint.is_some(), handing_over, fraction) {
            self.pause(most).await?;
        }
        if self.hint.is_none() {
            self.hint = self.dispatcher.believed_leader(self.shard);
        }
        self.tries += 1;
        Ok(())
    }

    /// # Errors
    /// The refusal, unless a try without an answer may still find another state: then that one is settled first.
    fn refused_by(&mut self, error: SpineError) -> Result<(), SpineError> {
        match self.refusal.take() {
            Some(refusal) if error.reason == reason::NOT_EXECUTED => Err(refusal),
            Some(_) => Err(outcome_unknown()),
            None if self.unknown && self.settles && error.kind.rests_on_state() => {
                self.refusal = Some(error);
                self.hint = Some(self.current);
                Ok(())
            }
            None => Err(error),
        }
    }

    /// Waits a little, and no longer than until this node's own replica hears of a leader that it did not know of
    /// before the last try.
    async fn pause(&mut self, most: Duration) -> Result<(), SpineError> {
        let least = Instant::now() + retry::PAUSE_MIN;
        let most = Instant::now() + most;
        // The reason must reach the caller while it still listens.
        let last = self.deadline.checked_sub(ANSWER_TIME).unwrap_or(self.deadline);
        if least >= last {
            return Err(self.in_vain());
        }
        sleep_until(least).await;
        tokio::select! {
            biased;
            leader = self.news() => self.hint = Some(leader),
            () = sleep_until(most.min(last)) => {}
        }
        Ok(())
    }

    /// A leader of whom nothing was known before the last try.
    async fn news(&self) -> u64 {
        match (self.dispatcher.host.shard(self.shard), self.known) {
            (Some(shard), Some(known)) => shard.group.leader_since(known).await,
            _ => std::future::pending().await,
        }
    }

    /// What to tell a caller for whom nobody could do it.
    fn in_vain(&self) -> SpineError {
        match (self.unknown, self.refused, self.tries) {
            (true, _, _) => outcome_unknown(),
            (false, Some((trouble, _)), _) => trouble.error(),
            (false, None, 0) => deadline_exceeded(),
            (false, None, _) => no_leader(self.shard),
        }
    }
}

/// The operation and the principal of a forwarded call, authorised again.
pub(super) fn checked(
    request: &pb::ExecuteRequest,
) -> Result<(&'static OperationSpec, Arc<Principal>), SpineError> {
    let spec = catalogue::find(&request.operation)?;
    let principal = request
        .principal
        .as_ref()
        .map(|p| Principal {
            id: p.id.clone(),
            permissions: p.permissions.clone(),
        })
        .unwrap_or_default();
    authorise(&principal, spec)?;
    Ok((spec, Arc::new(principal)))
}
