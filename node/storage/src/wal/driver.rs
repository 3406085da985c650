//! Runs the writer: on a thread, or as a task in simulated time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver as PrepareReceiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::command::{Command, Message};
use super::error::poisoned;
use super::options::{BATCH_BYTES_MAX, DISK_RETRY_PAUSE, Driver};
use super::prepare::Preparer;
use super::queue::Waiting;
use super::writer::{Batch, WriteError, Writer};
use crate::disk::Disk;

/// Starts the writer.
pub(super) fn start(driver: Driver, disk: Arc<dyn Disk>, writer: Writer, queue: Waiting) -> io::Result<()> {
    match driver {
        Driver::Threads => {
            let (wishes, wished) = sync_channel(1);
            let preparer = Arc::clone(&writer.preparer);
            thread::Builder::new()
                .name("wal-prepare".into())
                .spawn(move || prepare_ahead(&preparer, &wished))?;
            let ahead = Ahead::Thread(wishes);
            thread::Builder::new().name("wal-writer".into()).spawn(move || {
                Runner { writer, queue, ahead }.run_thread();
            })?;
        }
        Driver::Tasks { sync_latency } => {
            let runner = Runner {
                writer,
                queue,
                ahead: Ahead::Here,
            };
            tokio::spawn(runner.run_task(disk, sync_latency));
        }
    }
    Ok(())
}

/// Makes the next segment whenever somebody wishes it, until nobody does any more.
fn prepare_ahead(preparer: &Preparer, wished: &PrepareReceiver<()>) {
    while wished.recv().is_ok() {
        warn_of(preparer.prepare_calmly());
    }
}

fn warn_of(prepared: io::Result<()>) {
    if let Err(error) = prepared {
        // The writer tries again itself when it needs the segment.
        tracing::warn!(%error, "log segment could not be prepared ahead");
    }
}

/// Who makes segments ahead of need.
enum Ahead {
    Thread(SyncSender<()>),
    /// The writer's own task, between two batches: in simulated time it costs nothing.
    Here,
}

struct Runner {
    writer: Writer,
    queue: Waiting,
    ahead: Ahead,
}

impl Drop for Runner {
    fn drop(&mut self) {
        if thread::panicking() {
            self.writer
                .shared
                .poison(&io::Error::other("the writer panicked"));
        }
    }
}

/// What to do next.
struct Work {
    batch: Batch,
    stop: Option<oneshot::Sender<io::Result<()>>>,
}

impl Runner {
    fn run_thread(mut self) {
        self.prepare_next();
        while let Some(message) = self.queue.next_blocking() {
            let mut work = self.take_work(message);
            self.set_busy(true);
            if let Err(error) = self.write_blocking(&mut work.batch) {
                return self.end(work, &error);
            }
            if self.finish(work) {
                return;
            }
        }
        self.stop_unasked();
    }

    fn write_blocking(&mut self, batch: &mut Batch) -> io::Result<()> {
        while !self.try_write(batch)? {
            thread::sleep(DISK_RETRY_PAUSE);
        }
        if batch.needs_sync() {
            self.writer.sync()
        } else {
            self.writer.flush()
        }
    }

    async fn run_task(mut self, disk: Arc<dyn Disk>, sync_latency: Duration) {
        self.prepare_next();
        while let Some(message) = self.queue.next().await {
            let mut work = self.take_work(message);
            self.set_busy(true);
            if let Err(error) = self
                .write_simulated(&mut work.batch, disk.as_ref(), sync_latency)
                .await
            {
                return self.end(work, &error);
            }
            if self.finish(work) {
                return;
            }
        }
        self.stop_unasked();
    }

    async fn write_simulated(
        &mut self,
        batch: &mut Batch,
        disk: &dyn Disk,
        sync_latency: Duration,
    ) -> io::Result<()> {
        while !self.try_write(batch)? {
            tokio::time::sleep(DISK_RETRY_PAUSE).await;
        }
        self.writer.flush()?;
        if batch.needs_sync() {
            tokio::time::sleep(sync_latency).await;
            while disk.stalled() {
                tokio::time::sleep(DISK_RETRY_PAUSE).await;
            }
            self.writer.sync()?;
        }
        Ok(())
    }

    /// Whether the batch is written; `false` means that the disk is full and it is to be tried again.
    fn try_write(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let written = self.writer.write(batch);
        let is_full = matches!(written, Err(WriteError::Full));
        self.writer.shared.full.store(is_full, Ordering::Release);
        match written {
            Ok(()) => Ok(true),
            Err(WriteError::Fatal(error)) => Err(error),
            // Nothing that was asked for is lost by waiting, unless the log is to close.
            Err(WriteError::Full) if self.writer.shared.room.is_closed() => {
                Err(io::ErrorKind::StorageFull.into())
            }
            Err(WriteError::Full) => {
                self.writer.sync()?;
                match self.writer.collect(0) {
                    Ok(()) | Err(WriteError::Full) => Ok(false),
                    Err(WriteError::Fatal(error)) => Err(error),
                }
            }
        }
    }

    /// Everything that waits, up to a limit, shares one sync.
    fn take_work(&mut self, first: Message) -> Work {
        let mut commands: Vec<Command> = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Command(command) => {
                    bytes += command.bytes;
                    commands.push(command);
                }
                Message::Stop(stop) => {
                    return Work {
                        batch: Batch::new(commands),
                        stop: Some(stop),
                    };
                }
            }
            next = if bytes < BATCH_BYTES_MAX {
                self.queue.take()
            } else {
                None
            };
        }
        Work {
            batch: Batch::new(commands),
            stop: None,
        }
    }

    /// Tells everybody, then tidies up. Returns whether the log has ended.
    fn finish(&mut self, work: Work) -> bool {
        let Work { batch, stop } = work;
        let batch_bytes = batch.bytes();
        self.writer.complete(batch);
        let collected = self.writer.collect(batch_bytes);
        self.set_busy(false);
        if let Err(WriteError::Fatal(error)) = collected {
            self.end(
                Work {
                    batch: Batch::new(Vec::new()),
                    stop,
                },
                &error,
            );
            return true;
        }
        self.prepare_next();
        match stop {
            Some(stop) => {
                let result = self.stop();
                // Who closed the log may have gone.
                let _ = stop.send(result);
                true
            }
            None => false,
        }
    }

    fn prepare_next(&mut self) {
        // Nobody is woken for nothing.
        if !self.writer.preparer.is_wanted() {
            return;
        }
        match &self.ahead {
            // Full: the wish for it is there already.
            Ahead::Thread(wishes) => drop(wishes.try_send(())),
            Ahead::Here => warn_of(self.writer.preparer.prepare()),
        }
    }

    fn set_busy(&self, busy: bool) {
        let shared = &self.writer.shared;
        let since = std::mem::replace(&mut *shared.busy_since.lock(), busy.then(Instant::now));
        if let Some(since) = since {
            let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            shared.slowest_batch_nanos.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// The last handle is gone.
    fn stop_unasked(&mut self) {
        self.writer.preparer.end();
        // Nobody waits, and the directory may be open again: nothing new is written.
        if let Err(error) = self.writer.sync() {
            self.writer.shared.poison(&error);
        }
    }

    /// The planned end: everything is durable and marked as complete.
    fn stop(&mut self) -> io::Result<()> {
        self.writer.shared.room.close();
        let result = match self
            .writer
            .put_committed()
            .and_then(|()| self.writer.mark_checked())
        {
            Ok(()) => Ok(()),
            Err(WriteError::Full) => self.writer.sync(),
            Err(WriteError::Fatal(error)) => Err(error),
        };
        if let Err(error) = &result {
            self.writer.shared.poison(error);
        }
        self.writer.preparer.end();
        result
    }

    /// The unplanned end: everybody who waits is told that the outcome is unknown.
    fn end(&mut self, work: Work, error: &io::Error) {
        self.writer.shared.poison(error);
        self.writer.preparer.end();
        let reason = error.to_string();
        let refuse = || poisoned(&reason);
        work.batch.fail(refuse);
        let mut stops: Vec<_> = work.stop.into_iter().collect();
        self.queue.close();
        while let Some(message) = self.queue.take() {
            match message {
                Message::Command(command) => Batch::new(vec![command]).fail(refuse),
                Message::Stop(stop) => stops.push(stop),
            }
        }
        for stop in stops {
            // Who closed the log may have gone.
            let _ = stop.send(Err(refuse()));
        }
    }
}
