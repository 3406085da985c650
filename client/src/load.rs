//! Registers many patients over several streams, each to a node of its own.
//!
//! A batch that was sent and not answered is sent again when its stream breaks; a patient who is
//! registered already with just this as the first version answers *replayed*. That makes a whole
//! load resumable, at any time: run it again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt as _, pin_mut};
use tokio::sync::{Mutex, mpsc};

use crate::call::Core;
use crate::error::Result;
use crate::load_lane::Lane;

/// Lines of one batch: one request, and at the node few log entries.
pub const BATCH_LINES: usize = 500;
/// A node takes no more in one message.
pub const BATCH_LINES_MAX: usize = 2_048;
/// A batch is closed early at so many bytes.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Streams side by side.
pub const STREAMS: usize = 3;
/// Batches sent and not answered on one stream.
pub const WINDOW: usize = 4;
/// A load fails when no line was answered for so long.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// One line of the file.
#[derive(Clone)]
pub struct LoadLine {
    /// Its number, from 1.
    pub line: u64,
    /// A FHIR R4 Patient.
    pub fhir_json: Bytes,
}

impl fmt::Debug for LoadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadLine")
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Its number.
    pub line: u64,
    /// Stable word, as in [`crate::Error::reason`].
    pub reason: String,
    /// For people; holds nothing of the line.
    pub message: String,
}

/// What came of some lines; also their sum over a whole load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOutcome {
    /// Newly registered.
    pub registered: u64,
    /// Registered before, with just this.
    pub replayed: u64,
    /// Refused lines.
    pub errors: Vec<LineError>,
}

impl LoadOutcome {
    /// Lines with an outcome.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.registered + self.replayed + self.errors.len() as u64
    }
}

/// Counts over a whole load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Newly registered.
    pub registered: u64,
    /// Registered before, with just this.
    pub replayed: u64,
    /// Refused; each was given to the observer.
    pub failed: u64,
}

/// How a load is to run.
#[derive(Clone)]
#[must_use = "a load does nothing until it is run"]
pub struct LoadBuilder {
    core: Arc<Core>,
    batch_lines: usize,
    streams: usize,
    give_up_after: Duration,
}

impl fmt::Debug for LoadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadBuilder").finish_non_exhaustive()
    }
}

impl LoadBuilder {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            batch_lines: BATCH_LINES,
            streams: STREAMS,
            give_up_after: GIVE_UP_AFTER,
        }
    }

    /// Lines of one batch, at most 2,048. Default 500.
    pub fn batch_lines(mut self, lines: usize) -> Self {
        self.batch_lines = lines.clamp(1, BATCH_LINES_MAX);
        self
    }

    /// Streams side by side. Default 3.
    pub fn streams(mut self, streams: usize) -> Self {
        self.streams = streams.max(1);
        self
    }

    /// The load fails when no line was answered for so long. Default 60 s.
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = time;
        self
    }

    /// Sends every line and waits for every outcome. `observe` sees them batch by batch, in no
    /// particular order. A bad line never stops a good one.
    ///
    /// # Errors
    /// `Unavailable` where no node answered for long; those of the whole stream, such as
    /// `Forbidden`. What `observe` has seen is registered all the same.
    pub async fn run(
        self,
        lines: impl Stream<Item = LoadLine>,
        mut observe: impl FnMut(&LoadOutcome),
    ) -> Result<LoadReport> {
        let (batches_in, batches) = mpsc::channel(self.streams);
        let batches = Arc::new(Mutex::new(batches));
        let (outcomes_in, mut outcomes) = mpsc::channel(self.streams * WINDOW);
        let mut lanes: FuturesUnordered<_> = (0..self.streams)
            .map(|number| {
                Lane {
                    core: Arc::clone(&self.core),
                    number,
                    give_up_after: self.give_up_after,
                    batches: Arc::clone(&batches),
                    outcomes: outcomes_in.clone(),
                }
                .run()
            })
            .collect();
        drop(outcomes_in);
        let feeding = feed(lines, self.batch_lines, batches_in);
        pin_mut!(feeding);

        let mut report = LoadReport::default();
        let mut fed = false;
        let mut running = true;
        while running {
            tokio::select! {
                () = &mut feeding, if !fed => fed = true,
                Some(ended) = lanes.next() => ended?,
                outcome = outcomes.recv() => match outcome {
                    Some(outcome) => report.add(&outcome, &mut observe),
                    None => running = false,
                },
            }
        }
        Ok(report)
    }
}

impl LoadReport {
    fn add(&mut self, outcome: &LoadOutcome, observe: &mut impl FnMut(&LoadOutcome)) {
        self.registered += outcome.registered;
        self.replayed += outcome.replayed;
        self.failed += outcome.errors.len() as u64;
        observe(outcome);
    }
}

/// Cuts the lines into batches. Ends, and closes the channel, with the last line.
async fn feed(lines: impl Stream<Item = LoadLine>, batch_lines: usize, batches: mpsc::Sender<Vec<LoadLine>>) {
    pin_mut!(lines);
    let mut batch = Vec::new();
    let mut bytes = 0;
    while let Some(line) = lines.next().await {
        bytes += line.fhir_json.len();
        batch.push(line);
        if batch.len() >= batch_lines || bytes >= BATCH_BYTES_MAX {
            bytes = 0;
            // The lanes are gone only when the load has failed.
            if batches.send(std::mem::take(&mut batch)).await.is_err() {
                return;
            }
        }
    }
    if !batch.is_empty() {
        let _ = batches.send(batch).await;
    }
}
