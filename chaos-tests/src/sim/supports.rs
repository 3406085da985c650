//! What the simulation can make of a fault.

use crate::scenario::Fault;

/// Whole clusters.
///
/// # Errors
/// Why not.
pub fn supports(fault: &Fault) -> Result<(), &'static str> {
    match fault {
        Fault::Kill(_)
        | Fault::PowerCut(_)
        | Fault::Isolate(_)
        | Fault::OneWay(..)
        | Fault::Bridge(_)
        | Fault::Hold(_)
        | Fault::Reset(..)
        | Fault::Forge(_)
        | Fault::HideFromClients(_)
        | Fault::Pause(_)
        | Fault::LostReplies(_)
        | Fault::LateReplies(..)
        | Fault::Slow(_)
        | Fault::DiskStall(_)
        | Fault::DiskFull(_)
        | Fault::FsyncFails(_)
        | Fault::CorruptState(_)
        | Fault::ClientStorm(_)
        | Fault::ClockJump(..)
        | Fault::PurgeWhileDown(_) => Ok(()),
        Fault::HalfClose(..) | Fault::Truncate(..) => {
            Err("simulated streams end whole; a proxy before a real one can end a half")
        }
        Fault::Narrow(..) => Err("simulated links have no bandwidth"),
    }
}

/// One Raft group alone.
///
/// # Errors
/// Why not.
pub fn supports_group(fault: &Fault) -> Result<(), &'static str> {
    match fault {
        Fault::HideFromClients(_)
        | Fault::LostReplies(_)
        | Fault::LateReplies(..)
        | Fault::ClientStorm(_) => Err("the callers of one group sit beside its replicas"),
        Fault::ClockJump(..) => Err("one group alone has no clock"),
        Fault::DiskFull(_) | Fault::FsyncFails(_) | Fault::CorruptState(_) => {
            Err("one group alone has neither the guard of the disk nor the repair of a node")
        }
        other => supports(other),
    }
}
