//! The links between nodes: three TCP lanes per peer and direction, and who is alive.
//!
//! - *watch*: a small frame every few milliseconds, on a thread of its own ([`liveness`]).
//! - *log*: appends, votes, forwarded calls: many under way, answered in any order ([`Links::call`]).
//! - *bulk*: snapshots ([`Links::send_snapshot`]).
//!
//! Each node dials its own connections, sends its requests on them and gets the answers there. Order of reading:
//! [`limits`], `frame.rs`, `handshake.rs`, `slot.rs` (dialling), `caller.rs` (calls), `inbound.rs` and
//! `server.rs` (answers), `snapshot.rs`, `liveness/table.rs`.

mod caller;
mod config;
mod counters;
mod dial;
mod error;
mod frame;
mod handshake;
mod inbound;
mod jitter;
pub mod limits;
mod links;
pub mod liveness;
mod queue;
mod server;
mod slot;
mod snapshot;
mod wire;

pub use config::{
    ClockSource, Identity, IdentityCell, LeadingSource, LevelSource, LinksConfig, NO_NODE, NoStores,
    PeerAddresses, PeerHandler, ProgressSource, Stores, WatchDriver, WatchTiming,
};
pub use counters::{CounterValues, Counters};
pub use error::{PeerError, RefusalReason};
pub use limits::WATCH_INTERVAL;
pub use links::Links;
pub use liveness::LivenessSnapshot;
pub use snapshot::{ReceivedPart, SnapshotError, SnapshotParts, SnapshotReceiver};
pub use wire::WireRange;
