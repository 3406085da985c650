//! One connection and what comes over it.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Call;

/// Read at once, at most.
const READ_BYTES: usize = 16 * 1_024;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1_024;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        lines
            .filter_map(|line| line.split_once(':'))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The connection ends behind it.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or(serde_json::Value::Null)
    }
}

/// A connection that stays open.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    written: Vec<u8>,
}

impl Connection {
    /// # Errors
    /// Nobody listens there.
    pub async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::with_capacity(READ_BYTES),
            written: Vec::new(),
        })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// The connection breaks before the answer is complete, or it is none that has a length.
    pub async fn exchange(&mut self, call: &Call) -> io::Result<Answer> {
        self.written.clear();
        write_head(&mut self.written, call);
        self.written.extend_from_slice(&call.body);
        self.stream.write_all(&self.written).await?;
        let head = self.head().await?;
        let mut answer = Answer {
            status: status_of(&head)?,
            head,
            body: Vec::new(),
        };
        let length = match answer.status {
            // It has no body, and so no length either (RFC 9110, 15.3.5).
            204 => Some(0),
            _ => answer.header("content-length").and_then(|text| text.parse().ok()),
        };
        let length: usize = length.ok_or_else(|| malformed("an answer without a length"))?;
        while self.read.len() < length {
            self.more().await?;
        }
        answer.body = self.read.drain(..length).collect();
        Ok(answer)
    }

    async fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memmem::find(&self.read, b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).map_err(|_| malformed("a head that is no text"));
            }
            if self.read.len() > HEAD_BYTES_MAX {
                return Err(malformed("a head without an end"));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// The request line and the headers.
fn write_head(to: &mut Vec<u8>, call: &Call) {
    let mut put = |text: &str| to.extend_from_slice(text.as_bytes());
    for text in [call.method, " ", &call.path, " HTTP/1.1\r\nhost: spine\r\n"] {
        put(text);
    }
    for (name, value) in &call.headers {
        for text in [name, ": ", value, "\r\n"] {
            put(text);
        }
    }
    if !call.body.is_empty() {
        put(&format!("content-length: {}\r\n", call.body.len()));
    }
    put("\r\n");
}

/// The status of an answer's first line.
pub(super) fn status_of(head: &str) -> io::Result<u16> {
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    status.ok_or_else(|| malformed("an answer without a status"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
