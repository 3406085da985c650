//! The admin port: probes, metrics, version and log level over HTTP/1.1.
//!
//! It is open to anybody who reaches it, so it never shows records and everything about it is bounded:
//! connections, header bytes, body bytes, time per request and per connection.

mod listener;
mod routes;
mod server;

use async_trait::async_trait;
use serde::Serialize;

pub use listener::Plain;
pub use server::{AdminLimits, serve};

use crate::version::Version;

/// One named readiness check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// For people; empty where there is nothing to say.
    pub detail: String,
}

impl Check {
    /// A check that passed.
    #[must_use]
    pub fn pass(name: &'static str) -> Self {
        Self {
            name,
            ok: true,
            detail: String::new(),
        }
    }
    /// A check that failed, and why.
    #[must_use]
    pub fn fail(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            ok: false,
            detail: detail.into(),
        }
    }
}

/// What the admin port asks the node.
#[async_trait]
pub trait AdminSource: Send + Sync + 'static {
    /// True while the process can do its work at all; a supervisor restarts it otherwise.
    async fn is_live(&self) -> bool;
    /// All readiness checks, in a fixed order. Ready = all pass.
    async fn checks(&self) -> Vec<Check>;
    /// The text of `/metrics`, gauges brought up to date.
    async fn metrics(&self) -> String;
    /// The answer of `/version`.
    fn version(&self) -> Version;
    /// The log filter in force.
    fn log_level(&self) -> String;
    /// Changes the log filter.
    ///
    /// # Errors
    /// What is wrong with the filter, for people; it is shown to the caller.
    fn set_log_level(&self, filter: &str) -> Result<(), String>;
}
