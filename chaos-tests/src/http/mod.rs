//! Callers of the nodes over HTTP/1.1, as lean as a load needs them: one connection that stays open, one request at a time.
//!
//! [`Caller`] sends again what was cut, as `docs/api/pds.md` tells callers to: with the same request id, to the next node.

mod connection;
mod events;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

pub use connection::{Answer, Connection};
pub use events::{Event, Events, Refused};

/// Between two rounds over all nodes.
const ROUND_PAUSE: Duration = Duration::from_millis(20);

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: &'static str,
    /// With the query.
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Call {
    /// A `GET` without headers.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same as another method with a body.
    #[must_use]
    pub fn with(mut self, method: &'static str, body: impl Into<Bytes>) -> Self {
        self.method = method;
        self.body = body.into();
        self
    }
}

/// What befell a caller besides answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mishaps {
    /// Calls that were under way when their connection broke.
    pub cut: u64,
    /// Answers that asked for another try: 429 and 503.
    pub put_off: u64,
}

/// One client program.
pub struct Caller {
    addresses: Vec<String>,
    at: usize,
    connection: Option<Connection>,
    pub mishaps: Mishaps,
}

impl Caller {
    /// Knows these nodes, and begins with the one of this number.
    #[must_use]
    pub fn new(addresses: Vec<String>, first: usize) -> Self {
        Self {
            addresses,
            at: first,
            connection: None,
            mishaps: Mishaps::default(),
        }
    }

    /// The answer; sent again, as it is, while that is what the answer or its absence asks for.
    ///
    /// # Errors
    /// No answer that stands came within `limit`.
    pub async fn ask(&mut self, call: &Call, limit: Duration) -> Result<Answer, String> {
        let until = Instant::now() + limit;
        let mut last = "not sent".to_owned();
        loop {
            match timeout_at(until, self.once(call)).await {
                Err(_) => return Err(format!("no answer in time; {last}")),
                Ok(Ok(answer)) if matches!(answer.status, 429 | 503) => {
                    self.mishaps.put_off += 1;
                    last = format!("answered {}", answer.status);
                    let after = answer.header("retry-after").and_then(|text| text.parse().ok());
                    sleep(after.map_or(ROUND_PAUSE, Duration::from_secs)).await;
                    self.next_node();
                }
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => {
                    last = error;
                    self.next_node();
                    if self.at.is_multiple_of(self.addresses.len().max(1)) {
                        sleep(ROUND_PAUSE).await;
                    }
                }
            }
            if Instant::now() >= until {
                return Err(format!("no answer in time; {last}"));
            }
        }
    }

    /// One try on the connection that is open, or a new one.
    async fn once(&mut self, call: &Call) -> Result<Answer, String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let address = self.node();
                let opened = Connection::open(address).await;
                opened.map_err(|error| format!("{address}: {error}"))?
            }
        };
        match connection.exchange(call).await {
            Ok(answer) => {
                self.connection = (!answer.closes()).then_some(connection);
                Ok(answer)
            }
            Err(error) => {
                self.mishaps.cut += 1;
                Err(format!("cut: {error}"))
            }
        }
    }

    /// The node that is asked next.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.addresses[self.at % self.addresses.len().max(1)]
    }

    fn next_node(&mut self) {
        self.connection = None;
        self.at += 1;
    }
}
