//! The log: one per node for all groups. Votes and entries of all groups go through one writer in one order; one
//! fdatasync makes everything durable that waits at that moment.
//!
//! Invariants: STO-1 nothing is acknowledged before its fdatasync returned; STO-2 after a failed write or sync nothing
//! is ever acknowledged again; STO-3 a bad batch that valid ones follow is damage and refuses to open.

mod frame;
mod group;
mod index;
mod recover;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use self::group::GroupLog;
pub use self::recover::WalError;
use self::shared::{Command, Shared};
use self::writer::Writer;
pub use crate::Driver;
use crate::disk::Disk;

/// Called once with the fate of a write.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Commands that may wait for the writer; who comes later waits.
const COMMANDS_WAITING_MAX: usize = 4_096;
/// Commands in one batch.
const BATCH_COMMANDS_MAX: usize = 1_024;
/// Bytes of entries after which a batch is closed.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How often a worker looks whether a stalled disk goes on.
const STALL_POLL: Duration = Duration::from_millis(1);

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Size of a segment, bytes.
    pub segment_bytes: u64,
    /// Newest entries kept in memory, bytes over all groups.
    pub cache_bytes: usize,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            cache_bytes: 32 * 1024 * 1024,
        }
    }
}

/// The node's log. Clones share it.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
}

impl Wal {
    /// Opens the log in `dir`, or begins one there, and starts its writer.
    ///
    /// # Errors
    /// [`WalError`]: nothing is cut or repaired to make a log open.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store_uuid: [u8; 16],
        options: WalOptions,
        driver: Driver,
    ) -> Result<Self, WalError> {
        disk.create_dir_all(dir)?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent)?;
        }
        let mut recovered = recover::recover(disk.as_ref(), dir, &store_uuid)?;
        let (commands, queue) = mpsc::channel(COMMANDS_WAITING_MAX);
        let groups = std::mem::take(&mut recovered.groups);
        let shared = Arc::new(Shared::new(groups, recovered.files.clone(), commands));
        let writer = Writer::new(
            Arc::clone(&shared),
            Arc::clone(&disk),
            dir.to_path_buf(),
            store_uuid,
            options,
            &recovered,
        );
        match driver {
            Driver::Threads => {
                std::thread::Builder::new()
                    .name("log".into())
                    .spawn(move || run_thread(writer, queue))?;
            }
            Driver::Tasks { sync_latency } => {
                tokio::spawn(run_task(writer, queue, disk, sync_latency));
            }
        }
        Ok(Self { shared })
    }

    /// The handle of one replica's log.
    #[must_use]
    pub fn group(&self, replica_id: u64) -> GroupLog {
        GroupLog::new(replica_id, Arc::clone(&self.shared))
    }

    /// Number of fdatasyncs so far.
    #[must_use]
    pub fn fsyncs(&self) -> u64 {
        self.shared.stats.fsyncs.load(Ordering::Relaxed)
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.shared.stats.bytes.load(Ordering::Relaxed)
    }

    /// Why the log can no longer be written, if so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.failure()
    }

    /// Returns when a write or a sync has failed: the process must end.
    pub async fn failed(&self) -> String {
        loop {
            let notified = self.shared.failed.notified();
            if let Some(reason) = self.failure() {
                return reason;
            }
            notified.await;
        }
    }

    /// Makes everything durable that was asked for before this call.
    ///
    /// # Errors
    /// The log failed.
    pub async fn flush(&self) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            // Nobody waits any more.
            let _ = tx.send(result);
        });
        let stopped = || io::Error::other("the log has stopped");
        let command = Command {
            group: 0,
            records: Vec::new(),
            done: Some(done),
        };
        self.shared.commands.send(command).await.map_err(|_| stopped())?;
        rx.await.map_err(|_| stopped())?
    }
}

/// Takes what waits, without waiting for more: that is the group commit.
fn drain(first: Command, queue: &mut mpsc::Receiver<Command>) -> Vec<Command> {
    let mut bytes = first.bytes();
    let mut commands = vec![first];
    while commands.len() < BATCH_COMMANDS_MAX && bytes < BATCH_BYTES {
        let Ok(command) = queue.try_recv() else { break };
        bytes += command.bytes();
        commands.push(command);
    }
    commands
}

fn run_thread(mut writer: Writer, mut queue: mpsc::Receiver<Command>) {
    while let Some(first) = queue.blocking_recv() {
        let commands = drain(first, &mut queue);
        writer.step(commands);
    }
}

async fn run_task(
    mut writer: Writer,
    mut queue: mpsc::Receiver<Command>,
    disk: Arc<dyn Disk>,
    sync_latency: Duration,
) {
    while let Some(first) = queue.recv().await {
        while disk.stalled() {
            tokio::time::sleep(STALL_POLL).await;
        }
        let commands = drain(first, &mut queue);
        // The disk takes its time before it is durable, so a crash in between loses it.
        tokio::time::sleep(sync_latency).await;
        writer.step(commands);
    }
}
