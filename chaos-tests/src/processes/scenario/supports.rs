//! What can be done to real processes and the links between them.

use crate::scenario::Fault;

/// # Errors
/// Why not.
pub fn supports(fault: &Fault) -> Result<(), &'static str> {
    match fault {
        Fault::Kill(_)
        | Fault::Pause(_)
        | Fault::Isolate(_)
        | Fault::OneWay(..)
        | Fault::Bridge(_)
        | Fault::Hold(_)
        | Fault::Reset(..)
        | Fault::Forge(_)
        | Fault::HalfClose(..)
        | Fault::Truncate(..)
        | Fault::HideFromClients(_)
        | Fault::LostReplies(_)
        | Fault::LateReplies(..)
        | Fault::Slow(_)
        | Fault::Narrow(..)
        | Fault::ClientStorm(_)
        | Fault::PurgeWhileDown(_)
        | Fault::ClockJump(_, 0..) => Ok(()),
        Fault::ClockJump(..) => Err("the clock of a real node only jumps forward"),
        Fault::PowerCut(_) | Fault::DiskStall(_) | Fault::DiskFull(_) | Fault::FsyncFails(_) => {
            Err("the nodes are on the disk of this machine; the rows on FUSE disks do this")
        }
        Fault::CorruptState(_) => {
            Err("the files of a real engine have no place where a flipped bit must be noticed")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::{Focus, Scenario};

    #[test]
    fn all_that_is_drawn_for_processes_is_carried_out() {
        for seed in 0..50 {
            let drawn = Scenario::draw(seed, 3, 2, Duration::from_secs(10), Focus::Processes);
            assert!(drawn.split(supports).1.is_empty());
        }
    }
}
