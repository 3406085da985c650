//! The known nodes and their connections. Dials hedged: a second address is tried when the first
//! has not connected after a short while, and the first to connect wins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, sleep, sleep_until};

use crate::address::Address;
use crate::dial::Link;
use crate::dialer::{DialError, Dialer, State};
use crate::options::{ADDRESSES_MAX, SUSPECT_TIME};

/// One node and the connection to it.
pub(crate) struct Node {
    address: Address,
    pub(crate) state: Mutex<State>,
    suspect_until: Mutex<Option<Instant>>,
    /// Its last answer to any call.
    heard: Mutex<Option<Instant>>,
}

impl Node {
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn ready(&self) -> Option<Link> {
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
    dialer: Arc<Dialer>,
    nodes: RwLock<BTreeMap<Address, Arc<Node>>>,
}

/// Which node connected, if any, and which refused on the way.
pub(crate) struct Connected {
    pub(crate) outcome: Result<(Arc<Node>, Link), DialError>,
    pub(crate) refused: Vec<Address>,
}

impl Pool {
    pub(crate) fn new(dialer: Dialer, seeds: &[Address]) -> Self {
        let pool = Self {
            dialer: Arc::new(dialer),
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

    /// The node at an address, if it is known.
    pub(crate) fn known(&self, address: &Address) -> Option<Arc<Node>> {
        self.nodes.read().get(address).cloned()
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes.read().len()
    }

    /// Every known node, by address.
    pub(crate) fn all(&self) -> Vec<Arc<Node>> {
        self.nodes.read().values().cloned().collect()
    }

    /// A connection for a call that any of `candidates` can take: that of the first one or, until it is there, one
    /// that another has already. A leader that is new, and to whom all clients connect at once, keeps no call waiting.
    pub(crate) async fn reach(&self, candidates: &[Arc<Node>], hedge: Duration) -> Connected {
        let others = || candidates.iter().skip(1).filter(|node| !node.is_suspect());
        if let Some(first) = candidates.first()
            && first.ready().is_none()
            && let Some((node, link)) = others().find_map(|node| Some((node, node.ready()?)))
        {
            drop(self.dialer.link_or_dial(first));
            return Connected {
                outcome: Ok((Arc::clone(node), link)),
                refused: Vec::new(),
            };
        }
        self.connect(candidates, hedge).await
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
        let mut dialed = match self.dialer.link_or_dial(&node) {
            Ok(link) => return (node, Ok(link)),
            Err(dialed) => dialed,
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
}
