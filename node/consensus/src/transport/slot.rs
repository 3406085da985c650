//! The place of one outbound connection (a peer's log or bulk lane): empty, being dialled, open, or failed a
//! moment ago.

use std::sync::Arc;

use parking_lot::Mutex;
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::Lane;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::counters::{Counters, add};
use super::dial::connect;
use super::error::PeerError;
use super::handshake::{Greeted, Introduction, greet};
use super::jitter::Backoff;
use super::limits::{BACKOFF_MAX, BACKOFF_MIN};
use crate::net::Net;

/// What dialling needs.
pub(crate) struct Dialing {
    pub(crate) net: Arc<dyn Net>,
    pub(crate) introduction: Arc<Introduction>,
    pub(crate) counters: Arc<Counters>,
}

#[derive(Clone)]
enum State {
    Idle,
    Dialling,
    Open(Arc<Caller>),
    /// Nobody tries again before.
    Failed(PeerError, Instant),
}

pub(crate) struct Slot {
    peer: NodeId,
    lane: Lane,
    addresses: Vec<String>,
    dialing: Arc<Dialing>,
    state: watch::Sender<State>,
    backoff: Mutex<Backoff>,
    stop: CancellationToken,
}

impl Slot {
    pub(crate) fn new(
        peer: NodeId,
        lane: Lane,
        addresses: Vec<String>,
        dialing: Arc<Dialing>,
        seed: u64,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            peer,
            lane,
            addresses,
            dialing,
            state: watch::Sender::new(State::Idle),
            backoff: Mutex::new(Backoff::new(seed, BACKOFF_MIN, BACKOFF_MAX)),
            stop,
        })
    }

    /// The open connection, after dialling if need be.
    pub(crate) async fn connection(self: &Arc<Self>, until: Instant) -> Result<Arc<Caller>, PeerError> {
        let mut states = self.state.subscribe();
        loop {
            if self.stop.is_cancelled() {
                return Err(PeerError::Unreachable);
            }
            let state = states.borrow_and_update().clone();
            match state {
                State::Open(caller) if !caller.is_closed() => return Ok(caller),
                State::Failed(error, retry_at) if Instant::now() < retry_at => return Err(error),
                State::Idle | State::Open(_) | State::Failed(..) => self.dial(),
                State::Dialling => match timeout_at(until, states.changed()).await {
                    Ok(Ok(())) => (),
                    Ok(Err(_)) | Err(_) => return Err(PeerError::Unreachable),
                },
            }
        }
    }

    /// Somebody saw the peer: the next call may dial at once.
    pub(crate) fn reset_backoff(&self) {
        self.backoff.lock().reset();
        self.state.send_if_modified(|state| {
            let failed = matches!(state, State::Failed(..));
            if failed {
                *state = State::Idle;
            }
            failed
        });
    }

    /// The open connection, if there is one.
    pub(crate) fn open(&self) -> Option<Arc<Caller>> {
        match &*self.state.borrow() {
            State::Open(caller) => Some(caller.clone()),
            _ => None,
        }
    }

    /// One task dials, and carries the connection to its end. It belongs to no caller.
    fn dial(self: &Arc<Self>) {
        let begun = self.state.send_if_modified(|state| {
            let free = match state {
                State::Dialling => false,
                State::Open(caller) => caller.is_closed(),
                State::Idle | State::Failed(..) => true,
            };
            if free {
                *state = State::Dialling;
            }
            free
        });
        if begun {
            let slot = self.clone();
            tokio::spawn(async move { slot.live().await });
        }
    }

    async fn live(&self) {
        let greeted = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(PeerError::Unreachable),
            greeted = self.attempt() => greeted,
        };
        match greeted {
            Ok(greeted) => {
                let began = Instant::now();
                let caller = Caller::new(self.lane, self.dialing.counters.clone());
                self.state.send_replace(State::Open(caller.clone()));
                caller.run(greeted, &self.stop).await;
                if began.elapsed() >= BACKOFF_MAX {
                    self.backoff.lock().reset();
                    self.state.send_replace(State::Idle);
                } else {
                    self.fail(PeerError::Unreachable);
                }
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&self, error: PeerError) {
        let wait = self.backoff.lock().next();
        self.state
            .send_replace(State::Failed(error, Instant::now() + wait));
    }

    async fn attempt(&self) -> Result<Greeted, PeerError> {
        let stream = connect(&*self.dialing.net, &self.addresses).await.map_err(|_| {
            add(&self.dialing.counters.connect_failures, 1);
            PeerError::Unreachable
        })?;
        let hello = self.dialing.introduction.hello(self.lane, false);
        if hello.cluster_id.is_empty() {
            return Err(PeerError::Unreachable);
        }
        let dialing = &self.dialing;
        greet(
            stream,
            hello,
            Some(self.peer),
            &dialing.introduction,
            &dialing.counters,
        )
        .await
    }
}
