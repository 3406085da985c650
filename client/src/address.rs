//! Where a node serves gRPC.

use std::fmt;
use std::sync::Arc;

use http::Uri;

use crate::error::{Error, Result};

/// `host:port` of a node's gRPC port. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

impl Address {
    /// Accepts `host:port` and `http://host:port`.
    ///
    /// # Errors
    /// `MALFORMED_ADDRESS` for everything else, `https://` included: TLS is not there yet.
    pub fn parse(text: &str) -> Result<Self> {
        let bare = text.trim();
        let bare = bare.strip_prefix("http://").unwrap_or(bare);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let address = Self(Arc::from(bare));
        let uri = address.uri()?;
        let whole = uri
            .authority()
            .is_some_and(|a| a.as_str() == bare && a.port_u16().is_some());
        if whole && !bare.contains('@') {
            Ok(address)
        } else {
            Err(malformed(text))
        }
    }

    /// `host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn uri(&self) -> Result<Uri> {
        Uri::builder()
            .scheme("http")
            .authority(&*self.0)
            .path_and_query("/")
            .build()
            .map_err(|_| malformed(&self.0))
    }
}

fn malformed(text: &str) -> Error {
    Error::invalid(
        "MALFORMED_ADDRESS",
        "endpoints",
        format!("not an address like host:port: {text}"),
    )
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_host_and_port_only() {
        for good in ["127.0.0.1:7401", "http://node-1:7401", " http://[::1]:7401/ "] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "node-1",
            "https://node-1:7401",
            "node-1:port",
            "node-1:7401/path",
            "a@b:1",
            ":",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Address::parse("http://a:1/").unwrap(),
            Address::parse("a:1").unwrap()
        );
    }
}
