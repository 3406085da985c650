//! Every limit of the links between nodes, with its unit.

use std::time::Duration;

use spine_proto::internal::raft::v1::Lane;

/// Spells "SPINE", then two zero bytes and the version of this framing.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SPINE\0\0\x01");

/// Bytes of the length before each frame.
pub const LENGTH_BYTES: usize = 4;
/// A first frame is a Hello or a Refusal, bytes.
pub const HELLO_FRAME_BYTES_MAX: usize = 4 * 1024;
/// Longest watch frame, bytes.
pub const WATCH_FRAME_BYTES_MAX: usize = 16 * 1024;
/// What senders on the log lane aim at, so that groups take turns, bytes.
pub const LOG_FRAME_BYTES_TARGET: usize = 64 * 1024;
/// Longest log frame, bytes: a single large entry passes.
pub const LOG_FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest bulk frame, bytes.
pub const BULK_FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A reader asks for no more memory than this ahead of the bytes that came, bytes.
pub const READ_AHEAD_BYTES: usize = 64 * 1024;
/// Queued frames are written together up to this many bytes.
pub const WRITE_BATCH_BYTES: usize = 256 * 1024;
/// Frames waiting to be written on one connection, bytes.
pub const SEND_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Requests of one peer that are being handled, on one lane, bytes of their frames. Group requests and other
/// calls each have this much, because calls end only when groups make progress.
pub const HANDLING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Requests of one peer that are being handled, on one lane; twice, as above. More group requests wait, more
/// calls are answered with `BUSY`.
pub const HANDLING_MAX: usize = 512;
/// Calls that wait for an answer on one connection; twice, as above.
pub const CALLS_IN_FLIGHT_MAX: usize = 1_024;

/// Inbound connections of a node, handshakes included.
pub const INBOUND_CONNECTIONS_MAX: usize = 256;
/// From accept or connect to a verdict.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(2);
/// A connect that takes longer is given up.
pub const CONNECT_DEADLINE: Duration = Duration::from_millis(500);
/// A connection that may only bootstrap is closed after so long.
pub const BOOTSTRAP_IDLE_LIMIT: Duration = Duration::from_secs(10);

/// Wait before the second connect of the log and bulk lanes; it doubles.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
pub const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The watch lane asks sooner: its answers are what liveness rests on.
pub const WATCH_BACKOFF_MIN: Duration = Duration::from_millis(5);
pub const WATCH_BACKOFF_MAX: Duration = Duration::from_millis(250);

/// A node that handles a request says so at least this often, by an empty frame.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(100);
/// A connection on which a request met nothing at all, not even an empty frame, for so long is given up.
pub const STALL_LIMIT: Duration = Duration::from_secs(1);

/// Time between two watch frames.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// A peer not heard for so long is silent.
pub const SILENCE_LIMIT: Duration = Duration::from_millis(250);
/// Our own watch loop ran later than this: what it did not hear proves nothing.
pub const LATE_LIMIT: Duration = Duration::from_millis(75);
/// Frames of a dead node may still be in our kernel so long after its sockets closed.
pub const LAST_WORDS: Duration = Duration::from_millis(50);
/// Progress entries in one watch frame; more shards take turns.
pub const PROGRESS_PER_WATCH_MAX: usize = 200;
/// Nodes a peer may call silent in one frame.
pub const SILENT_NODES_MAX: usize = 64;
/// Shards a node may say it leads: all a cluster can have.
pub const LEADING_MAX: usize = 4_096;
/// Accepted watch connections on their way to the watch thread.
pub const WATCH_HANDOVER_MAX: usize = 64;

/// Snapshots a node sends at once.
pub const SNAPSHOTS_OUT_MAX: usize = 2;
/// Snapshots a node receives at once.
pub const SNAPSHOTS_IN_MAX: usize = 2;
/// Parts of one snapshot between the connection and the installer; then TCP pushes back.
pub const SNAPSHOT_PARTS_QUEUED_MAX: usize = 4;
/// From the last part to the receiver's answer.
pub const SNAPSHOT_INSTALL_LIMIT: Duration = Duration::from_secs(120);
/// A receiver gives up a snapshot of which nothing came for so long.
pub const SNAPSHOT_IDLE_LIMIT: Duration = Duration::from_secs(10);

/// Longest frame of a lane, bytes.
#[must_use]
pub const fn frame_bytes_max(lane: Lane) -> usize {
    match lane {
        Lane::Unspecified => HELLO_FRAME_BYTES_MAX,
        Lane::Watch => WATCH_FRAME_BYTES_MAX,
        Lane::Log => LOG_FRAME_BYTES_MAX,
        Lane::Bulk => BULK_FRAME_BYTES_MAX,
    }
}
