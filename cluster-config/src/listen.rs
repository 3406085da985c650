//! `[listen]`: addresses, as `host:port`.

use serde::{Deserialize, Serialize};

/// Where the node listens, and what it tells others to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Clients: gRPC.
    pub grpc: String,
    /// The other nodes.
    pub peer: String,
    /// Operators: probes, metrics, log level.
    pub admin: String,
    /// Clients: FHIR over HTTP; empty = none.
    pub http: String,
    /// What clients are told; empty = `grpc`.
    pub advertise_grpc: String,
    /// What other nodes are told; empty = `peer`.
    pub advertise_peer: String,
    /// What operators are told; empty = `admin`.
    pub advertise_admin: String,
    /// What clients of FHIR are told; empty = `http`.
    pub advertise_http: String,
}

impl Listen {
    /// The address for clients.
    #[must_use]
    pub fn advertised_grpc(&self) -> &str {
        or(&self.advertise_grpc, &self.grpc)
    }
    /// The address for other nodes.
    #[must_use]
    pub fn advertised_peer(&self) -> &str {
        or(&self.advertise_peer, &self.peer)
    }
    /// The address for operators.
    #[must_use]
    pub fn advertised_admin(&self) -> &str {
        or(&self.advertise_admin, &self.admin)
    }
    /// The address for clients of FHIR; empty where there is no such listener.
    #[must_use]
    pub fn advertised_http(&self) -> &str {
        if self.http.is_empty() {
            return "";
        }
        or(&self.advertise_http, &self.http)
    }
}

fn or<'a>(advertised: &'a str, listening: &'a str) -> &'a str {
    if advertised.is_empty() {
        listening
    } else {
        advertised
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            grpc: "127.0.0.1:7401".to_owned(),
            peer: "127.0.0.1:7501".to_owned(),
            admin: "127.0.0.1:7601".to_owned(),
            http: String::new(),
            advertise_grpc: String::new(),
            advertise_peer: String::new(),
            advertise_admin: String::new(),
            advertise_http: String::new(),
        }
    }
}
