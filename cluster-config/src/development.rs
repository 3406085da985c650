//! `[development]`: what only tests of whole clusters need. Refused in production mode.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What tests do to a cluster; nothing here is of use to anybody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Development {
    /// `peer=instead` each, both `host:port`: where this node connects to when it wants `peer`. Membership
    /// keeps the true addresses, so that a test can put a bad link between two nodes.
    pub dial: Vec<String>,
    /// The node runs as the release before this one would: it calls itself so and knows a level less. For tests of
    /// upgrades.
    pub previous_release: bool,
    /// Administrators may alter a record of one replica behind the log's back. For tests of how that is noticed.
    pub tamper: bool,
}

impl Development {
    /// Peer address -> address to connect to. Entries that are no pair are passed over; validation names them.
    #[must_use]
    pub fn dial_map(&self) -> BTreeMap<String, String> {
        let pairs = self.dial.iter().filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(peer, instead)| (peer.to_owned(), instead.to_owned()))
            .collect()
    }
}
