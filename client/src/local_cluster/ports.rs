//! Free TCP ports of loopback.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below the range from which the kernel gives ports to outgoing connections: a node that is
/// killed and started again must find its port free.
const PORT_FIRST: u16 = 12_000;
const PORT_LAST: u16 = 31_999;

/// So many ports that nobody listens on now.
///
/// # Errors
/// `AddrNotAvailable` where there are not so many.
pub(super) fn free(count: usize) -> io::Result<Vec<u16>> {
    let span = PORT_LAST - PORT_FIRST + 1;
    let start: u16 = rand::random_range(0..span);
    let mut held = Vec::new();
    for step in 0..span {
        if held.len() == count {
            break;
        }
        let port = PORT_FIRST + start.wrapping_add(step) % span;
        // Held until all are found, so that none is found twice.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    if held.len() < count {
        return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_differ() {
        let ports = free(9).unwrap();
        let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), 9);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }
}
