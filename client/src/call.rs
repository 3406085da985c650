//! One call: which node, how long, what next, until an answer or the deadline.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spine_mutants::mutant;
use spine_proto::ids::Slot;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::address::Address;
use crate::attempt::{Sending, Try};
use crate::dial::{Link, LinkError};
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::hedge::HedgeBudget;
use crate::options::Options;
use crate::pool::{Node, Pool};
use crate::retry::{Backoff, Verdict, judge};
use crate::route::{Routes, spread};
use crate::sessions::Sessions;
use crate::trail::Trail;

/// A node may name the leader of the shard it answered for, so that the next call goes there.
pub(crate) const LEADER_HEADER: &str = "spine-leader";
/// None of the earlier tries took effect, and none ever will.
const NOT_EXECUTED: &str = "NOT_EXECUTED";

/// Everything the calls of one client share.
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) pool: Pool,
    pub(crate) routes: Routes,
    pub(crate) entropy: Arc<Entropy>,
    pub(crate) metadata: Arc<MetadataMap>,
    pub(crate) in_flight: Semaphore,
    pub(crate) hedge: HedgeBudget,
    pub(crate) sessions: Sessions,
}

/// Whether a lost answer leaves a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

/// How one call is to be made.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) slot: Slot,
    pub(crate) effect: Effect,
    pub(crate) deadline: Option<Duration>,
    /// How many times as long as usual one try may take: some calls take several steps, or wait for their turn.
    pub(crate) steps: u32,
}

/// An answer that says which shard gave it.
pub(crate) trait Positioned {
    fn shard(&self) -> u32;
}

impl Core {
    /// Makes the call until it is answered for good or its deadline ends.
    pub(crate) async fn run<Q, A, F, Fut>(&self, call: Call, request: &Q, rpc: F) -> Result<A>
    where
        Q: Clone,
        A: Positioned,
        F: Fn(Link, Try<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + call.deadline.unwrap_or(self.options.deadline);
        let mut run = Run::new(call, deadline);
        let Ok(Ok(_permit)) = timeout_at(deadline, self.in_flight.acquire()).await else {
            run.last = Some(Error::local(
                ErrorKind::RateLimited,
                "CLIENT_BUSY",
                "too many calls in flight",
            ));
            return Err(run.out_of_time());
        };
        loop {
            let Some((node, link)) = self.connect(&mut run).await else {
                return Err(run.out_of_time());
            };
            let asked = Instant::now();
            let (node, outcome) = self.attempt(&mut run, node, link, request, &rpc).await;
            let verdict = match outcome {
                Some(Ok(answer)) => {
                    run.trail.answered(asked, node.address());
                    return Ok(self.learn(&run, &node, answer));
                }
                Some(Err(status)) => judge(&status),
                None => {
                    run.slow += 1;
                    let message = "no answer within the deadline of one try";
                    let error = Error::local(ErrorKind::DeadlineExceeded, "DEADLINE_EXCEEDED", message);
                    Verdict::Unanswered(error)
                }
            };
            run.trail.failed(asked, node.address(), &verdict);
            self.step(&mut run, &node, verdict).await?;
        }
    }

    /// One try, and a second one at another node where the first has gone silent. Gives what came first, and from
    /// whom; `None` where nothing came in time.
    async fn attempt<Q, A, F, Fut>(
        &self,
        run: &mut Run,
        node: Arc<Node>,
        link: Link,
        request: &Q,
        rpc: &F,
    ) -> (Arc<Node>, Option<Result<Response<A>, Status>>)
    where
        Q: Clone,
        F: Fn(Link, Try<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let until = run.try_until(self.options.try_deadline, self.pool.count());
        let left = until.saturating_duration_since(Instant::now());
        run.attempts += 1;
        let asked = Instant::now();
        let settle = run.refusal.is_some();
        let message = |left, sending| Try {
            message: request.clone(),
            left,
            settle,
            metadata: Arc::clone(&self.metadata),
            sending,
        };
        let sending = Arc::<Sending>::default();
        let answer = timeout_at(until, rpc(link, message(left, Arc::clone(&sending))));
        let first = async {
            match answer.await {
                // It waited for this client's own connection: that says nothing of the node.
                Err(_) if sending.take_back() => Ok(Err(Status::from_error(Box::new(LinkError::Waited)))),
                other => other,
            }
        };
        tokio::pin!(first);
        tokio::select! {
            biased;
            outcome = &mut first => return (node, outcome.ok()),
            () = node.silent_for(self.options.hedge_after) => {}
        }
        if !self.hedge.spend() {
            return (node, first.await.ok());
        }
        let sent = AtomicBool::new(false);
        let candidates = self.candidates(run.call.slot, None, &run.tried);
        let second = async {
            let connected = self.pool.reach(&candidates, self.options.connect_hedge).await;
            let Ok((other, link)) = connected.outcome else {
                // The first one is all that is left.
                return std::future::pending().await;
            };
            let left = until.saturating_duration_since(Instant::now());
            sent.store(true, Ordering::Relaxed);
            let outcome = timeout_at(until, rpc(link, message(left, Arc::default()))).await;
            (other, outcome.ok())
        };
        tokio::pin!(second);
        let (said, (other, answer)) = tokio::select! {
            biased;
            outcome = &mut first => {
                let outcome = outcome.ok();
                if matches!(outcome, Some(Ok(_))) || !sent.load(Ordering::Relaxed) {
                    return (node, outcome);
                }
                // Who was asked may do it: a refusal by the first alone settles nothing.
                (outcome, second.await)
            }
            (other, answer) = &mut second => {
                let said = if matches!(answer, Some(Ok(_))) { None } else { first.await.ok() };
                (said, (other, answer))
            }
        };
        run.attempts += 1;
        run.trail.silent(asked, node.address());
        run.tried.insert(other.address().clone());
        match said {
            Some(said) if !matches!(answer, Some(Ok(_))) => {
                // Neither could help at once, and the first has spoken after all.
                run.unanswered += u32::from(is_unclear(answer.as_ref()));
                (node, Some(said))
            }
            Some(_) => (other, answer),
            None => {
                // What became of the first is unknown; it counts as any try without an answer.
                node.suspect();
                self.routes.forget(run.call.slot, node.address());
                run.unanswered += 1;
                (other, answer)
            }
        }
    }

    /// One try at one node, with one more only where the first could not be sent: for calls that
    /// are about that node.
    pub(crate) async fn run_at<Q, A, F, Fut>(
        &self,
        address: &Address,
        deadline: Duration,
        request: &Q,
        rpc: F,
    ) -> Result<A>
    where
        Q: Clone,
        F: Fn(Link, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let until = Instant::now() + deadline;
        let mut attempts = 0;
        let not_reached = |why: &str| {
            let message = format!("{address} could not be reached: {why}");
            Error::local(ErrorKind::Unavailable, "NO_NODE_REACHED", message)
        };
        let Some(node) = self.pool.node(address) else {
            return Err(not_reached("too many addresses are known"));
        };
        loop {
            let (_, link) = timeout_at(until, self.pool.link(Arc::clone(&node)))
                .await
                .map_err(|_| not_reached("no connection within the deadline").counted(attempts, 0))?;
            let link = link.map_err(|why| not_reached(&why).counted(attempts, 0))?;
            attempts += 1;
            let left = until.saturating_duration_since(Instant::now());
            match timeout_at(until, rpc(link, self.request(request.clone(), left))).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => match judge(&status) {
                    Verdict::NotSent if attempts == 1 => {}
                    Verdict::NotSent => return Err(not_reached("the connection closed").counted(attempts, 0)),
                    Verdict::Unanswered(error) => return Err(error.counted(attempts, 1)),
                    Verdict::Final(error)
                    | Verdict::Elsewhere { error, .. }
                    | Verdict::Wait { error, .. } => return Err(error.counted(attempts, 0)),
                },
                Err(_) => {
                    let error = Error::local(
                        ErrorKind::DeadlineExceeded,
                        "DEADLINE_EXCEEDED",
                        "no answer in time",
                    );
                    return Err(error.counted(attempts, 1));
                }
            }
        }
    }

    /// A request with the client's metadata and the time left for this try.
    pub(crate) fn request<Q>(&self, message: Q, left: Duration) -> Request<Q> {
        let metadata = Arc::clone(&self.metadata);
        let attempt = Try {
            message,
            left,
            settle: false,
            metadata,
            sending: Arc::default(),
        };
        attempt.into_request()
    }

    /// A connection to the best node that can be reached; pauses between rounds. `None` when the
    /// call's deadline has come.
    async fn connect(&self, run: &mut Run) -> Option<(Arc<Node>, Link)> {
        if let Some(known) = self.at_leader(run) {
            return Some(known);
        }
        loop {
            let candidates = self.candidates(run.call.slot, run.next.clone(), &run.tried);
            if !candidates.is_empty() {
                let hedge = self.options.connect_hedge;
                let dial = async {
                    // Who was named by a node that cannot do the call itself is worth a wait.
                    match run.next {
                        Some(_) => self.pool.connect(&candidates, hedge).await,
                        None => self.pool.reach(&candidates, hedge).await,
                    }
                };
                let connected = timeout_at(run.deadline, dial).await.ok()?;
                for address in connected.refused {
                    self.routes.forget(run.call.slot, &address);
                    run.tried.insert(address);
                }
                match connected.outcome {
                    Ok((node, link)) => {
                        run.next = None;
                        run.tried.insert(node.address().clone());
                        return Some((node, link));
                    }
                    Err(error) => run.not_reached(&error),
                }
            }
            if !self.pause(run, Duration::ZERO).await {
                return None;
            }
        }
    }

    /// The usual case: a call's first try, at a leader that is known, connected and sound.
    fn at_leader(&self, run: &mut Run) -> Option<(Arc<Node>, Link)> {
        if run.next.is_some() || !run.tried.is_empty() {
            return None;
        }
        let address = self.routes.leader(run.call.slot)?;
        let node = self.pool.known(&address).filter(|node| !node.is_suspect())?;
        let link = node.ready()?;
        run.tried.insert(address);
        Some((node, link))
    }

    /// All nodes, those that answered lately first.
    pub(crate) fn any_candidates(&self) -> Vec<Arc<Node>> {
        let mut nodes = self.pool.all();
        nodes.sort_by_key(|node| node.is_suspect());
        nodes
    }

    /// Nodes not yet tried in this round: the one to ask next, the leader, then the others from a
    /// place that the slot decides; those that did not answer lately come last.
    pub(crate) fn candidates(
        &self,
        slot: Slot,
        next: Option<Address>,
        tried: &BTreeSet<Address>,
    ) -> Vec<Arc<Node>> {
        let hint = next.or_else(|| self.routes.leader(slot));
        let hint = hint.filter(|address| !tried.contains(address));
        let hinted = hint.as_ref().and_then(|address| self.pool.node(address));
        let mut others = self.pool.all();
        let first = spread(slot, others.len());
        others.rotate_left(first);
        others.retain(|node| !tried.contains(node.address()) && Some(node.address()) != hint.as_ref());
        others.sort_by_key(|node| node.is_suspect());
        let (sound, suspect): (Vec<_>, Vec<_>) = hinted.into_iter().partition(|node| !node.is_suspect());
        sound.into_iter().chain(others).chain(suspect).collect()
    }

    /// Ends a round. False when the deadline comes before the pause is over.
    async fn pause(&self, run: &mut Run, at_least: Duration) -> bool {
        // Callers that were refused together do not come back together.
        let at_least = self.entropy.between(at_least, at_least * 3 / 2);
        let pause = run.backoff.next(&self.entropy).max(at_least);
        run.tried.clear();
        let until = Instant::now() + pause;
        sleep_until(until.min(run.deadline)).await;
        until < run.deadline
    }

    /// Prepares the next try after one that failed, or ends the call.
    async fn step(&self, run: &mut Run, node: &Arc<Node>, verdict: Verdict) -> Result<()> {
        let slot = run.call.slot;
        let mut pause = None;
        match verdict {
            Verdict::Final(error) => run.refused_by(error, node)?,
            Verdict::NotSent => {
                node.suspect();
                self.routes.forget(slot, node.address());
            }
            Verdict::Unanswered(error) if mutant!("unknown-is-failure") => return Err(run.counted(error)),
            Verdict::Unanswered(error) => {
                node.suspect();
                self.routes.forget(slot, node.address());
                run.unanswered += 1;
                run.last = Some(error);
            }
            Verdict::Elsewhere { leader, shard, error } => {
                self.routes.forget(slot, node.address());
                self.routes.learn_shard(slot, shard);
                if let Some(leader) = leader {
                    self.routes.learn_leader(shard, &leader);
                    run.next = Some(leader);
                }
                run.last = Some(error);
            }
            Verdict::Wait { after, shard, error } => {
                self.routes.learn_shard(slot, shard);
                run.next = Some(node.address().clone());
                run.last = Some(error);
                pause = Some(after);
            }
        }
        match pause {
            Some(at_least) if !self.pause(run, at_least).await => Err(run.out_of_time()),
            _ if Instant::now() >= run.deadline => Err(run.out_of_time()),
            _ => Ok(()),
        }
    }

    fn learn<A: Positioned>(&self, run: &Run, node: &Node, answer: Response<A>) -> A {
        node.trust();
        self.hedge.earn();
        let shard = answer.get_ref().shard();
        self.routes.learn_shard(run.call.slot, shard);
        if !self.options.follow_leaders {
            return answer.into_inner();
        }
        let leader = answer
            .metadata()
            .get(LEADER_HEADER)
            .and_then(|value| value.to_str().ok());
        match leader {
            // Mostly it is who answered.
            Some(text) if text == node.address().as_str() => self.routes.learn_leader(shard, node.address()),
            Some(text) => {
                if let Ok(leader) = Address::parse(text) {
                    self.routes.learn_leader(shard, &leader);
                }
            }
            None => {}
        }
        answer.into_inner()
    }
}

/// Whether a try may have been executed although it gave no answer.
fn is_unclear<A>(outcome: Option<&Result<Response<A>, Status>>) -> bool {
    match outcome {
        None => true,
        Some(Ok(_)) => false,
        Some(Err(status)) => matches!(judge(status), Verdict::Unanswered(_)),
    }
}

/// The state of one call.
struct Run {
    call: Call,
    deadline: Instant,
    backoff: Backoff,
    /// Asked in this round.
    tried: BTreeSet<Address>,
    /// To be asked next, by the last answer's hint.
    next: Option<Address>,
    attempts: u32,
    unanswered: u32,
    /// A refusal that counts once the tries without an answer can no longer take effect.
    refusal: Option<Error>,
    /// Tries that ended by their own deadline.
    slow: u32,
    last: Option<Error>,
    trail: Trail,
}

impl Run {
    fn new(call: Call, deadline: Instant) -> Self {
        Self {
            call,
            deadline,
            backoff: Backoff::default(),
            tried: BTreeSet::new(),
            next: None,
            attempts: 0,
            unanswered: 0,
            refusal: None,
            slow: 0,
            last: None,
            trail: Trail::new(),
        }
    }

    /// Tries grow once every known node has been too slow, so that a slow cluster is not asked the
    /// same again and again without ever being given the time to answer.
    fn try_until(&self, try_deadline: Duration, nodes: usize) -> Instant {
        let rounds = self.slow / u32::try_from(nodes.max(1)).unwrap_or(u32::MAX);
        let factor = 1_u32.checked_shl(rounds).unwrap_or(u32::MAX);
        let factor = factor.saturating_mul(self.call.steps);
        (Instant::now() + try_deadline.saturating_mul(factor)).min(self.deadline)
    }

    fn not_reached(&mut self, why: &str) {
        if self.last.is_none() {
            let message = format!("no node could be reached: {why}");
            self.last = Some(Error::local(ErrorKind::Unavailable, "NO_NODE_REACHED", message));
        }
    }

    fn counted(&self, error: Error) -> Error {
        error.counted(self.attempts, self.unanswered)
    }

    /// # Errors
    /// The refusal, unless a try without an answer may still find another state: then that one is settled first.
    fn refused_by(&mut self, error: Error, node: &Node) -> Result<()> {
        match self.refusal.take() {
            Some(refusal) if error.reason == NOT_EXECUTED => Err(self.counted(refusal)),
            Some(_) => Err(self.doubt()),
            None if self.leaves_doubt(&error) => {
                self.refusal = Some(error);
                self.next = Some(node.address().clone());
                self.tried.clear();
                Ok(())
            }
            None => Err(self.counted(error)),
        }
    }

    /// Whether a refusal of the last try says nothing of the tries without an answer: it rests on a state that may
    /// change before they are executed, or on a session that was there for them.
    fn leaves_doubt(&self, refusal: &Error) -> bool {
        let rests_on_state =
            refusal.is_conflict() || refusal.is_not_found() || refusal.kind == ErrorKind::SessionExpired;
        self.call.effect == Effect::Write
            && self.unanswered > 0
            && rests_on_state
            && !mutant!("refusal-ends-doubt")
    }

    /// It may have happened.
    fn doubt(&self) -> Error {
        let message = "it is unknown whether the change took effect: a try had no answer";
        self.counted(Error::local(
            ErrorKind::OutcomeUnknown,
            "OUTCOME_UNKNOWN",
            message,
        ))
    }

    /// The error of a call whose deadline has come.
    fn out_of_time(&self) -> Error {
        if self.call.effect == Effect::Write && self.unanswered > 0 && !mutant!("doubt-forgotten") {
            return self.doubt();
        }
        let none = || {
            Error::local(
                ErrorKind::Unavailable,
                "NO_NODE_REACHED",
                "no node could be reached",
            )
        };
        self.counted(self.last.clone().unwrap_or_else(none))
    }
}
