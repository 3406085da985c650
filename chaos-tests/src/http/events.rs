//! A reader of server-sent events. It asks with HTTP/1.0, so that the body comes as it is and ends with the connection.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::connection::status_of;

/// One event, or what moves the cursor alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Empty where there was none.
    pub name: String,
    pub data: String,
}

/// A feed that runs.
pub struct Events {
    lines: BufReader<TcpStream>,
    /// What a reader that comes again gives.
    pub last_id: String,
    /// Of the event that is being read: what breaks off was not told.
    id: Option<String>,
    event: Event,
    line: Vec<u8>,
}

/// Why there is no feed.
#[derive(Debug)]
pub enum Refused {
    /// Nobody answers.
    Io(io::Error),
    /// An answer with this status, and its body.
    Status(u16, String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Events {
    /// Opens the feed at this path behind `last_id`; from now on where that is empty.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn open(address: &str, path: &str, last_id: &str) -> Result<Self, Refused> {
        let mut stream = TcpStream::connect(address).await?;
        let mut request = format!("GET {path} HTTP/1.0\r\nhost: spine\r\n");
        if !last_id.is_empty() {
            request.push_str(&format!("last-event-id: {last_id}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut feed = Self {
            lines: BufReader::new(stream),
            last_id: last_id.to_owned(),
            id: None,
            event: Event::default(),
            line: Vec::new(),
        };
        let ended = || Refused::Io(io::ErrorKind::UnexpectedEof.into());
        let status = status_of(&feed.line().await?.ok_or_else(ended)?)?;
        while !feed.line().await?.ok_or_else(ended)?.is_empty() {}
        if status == 200 {
            return Ok(feed);
        }
        let mut body = String::new();
        feed.lines.read_to_string(&mut body).await?;
        Err(Refused::Status(status, body))
    }

    /// The next event; one without a name where only the cursor moved; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            let Some(line) = self.line().await? else {
                return Ok(None);
            };
            match line.split_once(": ") {
                Some(("id", id)) => self.id = Some(id.to_owned()),
                Some(("event", name)) => name.clone_into(&mut self.event.name),
                Some(("data", data)) => data.clone_into(&mut self.event.data),
                _ if line.is_empty() => {
                    if let Some(id) = self.id.take() {
                        self.last_id = id;
                    }
                    return Ok(Some(std::mem::take(&mut self.event)));
                }
                _ => {}
            }
        }
    }

    /// A whole line; one that breaks off was not told.
    async fn line(&mut self) -> io::Result<Option<String>> {
        // What was read of a line stays when the caller gives up waiting.
        let read = self.lines.read_until(b'\n', &mut self.line).await?;
        if read == 0 || self.line.last() != Some(&b'\n') {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&self.line)
            .trim_end_matches(['\r', '\n'])
            .to_owned();
        self.line.clear();
        Ok(Some(line))
    }
}
