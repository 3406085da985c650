//! A listening proxy and its control.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::connection::carry;
use super::rules::{Direction, Rules};

/// Connections of one proxy at once; more wait in the kernel.
const CONNECTIONS_MAX: usize = 1_024;
/// Between two tries to listen again.
const LISTEN_AGAIN: Duration = Duration::from_millis(5);

/// Carries connections to one address. Ends with them when dropped.
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    task: AbortHandle,
}

impl Proxy {
    /// Listens on a port of loopback (0 = any) and connects every connection to `target`.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(port: u16, target: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let (rules, watched) = watch::channel(Rules::default());
        let serving = serve(listener, address, target, watched, seed);
        Ok(Self {
            address,
            rules,
            task: tokio::spawn(serving).abort_handle(),
        })
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is in force.
    #[must_use]
    pub fn rules(&self) -> Rules {
        *self.rules.borrow()
    }

    /// Changes what is in force, at once for all connections.
    pub fn change(&self, change: impl FnOnce(&mut Rules)) {
        self.rules.send_modify(change);
    }

    /// Resets all connections there are.
    pub fn reset(&self) {
        self.change(|rules| rules.resets += 1);
    }

    /// Lets one side believe that the stream of the other has ended.
    pub fn half_close(&self, direction: Direction) {
        self.change(|rules| rules.way_mut(direction).half_closes += 1);
    }

    /// Cuts what is on its way in the middle and breaks all connections.
    pub fn truncate(&self, direction: Direction) {
        self.change(|rules| rules.way_mut(direction).truncations += 1);
    }

    /// The link works again. Connections that lost bytes are reset.
    pub fn heal(&self) {
        self.change(Rules::heal);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes connections, each in a task of its own; none outlives this one.
async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut rules: watch::Receiver<Rules>,
    seed: u64,
) {
    let mut connections = JoinSet::new();
    let mut listening = Some(listener);
    let mut number = 0;
    loop {
        let refuses = rules.borrow_and_update().refuses;
        if refuses {
            listening = None;
        } else if listening.is_none() {
            listening = listen(address).await;
        }
        let takes = listening.is_some() && connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            accepted = accept(listening.as_ref()), if takes => {
                if let Ok(near) = accepted {
                    number += 1;
                    connections.spawn(carry(near, target, rules.clone(), seed.wrapping_add(number)));
                }
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            changed = rules.changed() => if changed.is_err() { return },
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<tokio::net::TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// The port was ours; whoever holds it for a moment gives it back.
async fn listen(address: SocketAddr) -> Option<TcpListener> {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Some(listener),
            Err(_) => tokio::time::sleep(LISTEN_AGAIN).await,
        }
    }
}
