//! Sessions: changes of this client are numbered, so that the cluster keeps one row for each session and shard instead
//! of one for each change.
//!
//! A session is opened beside the first change and shared by all later calls of the client. Where there is none, at
//! first, or because the cluster opens none (an older release, a clock that is apart), changes carry request ids, as
//! those of a caller who gives one do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use spine_proto::common::v1::SessionCall;
use spine_proto::records::v1::{OpenSessionRequest, OpenSessionResponse};
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::call::Core;
use crate::records::client;

/// Numbers between the oldest unfinished call and the newest, below what the cluster remembers of a session.
const SPAN_MAX: u64 = 100;
/// Sessions of one client at a time; with more calls unfinished than they hold, changes carry request ids.
const SESSIONS_MAX: usize = 64;
/// A node that does not open one within this is not waited for.
const OPEN_TIME: Duration = Duration::from_secs(1);
/// After a failure nothing is opened for so long.
const REST: Duration = Duration::from_secs(2);
/// Nor where the cluster does not know sessions.
const REST_UNKNOWN: Duration = Duration::from_secs(60);

/// The sessions of a client.
#[derive(Default)]
pub(crate) struct Sessions {
    open: Mutex<Vec<Arc<Session>>>,
    /// Until then none is opened: one is on its way, or could not be opened just now.
    rest: Mutex<Option<Instant>>,
}

struct Session {
    opened: OpenSessionResponse,
    numbers: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    last: u64,
    unfinished: BTreeSet<u64>,
}

/// A number for one change. Until it is dropped the change may be sent, again and again.
pub(crate) struct Ticket {
    session: Arc<Session>,
    sequence: u64,
    floor: u64,
}

impl Ticket {
    /// What the change carries. Every try carries the same.
    pub(crate) fn call(&self) -> SessionCall {
        let OpenSessionResponse {
            session_id,
            opened_ms,
            seal,
        } = self.session.opened.clone();
        SessionCall {
            session_id,
            opened_ms,
            seal,
            sequence: self.sequence,
            floor: self.floor,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.numbers.lock().unfinished.remove(&self.sequence);
    }
}

impl Session {
    /// The next number, unless an unfinished call is too far behind.
    fn ticket(self: &Arc<Self>) -> Option<Ticket> {
        let mut numbers = self.numbers.lock();
        let sequence = numbers.last + 1;
        let floor = numbers.unfinished.first().copied().unwrap_or(sequence);
        if sequence - floor >= SPAN_MAX {
            return None;
        }
        numbers.last = sequence;
        numbers.unfinished.insert(sequence);
        Some(Ticket {
            session: Arc::clone(self),
            sequence,
            floor,
        })
    }
}

impl Sessions {
    /// A number for a change; `None` where it has to carry a request id. Never waits: where no session is free, one is
    /// opened for later changes.
    pub(crate) fn ticket(core: &Arc<Core>) -> Option<Ticket> {
        let sessions = &core.sessions;
        let free = sessions.open.lock().iter().find_map(Session::ticket);
        if free.is_none() && sessions.may_open() {
            tokio::spawn(open_one(Arc::clone(core)));
        }
        free
    }

    /// Whether it is time to open another; then it is not for a while.
    fn may_open(&self) -> bool {
        let now = Instant::now();
        let mut rest = self.rest.lock();
        let may = rest.is_none_or(|until| until <= now) && self.open.lock().len() < SESSIONS_MAX;
        if may {
            *rest = Some(now + REST);
        }
        may
    }

    /// The cluster has forgotten the session of this number.
    pub(crate) fn expired(&self, ticket: &Ticket) {
        self.open
            .lock()
            .retain(|open| !Arc::ptr_eq(open, &ticket.session));
    }
}

async fn open_one(core: Arc<Core>) {
    let opened = open(&core).await;
    let sessions = &core.sessions;
    *sessions.rest.lock() = opened.as_ref().err().map(|pause| Instant::now() + *pause);
    if let Ok(opened) = opened {
        sessions.open.lock().push(Arc::new(Session {
            opened,
            numbers: Mutex::default(),
        }));
    }
}

/// Asks the node that answers first; else says for how long not to ask again.
async fn open(core: &Core) -> Result<OpenSessionResponse, Duration> {
    let candidates = core.any_candidates();
    let connect = core.pool.connect(&candidates, core.options.connect_hedge);
    let connected = timeout(OPEN_TIME, connect).await.map_err(|_| REST)?;
    let (_, link) = connected.outcome.map_err(|_| REST)?;
    let request = core.request(OpenSessionRequest {}, OPEN_TIME);
    match timeout(OPEN_TIME, client(link).open_session(request)).await {
        Ok(Ok(opened)) => Ok(opened.into_inner()),
        Ok(Err(status)) if status.code() == Code::Unimplemented => Err(REST_UNKNOWN),
        _ => Err(REST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Arc<Session> {
        Arc::new(Session {
            opened: OpenSessionResponse::default(),
            numbers: Mutex::default(),
        })
    }

    fn numbers(ticket: &Ticket) -> (u64, u64) {
        (ticket.sequence, ticket.floor)
    }

    #[test]
    fn the_floor_is_the_oldest_call_that_is_not_finished() {
        let session = session();
        let first = session.ticket().unwrap();
        let second = session.ticket().unwrap();
        assert_eq!((numbers(&first), numbers(&second)), ((1, 1), (2, 1)));
        drop(first);
        assert_eq!(numbers(&session.ticket().unwrap()), (3, 2));
        drop(second);
        assert_eq!(numbers(&session.ticket().unwrap()), (4, 4));
    }

    #[test]
    fn a_call_that_lasts_stops_its_session_at_the_span() {
        let session = session();
        let slow = session.ticket().unwrap();
        for _ in 1..SPAN_MAX {
            drop(session.ticket().unwrap());
        }
        assert!(session.ticket().is_none());
        drop(slow);
        assert!(session.ticket().is_some());
    }
}
