//! A reader of server-sent events, as little as a test needs: it asks with HTTP/1.0, so that the body stands there as it is.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server says something at least so often.
const SOON: Duration = Duration::from_secs(20);

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
    /// The last id that was told, of this event or before.
    pub(crate) id: String,
}

/// A connection to a feed.
pub(crate) struct Sse {
    lines: BufReader<TcpStream>,
    pub(crate) last_id: String,
    event: Event,
    line: Vec<u8>,
}

impl Sse {
    /// Opens a feed; the status where it is none, with the body.
    pub(crate) async fn open(address: &str, query: &str, last_id: &str) -> Result<Self, (u16, String)> {
        let refused = |_| (0, String::new());
        let mut stream = TcpStream::connect(address).await.map_err(refused)?;
        let id = if last_id.is_empty() {
            String::new()
        } else {
            format!("last-event-id: {last_id}\r\n")
        };
        let request = format!("GET /fhir/R4/_feed{query} HTTP/1.0\r\nhost: x\r\n{id}\r\n");
        stream.write_all(request.as_bytes()).await.map_err(refused)?;
        let mut feed = Self {
            lines: BufReader::new(stream),
            last_id: last_id.to_owned(),
            event: Event::default(),
            line: Vec::new(),
        };
        let status = feed.line().await.ok_or((0, String::new()))?;
        let status: u16 = status.split(' ').nth(1).unwrap().parse().unwrap();
        while !feed.line().await.ok_or((0, String::new()))?.is_empty() {}
        if status == 200 {
            return Ok(feed);
        }
        let mut body = String::new();
        let _ = feed.lines.read_to_string(&mut body).await;
        Err((status, body))
    }

    /// The next event; `None` where the server has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let event = timeout(SOON, self.part()).await.expect("a sign of life")?;
            if !event.data.is_empty() {
                return Some(event);
            }
        }
    }

    /// Waits until a cursor was told.
    pub(crate) async fn began(&mut self) {
        while self.last_id.is_empty() {
            self.part().await.unwrap();
        }
    }

    /// Up to the next empty line. What breaks off was not told, its id neither. Safe to cancel.
    async fn part(&mut self) -> Option<Event> {
        loop {
            let line = self.line().await?;
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut self.event.id);
            } else if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut self.event.name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                data.clone_into(&mut self.event.data);
            } else if line.is_empty() {
                let mut event = std::mem::take(&mut self.event);
                if event.id.is_empty() {
                    event.id.clone_from(&self.last_id);
                }
                self.last_id.clone_from(&event.id);
                return Some(event);
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        match self.lines.read_until(b'\n', &mut self.line).await {
            Ok(count) if count > 0 && self.line.last() == Some(&b'\n') => {
                let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap();
                Some(line.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => None,
        }
    }
}
