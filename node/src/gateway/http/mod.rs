//! FHIR R4 over HTTP/1.1, in two dialects: plain FHIR below `/fhir/R4`, and that of the national Personal Demographics
//! Service below `/personal-demographics/FHIR/R4`.
//!
//! A request becomes a call of the catalogue, as a gRPC call does: this edge only translates. Everything about it is
//! bounded: connections, bytes and time of a head and of a body, bytes of all bodies being read, time to take an answer.

mod answer;
mod ask;
mod body;
mod capability;
mod create;
mod feed;
mod gone;
mod history;
pub mod openapi;
mod patient;
mod related;
mod routes;
mod search;
mod search_plain;
mod server;
mod stall;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use spine_services::{ErrorKind, SpineError, reason};
use tokio_util::sync::CancellationToken;

pub use server::{HttpLimits, serve};

use self::ask::Ask;
use super::edge::Edge;
use crate::node::Inner;

/// Which API a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// FHIR R4 as it is published.
    Plain,
    /// The PDS FHIR API of the NHS in England.
    Pds,
}

impl Dialect {
    /// What its paths begin with.
    #[must_use]
    pub const fn base(self) -> &'static str {
        match self {
            Self::Plain => "/fhir/R4",
            Self::Pds => "/personal-demographics/FHIR/R4",
        }
    }

    /// A label of metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Pds => "pds",
        }
    }
}

/// What the handlers of all dialects share.
#[derive(Clone)]
pub struct Http {
    /// The node, for its health.
    pub node: Arc<Inner>,
    /// Who asks, and where calls go.
    pub edge: Edge,
    /// Cancelled once the node stops: every answer then ends its connection.
    pub closing: CancellationToken,
}

/// A request in one dialect.
#[derive(Clone)]
struct Gate {
    http: Http,
    dialect: Dialect,
    limits: HttpLimits,
    bodies: body::Budget,
}

impl Gate {
    /// What absolute addresses of this dialect begin with.
    fn base_url(&self) -> String {
        let address = self.http.node.config.listen.advertised_http();
        format!("http://{address}{}", self.dialect.base())
    }

    /// Calls an operation of the catalogue.
    async fn call<Q: Message, R: Message + Default>(
        &self,
        operation: &'static str,
        request: &Q,
        ask: &Ask,
    ) -> Result<R, SpineError> {
        let body = Bytes::from(request.encode_to_vec());
        let answer = self
            .http
            .edge
            .call(operation, body, &ask.principal, ask.deadline, false)
            .await?;
        R::decode(answer.body)
            .map_err(|_| SpineError::new(ErrorKind::Internal, reason::INTERNAL, "response of another kind"))
    }
}
