//! The node's log: one for all groups, one writer, one fdatasync for everybody who waits.
//!
//! ```text
//! GroupLog::append ... -> room in bytes -> index (readable at once) + queue -> writer: encode, write, fdatasync
//!                                                          -> places, Done in order -> old segments freed
//! ```
//! Files of the directory: `identity` (format, store uuid), `<number>.seg` in one unbroken sequence, the last one or
//! two prepared ahead, and `<number>.spare` to make further ones from. Rules:
//!
//! - Votes, entries, truncations and purges of all groups are in one order, in the file as in the calls.
//! - A segment is written only after everything in the segments in front of it is durable and sealed.
//! - What follows a bad record decides what it is: a record written after its place was durable makes it damage (the
//!   log is refused); otherwise it is the remains of a write that nobody was told of, and is wiped.
//! - Segments go from the oldest on, only while everything written is durable (see `collect.rs`).
//! - Room in the queue is bounded in bytes. The writer gives it back and never waits for a caller, so no caller can
//!   wait for ever while the disk works. When the disk hangs or is full, callers wait and [`Wal::stalled_for`] grows.

mod cache;
mod collect;
mod command;
mod driver;
mod error;
mod frame;
mod group;
mod index;
mod live;
mod options;
mod prepare;
mod queue;
mod record;
mod recover;
mod replay;
mod segment;
mod shared;
mod window;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

pub use self::command::Done;
use self::command::Message;
pub use self::error::{Damage, WalError};
pub use self::group::GroupLog;
use self::options::COMMAND_OVERHEAD_BYTES;
pub use self::options::{
    CACHE_BYTES_DEFAULT, Driver, QUEUE_BYTES_DEFAULT, QUEUE_BYTES_MAX, QUEUE_BYTES_MIN,
    SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, WalOptions,
};
use self::prepare::Preparer;
use self::queue::Queue;
use self::recover::{FIRST_SEGMENT, Recovered, recover};
use self::shared::Shared;
pub use self::shared::WalStats;
use self::writer::{WriteError, Writer};
use crate::disk::Disk;
use crate::gently;

/// The log of a node. Clones share it; it ends when closed, or with the last handle.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
    queue: Queue,
}

impl Wal {
    /// Opens the log in `dir`, or begins one, and starts its writer. Reads the whole log.
    ///
    /// # Errors
    /// [`WalError`]; a damaged log is never opened.
    pub async fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store_uuid: [u8; 16],
        options: WalOptions,
        driver: Driver,
    ) -> Result<Self, WalError> {
        options.check()?;
        let segment_bytes = options.segment_bytes;
        let preparer = Preparer::new(
            Arc::clone(&disk),
            dir.to_path_buf(),
            store_uuid,
            segment_bytes,
            FIRST_SEGMENT,
        );
        let preparer = Arc::new(preparer);
        let Recovered {
            groups,
            live,
            segments,
            active,
        } = gently(driver, || recover(&disk, dir, &store_uuid, &preparer))??;
        let shared = Arc::new(Shared::new(options));
        let live_bytes: u64 = groups.values().map(|group| group.lock().disk_bytes()).sum();
        shared.live_bytes.store(live_bytes, Ordering::Relaxed);
        *shared.groups.lock() = groups;
        *shared.segments.lock() = segments;
        let mut writer = Writer::new(Arc::clone(&shared), preparer, live, active, store_uuid);
        // What a killed process wrote may be in memory only: from here on it counts, so it must be durable.
        writer.mark_checked().map_err(|error| match error {
            WriteError::Full => WalError::Io(io::ErrorKind::StorageFull.into()),
            WriteError::Fatal(error) => WalError::Io(error),
        })?;
        let places = options.queue_bytes / COMMAND_OVERHEAD_BYTES + 1;
        let (queue, commands) = queue::queue(usize::try_from(places).map_err(io::Error::other)?, driver);
        driver::start(driver, disk, writer, commands)?;
        Ok(Self { shared, queue })
    }

    /// The log of one replica.
    #[must_use]
    pub fn group(&self, replica_id: u64) -> GroupLog {
        GroupLog::new(replica_id, Arc::clone(&self.shared), self.queue.clone())
    }

    /// Replicas that exist in this log.
    #[must_use]
    pub fn replicas(&self) -> Vec<u64> {
        let groups: BTreeMap<u64, _> = self.shared.groups.lock().clone();
        groups
            .into_iter()
            .filter(|(_, group)| group.lock().exists)
            .map(|(replica_id, _)| replica_id)
            .collect()
    }

    /// Takes no more commands, makes the earlier ones durable and ends the writer.
    ///
    /// # Errors
    /// A poisoned log, or one that was closed before.
    pub async fn close(&self) -> io::Result<()> {
        self.shared.room.close();
        let (tx, rx) = oneshot::channel();
        if !self.queue.send(Message::Stop(tx)).await {
            return Err(self.shared.refusal());
        }
        rx.await.map_err(|_| self.shared.refusal())?
    }

    /// Waits until a write or sync fails and returns why. The process must end then; never completes otherwise.
    pub async fn fatal(&self) -> String {
        let mut fatal = self.shared.fatal();
        let reason = fatal
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason.to_string(),
            None => std::future::pending().await,
        }
    }

    /// Why the log has stopped, if it has.
    #[must_use]
    pub fn poison_reason(&self) -> Option<String> {
        self.shared.poison_reason().map(str::to_owned)
    }

    /// For how long the writer has been at one batch: long means that the disk hangs or is full, and the node should
    /// give up leadership. Zero while it is idle.
    #[must_use]
    pub fn stalled_for(&self) -> Duration {
        self.shared
            .busy_since
            .lock()
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// What the longest batch has taken since the last call of this, from its begin to its sync and the tidying
    /// after it.
    #[must_use]
    pub fn slowest_batch(&self) -> Duration {
        Duration::from_nanos(self.shared.slowest_batch_nanos.swap(0, Ordering::Relaxed))
    }

    /// How far the log is durable, as one number that never goes back while the directory is the same: the segment in the
    /// upper 32 bits, the offset in the lower.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.shared.position.load(Ordering::Acquire)
    }

    /// Whether the writer waits for room on the disk. Nothing is lost; it goes on by itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Acquire)
    }

    /// Writes a mark of no meaning and returns when it is durable: shows whether the disk works.
    ///
    /// # Errors
    /// A poisoned or closed log.
    pub async fn probe(&self) -> io::Result<()> {
        group::probe(&self.shared, &self.queue).await
    }

    /// Figures since the log was opened.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        let counts = &self.shared.counts;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let free_bytes = self.shared.room.available_permits() as u64;
        WalStats {
            fsyncs: get(&counts.fsyncs),
            bytes: get(&counts.bytes),
            appends: get(&counts.appends),
            last_fsync: Duration::from_nanos(get(&counts.last_fsync_nanos)),
            queue_bytes: self.shared.options.queue_bytes.saturating_sub(free_bytes),
            segments: self.shared.segments.lock().len() as u64,
            live_bytes: get(&self.shared.live_bytes),
            cache_bytes: self.shared.cache.lock().bytes(),
            relocated_bytes: get(&counts.relocated_bytes),
            late_segments: get(&counts.late_segments),
        }
    }
}
