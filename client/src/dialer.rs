//! Making connections: when a call wants one, and again by itself after one has ended.
//!
//! A node that was restarted is soon a leader again, and then all its clients want it in the same moment. So each goes
//! back to it in a moment of its own, before there is anything to ask it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tonic::metadata::MetadataMap;

use crate::dial::{Connector, Link};
use crate::entropy::Entropy;
use crate::options::Options;
use crate::pool::Node;

/// First pause before a connection is made again; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause while a node may be restarting. Shorter than a node waits before it leads again.
const PAUSE_MAX: Duration = Duration::from_millis(1_600);
/// After so many dials in vain it is no restart.
const SOON_DIALS: u32 = 64;
/// Pause from then on.
const PAUSE_LATER: Duration = Duration::from_secs(5);

/// Why no connection was made, for people.
pub(crate) type DialError = Arc<str>;
/// What became of a dial; `None` before that.
pub(crate) type Dialed = Option<Result<Link, DialError>>;

/// The connection to one node.
pub(crate) enum State {
    Idle,
    /// One dial at a time, shared by all calls that wait for it.
    Dialing(watch::Receiver<Dialed>),
    Ready(Link),
}

/// What every dial of a client needs.
pub(crate) struct Dialer {
    pub(crate) connector: Connector,
    pub(crate) options: Options,
    /// Of every call.
    pub(crate) metadata: Arc<MetadataMap>,
    pub(crate) entropy: Arc<Entropy>,
}

impl Dialer {
    /// The connection to one node, or the dial for it, which begins here if none is under way.
    pub(crate) fn link_or_dial(self: &Arc<Self>, node: &Arc<Node>) -> Result<Link, watch::Receiver<Dialed>> {
        let mut state = node.state.lock();
        match &*state {
            State::Ready(link) if !link.is_closed() => Ok(link.clone()),
            // A dial whose task is gone, with its runtime or by a panic, counts as none.
            State::Dialing(dialed) if dialed.has_changed().is_ok() => Err(dialed.clone()),
            State::Dialing(_) | State::Ready(_) | State::Idle => {
                let dialed = self.start(node);
                *state = State::Dialing(dialed.clone());
                Err(dialed)
            }
        }
    }

    /// Dials in a task of its own, so that a caller who gives up does not undo the work.
    fn start(self: &Arc<Self>, node: &Arc<Node>) -> watch::Receiver<Dialed> {
        let (done, dialed) = watch::channel(None);
        let (dialer, node) = (Arc::clone(self), Arc::clone(node));
        tokio::spawn(async move {
            let (outcome, ended) = match dialer.dial(&node).await {
                Ok((link, ended)) => (Ok(link), Some(ended)),
                Err(error) => (Err(error), None),
            };
            // Also where nobody waits for it: the next call is not to dial it again.
            if outcome.is_err() {
                node.suspect();
            }
            *node.state.lock() = match &outcome {
                Ok(link) => State::Ready(link.clone()),
                Err(_) => State::Idle,
            };
            done.send_replace(Some(outcome));
            drop(done);
            if let Some(ended) = ended {
                // From here on only the client's own pool keeps the node.
                let watched = Arc::downgrade(&node);
                drop(node);
                dialer.restore(watched, ended).await;
            }
        });
        dialed
    }

    async fn dial(&self, node: &Node) -> Result<(Link, oneshot::Receiver<()>), DialError> {
        let uri = node
            .address()
            .uri()
            .map_err(|error| DialError::from(error.to_string()))?;
        let dial = timeout(
            self.options.connect_limit,
            self.connector.dial(uri, &self.options),
        );
        match dial.await {
            Ok(Ok((link, ended))) => {
                link.open_exchange(MetadataMap::clone(&self.metadata));
                Ok((link, ended))
            }
            Ok(Err(error)) => Err(DialError::from(error.to_string())),
            Err(_) => Err(DialError::from("no connection within the connect limit")),
        }
    }

    /// Waits for the end of a connection, and dials until there is another, whoever made it.
    async fn restore(self: Arc<Self>, node: Weak<Node>, ended: oneshot::Receiver<()>) {
        // It ends by being dropped.
        let _ = ended.await;
        let mut dials = 0_u32;
        loop {
            let longest = match PAUSE_MIN.checked_mul(1_u32.checked_shl(dials).unwrap_or(u32::MAX)) {
                _ if dials >= SOON_DIALS => PAUSE_LATER,
                Some(pause) => pause.min(PAUSE_MAX),
                None => PAUSE_MAX,
            };
            sleep(self.entropy.between(longest / 2, longest)).await;
            let Some(node) = node.upgrade() else { return };
            let dialed = self.link_or_dial(&node);
            drop(node);
            let Err(mut dialed) = dialed else { return };
            let connected = match dialed.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.as_ref().is_some_and(Result::is_ok),
                Err(_) => false,
            };
            if connected {
                return;
            }
            dials = dials.saturating_add(1);
        }
    }
}
