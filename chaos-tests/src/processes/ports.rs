//! Ports that stay free while a node is down.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use super::ClusterError;

/// Below the range from which the kernel takes ports for outgoing connections: otherwise a client could get the
/// port of a node that is down for a moment.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// Where this process looks next.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Ports on loopback that nobody listens on now.
///
/// # Errors
/// The whole range is in use.
pub(super) fn free(count: usize) -> Result<Vec<u16>, ClusterError> {
    let span = LAST - FIRST;
    // Processes side by side begin at different places.
    let start = u16::try_from(std::process::id() % u32::from(span)).unwrap_or(0);
    let mut ports = Vec::with_capacity(count);
    for _ in 0..span {
        if ports.len() == count {
            break;
        }
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % span;
        let port = FIRST + (start + step) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    if ports.len() == count {
        Ok(ports)
    } else {
        Err(ClusterError::NoPorts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let ports = free(9).unwrap();
        let unique: std::collections::BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(unique.len(), 9);
        TcpListener::bind(("127.0.0.1", ports[0])).unwrap();
    }
}
