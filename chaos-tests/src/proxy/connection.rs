//! One connection through a proxy.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::pump::Pump;
use super::rules::{Direction, Rules};
use crate::workload::seeded;

/// Carries one accepted connection to its end.
pub(super) async fn carry(near: TcpStream, target: SocketAddr, mut rules: watch::Receiver<Rules>, seed: u64) {
    let Some((far, now)) = reach(target, &mut rules).await else {
        let _ = near.set_zero_linger();
        return;
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let pump = |direction, part| Pump::new(direction, rules.clone(), now, seeded(seed, part));
    let forward = pump(Direction::Forward, "forward");
    let backward = pump(Direction::Backward, "backward");
    let ended = tokio::try_join!(
        forward.run(&mut near_read, &mut far_write),
        backward.run(&mut far_read, &mut near_write)
    );
    if ended.is_err() {
        for side in [near_write, far_write] {
            let _ = side.as_ref().set_zero_linger();
            // Dropping it would say the stream ended, before the reset.
            side.forget();
        }
    }
}

/// Connects once the link lets the handshake of TCP through, under the rules it gives; whatever changed since is
/// still to be acted on. None = nobody there, or the link was reset.
async fn reach(target: SocketAddr, rules: &mut watch::Receiver<Rules>) -> Option<(TcpStream, Rules)> {
    let resets = rules.borrow().resets;
    loop {
        let now = *rules.borrow_and_update();
        if now.resets != resets || now.refuses {
            return None;
        }
        if !now.forward.is_blocked() && !now.backward.is_blocked() {
            return Some((TcpStream::connect(target).await.ok()?, now));
        }
        rules.changed().await.ok()?;
    }
}
