//! Closed-loop clients over a few contended registers, and what they were told.

mod client;
mod library;
mod mix;
mod rng;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

use crate::history::{Action, Outcome};

pub use client::{Client, Pace};
pub use library::{LibraryCaller, REFUSED_AFTER_SILENCE, key as library_key};
pub use mix::{Mix, Registers};
pub use rng::seeded;

/// One call, as a store's client makes it. Retries with the same request id are the caller's own business.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub register: &'a Register,
    pub action: &'a Action,
    /// For a compare-and-set: the revision it expects; 0 = absent.
    pub expected_revision: u64,
    /// For changes.
    pub request_id: &'a str,
    /// Length to pad a written value to, bytes.
    pub value_len: usize,
}

/// A record's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register {
    pub routing: String,
    pub suffix: String,
}

impl Register {
    /// As histories name it.
    #[must_use]
    pub fn name(&self) -> String {
        if self.suffix.is_empty() {
            self.routing.clone()
        } else {
            format!("{}/{}", self.routing, self.suffix)
        }
    }

    /// Undoes [`Register::name`].
    #[must_use]
    pub fn of(name: &str) -> Self {
        let (routing, suffix) = name.split_once('/').unwrap_or((name, ""));
        Self {
            routing: routing.to_owned(),
            suffix: suffix.to_owned(),
        }
    }
}

/// Something that can be asked: the client library over sockets, or over the simulator.
#[async_trait]
pub trait Caller: Send + Sync {
    /// Never hangs for ever; what is not known is said to be unknown.
    async fn call(&self, call: Call<'_>) -> Outcome;
}
