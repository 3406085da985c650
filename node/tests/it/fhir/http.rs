//! As little HTTP as a test needs, so that it can also send what no client would.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer takes longer.
const SOON: Duration = Duration::from_secs(20);

pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

/// A connection that stays open.
pub(super) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(super) async fn to(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next answer; `None` where the server has closed the connection instead.
    pub(super) async fn reply(&mut self) -> Option<Reply> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.read.drain(..end + 4).collect::<Vec<u8>>();
            }
            self.more().await?;
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, length)| length.parse().unwrap());
        while self.read.len() < length {
            self.more().await?;
        }
        let body = self.read.drain(..length).collect();
        Some(Reply {
            status,
            headers,
            body,
        })
    }

    /// The next line of a body without an end.
    pub(super) async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return String::from_utf8(line).unwrap();
            }
            self.more().await.expect("another line");
        }
    }

    async fn more(&mut self) -> Option<()> {
        let mut bytes = vec![0; 65_536];
        let read = timeout(SOON, self.stream.read(&mut bytes));
        let count = read.await.expect("the server answers or closes").unwrap_or(0);
        self.read.extend_from_slice(&bytes[..count]);
        (count > 0).then_some(())
    }
}

/// The text of a request.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, impl AsRef<str>)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {}\r\n", value.as_ref());
    }
    if !body.is_empty() {
        text += &format!("content-length: {}\r\n", body.len());
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One request on a connection of its own.
pub(super) async fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, impl AsRef<str>)],
    body: impl AsRef<[u8]>,
) -> Reply {
    let mut connection = Connection::to(address).await.unwrap();
    // The server may answer and close before it has read all.
    let _ = connection
        .send(&request(method, path, headers, body.as_ref()))
        .await;
    connection.reply().await.expect("an answer")
}

/// A `GET` without headers.
pub(super) async fn get(address: &str, path: &str) -> Reply {
    ask(address, "GET", path, &[("accept", "application/fhir+json")], "").await
}
