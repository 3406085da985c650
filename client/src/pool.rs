//! The known nodes and their connections. Dials hedged: a second address is tried when the first
//! has not connected after a short while, and the first to connect wins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::metadata::MetadataMap;

use crate::address::Address;
use crate::dial::{Connector, Link};
use crate::options::{ADDRESSES_MAX, Options, SUSPECT_TIME};

/// Why no connection was made, for people.
pub(crate) type DialError = Arc<str>;
type Dialed = Option<Result<Link, DialError>>;

/// One node and the connection to it.
pub(crate) struct Node {
    address: Address,
    state: Mutex<State>,
    suspect_until: Mutex<Option<Instant>>,
    /// Its last answer to any call.
    heard: Mutex<Option<Instant>>,
}

enum State {
    Idle,
    /// One dial at a time, shared by all calls that wait for it.
    Dialing(watch::Receiver<Dialed>),
    Ready(Link),
}

impl Node {
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    fn ready(&self) -> Option<Link> {
        match &*self.state.lock() {
            State::Ready(link) if !link.is_closed() => Some(link.clone()),
            _ => None,
        }
    }

    /// Ask this node last for a while.
    pub(crate) fn suspect(&self) {
        *self.suspect_until.lock() = Some(Instant::now() + SUSPECT_TIME);
    }

    pub(crate) fn trust(&self) {
        *self.suspect_until.lock() = None;
        *self.heard.lock() = Some(Instant::now());
    }

    /// Returns once nothing has come from this node for `limit`, counted from now at the earliest.
    pub(crate) async fn silent_for(&self, limit: Duration) {
        let began = Instant::now();
        loop {
            let heard = self.heard.lock().map_or(began, |heard| heard.max(began));
            if heard.elapsed() >= limit {
                return;
            }
            sleep_until(heard + limit).await;
        }
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect_until
            .lock()
            .is_some_and(|until| Instant::now() < until)
    }
}

/// All nodes known to a client.
pub(crate) struct Pool {
    connector: Connector,
    options: Options,
    /// Of every call.
    metadata: Arc<MetadataMap>,
    nodes: RwLock<BTreeMap<Address, Arc<Node>>>,
}

/// Which node connected, if any, and which refused on the way.
pub(crate) struct Connected {
    pub(crate) outcome: Result<(Arc<Node>, Link), DialError>,
    pub(crate) refused: Vec<Address>,
}

impl Pool {
    pub(crate) fn new(
        connector: Connector,
        options: Options,
        metadata: Arc<MetadataMap>,
        seeds: &[Address],
    ) -> Self {
        let pool = Self {
            connector,
            options,
            metadata,
            nodes: RwLock::default(),
        };
        for seed in seeds {
            pool.node(seed);
        }
        pool
    }

    /// The node at an address; learns it where it is new and there is room.
    pub(crate) fn node(&self, address: &Address) -> Option<Arc<Node>> {
        if let Some(node) = self.nodes.read().get(address) {
            return Some(Arc::clone(node));
        }
        let mut nodes = self.nodes.write();
        if nodes.len() >= ADDRESSES_MAX && !nodes.contains_key(address) {
            return None;
        }
        let node = nodes.entry(address.clone()).or_insert_with(|| {
            Arc::new(Node {
                address: address.clone(),
                state: Mutex::new(State::Idle),
                suspect_until: Mutex::new(None),
                heard: Mutex::new(None),
            })
        });
        Some(Arc::clone(node))
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes.read().len()
    }

    /// Every known node, by address.
    pub(crate) fn all(&self) -> Vec<Arc<Node>> {
        self.nodes.read().values().cloned().collect()
    }

    /// Connects to the first of `candidates` that answers, in order, hedged; bounded by
    /// the connect limit of each.
    pub(crate) async fn connect(&self, candidates: &[Arc<Node>], hedge: Duration) -> Connected {
        let mut refused = Vec::new();
        if let Some(first) = candidates.first()
            && let Some(link) = first.ready()
        {
            return Connected {
                outcome: Ok((Arc::clone(first), link)),
                refused,
            };
        }
        let mut rest = candidates.iter();
        let mut dials = FuturesUnordered::new();
        let mut last: DialError = Arc::from("no address is known");
        loop {
            match rest.next() {
                Some(node) => dials.push(self.link(Arc::clone(node))),
                None if dials.is_empty() => {
                    return Connected {
                        outcome: Err(last),
                        refused,
                    };
                }
                None => {}
            }
            let more = rest.len() > 0;
            tokio::select! {
                biased;
                Some((node, outcome)) = dials.next() => match outcome {
                    Ok(link) => return Connected { outcome: Ok((node, link)), refused },
                    Err(error) => {
                        node.suspect();
                        refused.push(node.address().clone());
                        last = error;
                    }
                },
                () = sleep(hedge), if more => {}
            }
        }
    }

    /// The connection to one node, dialled where there is none.
    pub(crate) async fn link(&self, node: Arc<Node>) -> (Arc<Node>, Result<Link, DialError>) {
        let mut dialed = {
            let mut state = node.state.lock();
            match &*state {
                State::Ready(link) if !link.is_closed() => {
                    let link = link.clone();
                    drop(state);
                    return (node, Ok(link));
                }
                // A dial whose task is gone, with its runtime or by a panic, counts as none.
                State::Dialing(dialed) if dialed.has_changed().is_ok() => dialed.clone(),
                State::Dialing(_) | State::Ready(_) | State::Idle => {
                    let dialed = self.start_dial(&node);
                    *state = State::Dialing(dialed.clone());
                    dialed
                }
            }
        };
        let outcome = match dialed.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        (
            node,
            outcome.unwrap_or_else(|| Err(Arc::from("the dial was abandoned"))),
        )
    }

    /// Dials in a task of its own, so that a caller who gives up does not undo the work.
    fn start_dial(&self, node: &Arc<Node>) -> watch::Receiver<Dialed> {
        let (done, dialed) = watch::channel(None);
        let (connector, options, node) = (self.connector.clone(), self.options.clone(), Arc::clone(node));
        let metadata = Arc::clone(&self.metadata);
        tokio::spawn(async move {
            let outcome = match node.address.uri() {
                Ok(uri) => match timeout(options.connect_limit, connector.dial(uri, &options)).await {
                    Ok(Ok(link)) => {
                        link.open_exchange(MetadataMap::clone(&metadata));
                        Ok(link)
                    }
                    Ok(Err(error)) => Err(DialError::from(error.to_string())),
                    Err(_) => Err(DialError::from("no connection within the connect limit")),
                },
                Err(error) => Err(DialError::from(error.to_string())),
            };
            *node.state.lock() = match &outcome {
                Ok(link) => State::Ready(link.clone()),
                Err(_) => State::Idle,
            };
            done.send_replace(Some(outcome));
        });
        dialed
    }
}
