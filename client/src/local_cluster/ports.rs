//! Free TCP ports of loopback.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use parking_lot::Mutex;

/// Below the range from which the kernel gives ports to outgoing connections: a node that is
/// killed and started again must find its port free.
const PORT_FIRST: u16 = 12_000;
const PORT_LAST: u16 = 31_999;

const SPAN: u16 = PORT_LAST - PORT_FIRST + 1;

/// Where this process looks next. What it has given to one cluster it gives to another only when it has given all: a node
/// listens later, and again after it was killed. Other processes begin elsewhere.
static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// So many ports that nobody listens on now.
///
/// # Errors
/// `AddrNotAvailable` where there are not so many.
pub(super) fn free(count: usize) -> io::Result<Vec<u16>> {
    let mut next = NEXT.lock();
    let mut step = next.unwrap_or_else(|| rand::random_range(0..SPAN));
    let mut held = Vec::new();
    for _ in 0..SPAN {
        if held.len() == count {
            break;
        }
        let port = PORT_FIRST + step;
        step = (step + 1) % SPAN;
        // Held until all are found: other processes look for some, too.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    *next = Some(step);
    if held.len() < count {
        return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free() {
        for port in free(9).unwrap() {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn no_port_is_given_twice() {
        let given: Vec<u16> = (0..100).flat_map(|_| free(9).unwrap()).collect();
        let distinct: std::collections::BTreeSet<_> = given.iter().collect();
        assert_eq!(distinct.len(), given.len());
    }
}
