//! One running watch: takes from the replica's feed what the caller has asked for, when the caller can take it.
//!
//! The feed itself is the queue: a caller that is slower than the changes is overtaken by the feed's floor and told
//! where to go on. Only one page of the feed waits for each watch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use spine_proto::records::v1::WatchResponse;
use spine_services::records::watch::progress;
use spine_services::{ErrorKind, SpineError};
use spine_storage::replica::{FeedEntry, ReplicaError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::status::to_status;
use crate::dispatch::call::Dispatcher;
use crate::dispatch::watch::Opened;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Request as RequestLabel;

/// A watch whose keys do not change hears this often how far it is, so that it can go on from there elsewhere.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// A replica that learns of no changes for this long sends its watches to others.
pub const OUT_OF_TOUCH_MAX: Duration = Duration::from_secs(3);

/// One of the watches that a node may serve at once.
pub struct Place {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Takes the place.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, permit: OwnedSemaphorePermit) -> Self {
        metrics.gateway.watches_open.inc();
        Self {
            metrics,
            _permit: permit,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.gateway.watches_open.dec();
    }
}

/// See the module.
pub struct Watching {
    dispatcher: Arc<Dispatcher>,
    opened: Opened,
    /// Ends every watch of the node.
    draining: CancellationToken,
    place: Place,
    /// Taken from the feed, not yet by the caller.
    page: VecDeque<FeedEntry>,
    /// Everything before this index was taken from the feed.
    next: u64,
    /// The caller knows that everything before this index was shown.
    told: u64,
    look_at: Instant,
    out_of_touch_since: Option<Instant>,
}

impl Watching {
    /// Begins to show changes.
    #[must_use]
    pub fn new(
        dispatcher: Arc<Dispatcher>,
        opened: Opened,
        draining: CancellationToken,
        place: Place,
    ) -> Self {
        Self {
            next: opened.from,
            told: opened.from,
            dispatcher,
            opened,
            draining,
            place,
            page: VecDeque::new(),
            look_at: Instant::now() + PROGRESS_INTERVAL,
            out_of_touch_since: None,
        }
    }

    /// The answers; the last one is an error that says how to go on.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchResponse, Status>> + Send {
        unfold(Some(self), |watching| async move {
            let mut watching = watching?;
            match watching.step().await {
                Ok(message) => Some((Ok(message), Some(watching))),
                Err(error) => {
                    watching.count(&error);
                    Some((Err(to_status(&error)), None))
                }
            }
        })
    }

    async fn step(&mut self) -> Result<WatchResponse, SpineError> {
        if std::mem::take(&mut self.opened.from_now) {
            return Ok(progress(self.next - 1));
        }
        loop {
            if self.draining.is_cancelled() {
                return Err(self.ended(ErrorKind::Unavailable, "DRAINING", "the node is stopping"));
            }
            if let Some(entry) = self.page.pop_front() {
                self.told = entry.index + 1;
                return self.dispatcher.shown(&entry, &self.opened.prefix);
            }
            if let Some(mark) = self.look()? {
                return Ok(mark);
            }
            if !self.take_page()? {
                self.wait().await;
            }
        }
    }

    /// From time to time: whether the replica still learns of changes, and how far the caller is.
    fn look(&mut self) -> Result<Option<WatchResponse>, SpineError> {
        let now = Instant::now();
        if now < self.look_at {
            return Ok(None);
        }
        self.look_at = now + PROGRESS_INTERVAL;
        if self.dispatcher.in_touch(&self.opened.shard) {
            self.out_of_touch_since = None;
        } else if now - *self.out_of_touch_since.get_or_insert(now) >= OUT_OF_TOUCH_MAX {
            let message = "this replica does not hear its leader";
            return Err(self.ended(ErrorKind::Unavailable, "WATCH_OUT_OF_TOUCH", message));
        }
        if self.next == self.told {
            return Ok(None);
        }
        self.told = self.next;
        Ok(Some(progress(self.told - 1)))
    }

    /// Reads on in the feed; false where nothing new was applied.
    fn take_page(&mut self) -> Result<bool, SpineError> {
        let store = self.opened.shard.group.store();
        match store.feed(self.next, &self.opened.prefix) {
            Ok(page) => {
                let moved = page.next > self.next;
                self.next = page.next;
                self.page = page.entries.into();
                Ok(moved)
            }
            Err(ReplicaError::Compacted { .. }) => {
                let message = "the feed of this replica begins later";
                Err(self.ended(ErrorKind::Unavailable, "WATCH_FELL_BEHIND", message))
            }
            Err(error) => {
                tracing::warn!(%error, "watch");
                Err(self.ended(
                    ErrorKind::Unavailable,
                    "REPLICA_STOPPED",
                    "this replica has stopped",
                ))
            }
        }
    }

    async fn wait(&self) {
        let store = self.opened.shard.group.store();
        tokio::select! {
            biased;
            () = self.draining.cancelled() => {}
            () = store.fed(self.next) => {}
            () = sleep_until(self.look_at) => {}
        }
    }

    fn ended(&self, kind: ErrorKind, reason: &'static str, why: &str) -> SpineError {
        let mut error = SpineError::new(
            kind,
            reason,
            format!("{why}; watch again from index {}", self.told),
        );
        error.shard = self.opened.shard.group.identity().shard;
        error
    }

    fn count(&self, error: &SpineError) {
        let label = RequestLabel {
            operation: "records.watch",
            outcome: error.kind.as_str(),
        };
        self.place.metrics.gateway.requests.get_or_create(&label).inc();
    }
}
