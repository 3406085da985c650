//! Any node takes any call: authorise -> route -> here, or one hop to the leader, again with a new hint inside
//! the deadline.

use std::sync::Arc;

use bytes::Bytes;
use spine_proto::internal::shard::v1 as pb;
use spine_services::catalogue;
use spine_services::context::Principal;
use spine_services::error::SpineError;
use spine_services::operation::authorise;
use tokio::time::{Instant, sleep_until};

use super::execute::{Call, Executor};
use super::failure::{ExecuteError, deadline_exceeded, no_leader, not_initialised, outcome_unknown};
use super::forward::{self, Forwarder};
use crate::entropy::Entropy;
use crate::shard::host::Host;

/// Routes calls; shared by every gateway.
pub struct Dispatcher {
    pub(super) node_id: u64,
    pub(super) host: Arc<Host>,
    pub(super) executor: Executor,
    pub(super) forwarder: Forwarder,
    pub(super) entropy: Arc<Entropy>,
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
    ) -> Self {
        Self { node_id, host, executor, forwarder, entropy }
    }

    /// Carries out one operation, wherever its shard is led.
    ///
    /// # Errors
    /// [`SpineError`] with advice on what to do next.
    pub async fn call(
        &self,
        operation: &str,
        request: Bytes,
        principal: &Principal,
        deadline: Instant,
    ) -> Result<Bytes, SpineError> {
        let spec = catalogue::find(operation)?;
        authorise(principal, spec)?;
        let routing_key = (spec.route)(&request)?;
        let repeatable = !spec.writes || (spec.request_id)(&request)?.is_some();
        let shard = self
            .host
            .map()
            .ok_or_else(not_initialised)?
            .shard_of(routing_key.slot())
            .ok_or_else(not_initialised)?;
        let call = Call { spec, request, routing_key, principal: principal.clone() };
        let wire = |deadline| {
            forward::request(spec.name, shard, call.request.clone(), Vec::new(), principal, deadline)
        };
        self.until_answered(shard, repeatable, deadline, async |node| match node {
            None => self.here(shard, &call, deadline).await,
            Some(node) => forward::outcome(self.forwarder.execute(node, wire(deadline), deadline).await?),
        })
        .await
    }

    async fn here(&self, shard: u32, call: &Call, deadline: Instant) -> Result<Bytes, ExecuteError> {
        match self.host.shard(shard) {
            Some(shard) => self.executor.execute(&shard, call, deadline).await,
            None => Err(ExecuteError::NotLeader(None)),
        }
    }

    /// Tries nodes until one gives a final answer. `attempt(None)` is this node.
    pub(super) async fn until_answered<T>(
        &self,
        shard: u32,
        repeatable: bool,
        deadline: Instant,
        attempt: impl AsyncFn(Option<u64>) -> Result<T, ExecuteError>,
    ) -> Result<T, SpineError> {
        let mut hint = self.believed_leader(shard);
        let mut unknown = false;
        let mut tries = 0_u32;
        loop {
            let target = hint.take().unwrap_or_else(|| self.some_node(shard, tries));
            match attempt((target != self.node_id).then_some(target)).await {
                Ok(answer) => return Ok(answer),
                Err(ExecuteError::Final(error)) => return Err(error),
                Err(ExecuteError::Unknown) if !repeatable => return Err(outcome_unknown()),
                Err(ExecuteError::Unknown) => unknown = true,
                Err(ExecuteError::NotLeader(leader)) => hint = leader.filter(|node| *node != target),
                Err(ExecuteError::NoQuorum) => {}
            }
            // A fresh hint is followed at once, the first time; after that every try has a pause.
            if hint.is_none() || tries > 0 {
                let pause = Instant::now() + forward::retry_pause(tries, self.entropy.fraction());
                if pause >= deadline {
                    return Err(if unknown {
                        outcome_unknown()
                    } else if tries == 0 {
                        deadline_exceeded()
                    } else {
                        no_leader(shard)
                    });
                }
                sleep_until(pause).await;
            }
            if hint.is_none() {
                hint = self.believed_leader(shard);
            }
            tries += 1;
        }
    }

    /// The node that this node's own replica believes to lead.
    fn believed_leader(&self, shard: u32) -> Option<u64> {
        let status = self.host.shard(shard)?.group.status();
        if status.leading { Some(self.node_id) } else { status.leader.map(|(_, node)| node) }
    }

    /// Without a hint, the hosts in turn.
    fn some_node(&self, shard: u32, tries: u32) -> u64 {
        let nodes = self.host.map().map(|map| map.nodes_of(shard)).unwrap_or_default();
        let turn = usize::try_from(tries).unwrap_or(0);
        nodes.get(turn % nodes.len().max(1)).copied().unwrap_or(self.node_id)
    }

    /// A call that another node forwarded: executed here or refused, never forwarded again.
    pub async fn forwarded(&self, request: pb::ExecuteRequest) -> pb::ExecuteResponse {
        let deadline = Instant::now() + std::time::Duration::from_millis(u64::from(request.deadline_ms));
        if !request.batch.is_empty() {
            return self.forwarded_batch(request, deadline).await;
        }
        forward::response(self.execute_forwarded(request, deadline).await)
    }

    async fn execute_forwarded(&self, request: pb::ExecuteRequest, deadline: Instant) -> Result<Bytes, ExecuteError> {
        let (spec, principal) = checked(&request)?;
        let routing_key = (spec.route)(&request.request).map_err(SpineError::from)?;
        let call = Call { spec, request: request.request, routing_key, principal };
        self.here(request.shard, &call, deadline).await
    }
}

/// The operation and the principal of a forwarded call, authorised again.
pub(super) fn checked(
    request: &pb::ExecuteRequest,
) -> Result<(&'static catalogue::OperationSpec, Principal), SpineError> {
    let spec = catalogue::find(&request.operation)?;
    let principal = request
        .principal
        .as_ref()
        .map(|p| Principal { id: p.id.clone(), permissions: p.permissions.clone() })
        .unwrap_or_default();
    authorise(&principal, spec)?;
    Ok((spec, principal))
}
