//! The links between nodes, over loopback sockets and in the simulator.

mod calls;
mod hostile;
mod liveness;
mod simulation;
mod snapshots;
mod support;
mod table;
