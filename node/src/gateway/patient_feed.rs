//! One reader of the feed of patients: takes from its shards, in turn, when the reader can take more.
//!
//! The feeds themselves are the queue: one page of one shard waits for each reader, and one that is slower than the
//! changes is overtaken by the floor of all replicas and told so. A list of what there was comes in turns with the
//! changes, so that a long one is not overtaken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use spine_proto::common::v1::Position;
use spine_proto::pds::v1::{Patient, WatchResponse};
use spine_services::{ErrorKind, Principal, SpineError, reason};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::watch::{OUT_OF_TOUCH_MAX, PROGRESS_INTERVAL, Place};
use crate::dispatch::call::Dispatcher;
use crate::dispatch::cursor::{At, Cursor, Listing};
use crate::dispatch::failure::draining;
use crate::dispatch::feed::{NoPageYet, Page};
use crate::dispatch::listing::ListPage;

/// Where another node's replica is read, it is asked so often whether there is more.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What a reader is shown.
pub enum Shown {
    /// A version of a patient.
    Version {
        /// Where it was committed.
        shard: u32,
        /// Its log entry.
        index: u64,
        /// The version.
        patient: Patient,
    },
    /// Nothing new for some time; the cursor may be further on.
    Progress,
}

/// See the module.
pub struct PatientFeed {
    dispatcher: Arc<Dispatcher>,
    principal: Arc<Principal>,
    /// Ends every watch of the node.
    draining: CancellationToken,
    _place: Place,
    /// Behind everything that was shown.
    cursor: Cursor,
    readers: Vec<Reader>,
    /// Read and not yet shown.
    page: VecDeque<Waiting>,
    /// The reader to be asked next.
    turn: usize,
    /// It is the list's turn, where there is one.
    lists: bool,
    /// No replica that answers can show more of the list.
    list_in_trouble_since: Option<Instant>,
    look_at: Instant,
}

/// A version that is shown next, and the place behind it.
struct Waiting {
    shard: u32,
    index: u64,
    patient: Patient,
    behind: Behind,
}

enum Behind {
    Changes(At),
    List(Option<Listing>),
}

/// One shard.
struct Reader {
    shard: u32,
    /// Where its next page begins.
    next: At,
    /// No replica that answers can show what is next.
    in_trouble_since: Option<Instant>,
    /// Another node's replica, which was asked in vain, is asked again no sooner.
    not_before: Instant,
}

impl PatientFeed {
    /// Begins behind `cursor`.
    #[must_use]
    pub fn new(
        dispatcher: Arc<Dispatcher>,
        principal: Arc<Principal>,
        cursor: Cursor,
        draining: CancellationToken,
        place: Place,
    ) -> Self {
        let readers = cursor.shards.iter().map(|(shard, at)| Reader {
            shard: *shard,
            next: *at,
            in_trouble_since: None,
            not_before: Instant::now(),
        });
        Self {
            readers: readers.collect(),
            dispatcher,
            principal,
            draining,
            _place: place,
            cursor,
            page: VecDeque::new(),
            turn: 0,
            lists: true,
            list_in_trouble_since: None,
            look_at: Instant::now() + PROGRESS_INTERVAL,
        }
    }

    /// Where to go on behind what was shown.
    #[must_use]
    pub fn cursor(&self) -> String {
        self.cursor.text()
    }

    /// Returns once every shard can be shown from its place on.
    ///
    /// # Errors
    /// `COMPACTED`; `NO_LEADER` where nobody answers for too long.
    pub async fn until_it_can_begin(self, deadline: Instant) -> Result<Self, SpineError> {
        let until = deadline.min(Instant::now() + OUT_OF_TOUCH_MAX);
        for reader in &self.readers {
            while self
                .dispatcher
                .patients_shown_here(reader.shard, reader.next)
                .is_none()
            {
                let page = self
                    .dispatcher
                    .patients_from(reader.shard, reader.next, &self.principal)
                    .await;
                match page {
                    Ok(_) => break,
                    Err(NoPageYet { error, for_good }) if for_good || Instant::now() >= until => {
                        return Err(error);
                    }
                    Err(_) => sleep(POLL_INTERVAL).await,
                }
            }
        }
        Ok(self)
    }

    /// What comes next; waits for it.
    ///
    /// # Errors
    /// Why nothing more is shown here: `DRAINING`, `WATCH_OUT_OF_TOUCH`, `COMPACTED`.
    pub async fn next(&mut self) -> Result<Shown, SpineError> {
        loop {
            if self.draining.is_cancelled() {
                return Err(draining());
            }
            if let Some(shown) = self.ready() {
                return Ok(shown);
            }
            if Instant::now() >= self.look_at {
                self.look_at = Instant::now() + PROGRESS_INTERVAL;
                return Ok(Shown::Progress);
            }
            if !self.take_page().await? {
                self.wait().await;
            }
        }
    }

    /// What can be shown without waiting.
    pub fn ready(&mut self) -> Option<Shown> {
        let version = self.page.pop_front()?;
        match version.behind {
            Behind::Changes(at) => {
                self.cursor.shards.insert(version.shard, at);
            }
            Behind::List(listing) => self.cursor.listing = listing,
        }
        Some(Shown::Version {
            shard: version.shard,
            index: version.index,
            patient: version.patient,
        })
    }

    /// Reads on, in turns in the list and in what changes; false where neither has more.
    async fn take_page(&mut self) -> Result<bool, SpineError> {
        self.lists = !self.lists;
        if self.lists && self.take_listed().await? || self.take_changes().await? {
            return Ok(true);
        }
        Ok(!self.lists && self.take_listed().await?)
    }

    /// Reads on in the shards in turn; false where none has more.
    async fn take_changes(&mut self) -> Result<bool, SpineError> {
        for _ in 0..self.readers.len() {
            let at = self.turn;
            self.turn = (at + 1) % self.readers.len();
            let reader = &mut self.readers[at];
            let here = self.dispatcher.patients_shown_here(reader.shard, reader.next);
            if here.is_none() && Instant::now() < reader.not_before {
                continue;
            }
            let page = self
                .dispatcher
                .patients_from(reader.shard, reader.next, &self.principal);
            match page.await {
                Ok(page) => {
                    reader.in_trouble_since = None;
                    reader.next = page.next;
                    let shard = reader.shard;
                    if page.versions.is_empty() {
                        reader.not_before = Instant::now() + POLL_INTERVAL;
                        self.cursor.shards.insert(shard, page.next);
                    } else {
                        self.page = changes(shard, page);
                        return Ok(true);
                    }
                }
                Err(no_page) => {
                    reader.not_before = Instant::now() + POLL_INTERVAL;
                    wait_for(no_page, &mut reader.in_trouble_since)?;
                }
            }
        }
        Ok(false)
    }

    /// Reads on in the list; false where there is no more, or nobody shows it now.
    async fn take_listed(&mut self) -> Result<bool, SpineError> {
        while let Some(Listing { shard, after }) = self.cursor.listing {
            let place = self.cursor.shards.get(&shard).copied().unwrap_or_default();
            let page = self
                .dispatcher
                .patients_listed(shard, place.index, after, &self.principal);
            match page.await {
                Ok(page) => {
                    self.list_in_trouble_since = None;
                    let behind = match page.after {
                        after @ Some(_) => Some(Listing { shard, after }),
                        None => self.cursor.listing_behind(shard),
                    };
                    if page.patients.is_empty() {
                        self.cursor.listing = behind;
                        yield_now().await;
                    } else {
                        self.page = listed(shard, page, behind);
                        return Ok(true);
                    }
                }
                Err(no_page) => {
                    wait_for(no_page, &mut self.list_in_trouble_since)?;
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    async fn wait(&self) {
        // More of a list is there and could not be had.
        let mut polls = self.cursor.listing.is_some();
        let mut fed = Vec::with_capacity(self.readers.len() + 1);
        for reader in &self.readers {
            match self.dispatcher.patients_shown_here(reader.shard, reader.next) {
                Some(shard) => fed.push(Box::pin(async move {
                    shard.group.store().fed(reader.next.index).await;
                })),
                None => polls = true,
            }
        }
        let news = async {
            if fed.is_empty() {
                std::future::pending::<()>().await;
            } else {
                select_all(fed).await;
            }
        };
        let poll = async {
            if polls {
                sleep(POLL_INTERVAL).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = self.draining.cancelled() => {}
            () = news => {}
            () = poll => {}
            () = sleep_until(self.look_at) => {}
        }
    }

    /// What comes next, as gRPC tells it.
    ///
    /// # Errors
    /// As [`PatientFeed::next`].
    pub async fn next_message(&mut self) -> Result<WatchResponse, SpineError> {
        let shown = self.next().await?;
        let mut message = WatchResponse {
            cursor: self.cursor(),
            ..WatchResponse::default()
        };
        if let Shown::Version {
            shard,
            index,
            patient,
        } = shown
        {
            message.patient = Some(patient);
            message.position = Some(Position { shard, index });
        }
        Ok(message)
    }
}

/// A page of changes; behind its last version it may lead further on.
fn changes(shard: u32, page: Page) -> VecDeque<Waiting> {
    let versions = page.versions.into_iter().map(|version| Waiting {
        shard,
        index: version.index,
        patient: version.patient,
        behind: Behind::Changes(version.next),
    });
    let mut waiting: VecDeque<Waiting> = versions.collect();
    if let Some(last) = waiting.back_mut() {
        last.behind = Behind::Changes(page.next);
    }
    waiting
}

/// A page of a list; `behind` is where the list goes on.
fn listed(shard: u32, page: ListPage, behind: Option<Listing>) -> VecDeque<Waiting> {
    let patients = page.patients.into_iter().map(|listed| Waiting {
        shard,
        index: listed.index,
        patient: listed.patient,
        behind: Behind::List(Some(Listing {
            shard,
            after: Some(listed.position),
        })),
    });
    let mut waiting: VecDeque<Waiting> = patients.collect();
    if let Some(last) = waiting.back_mut() {
        last.behind = Behind::List(behind);
    }
    waiting
}

/// Whether to ask again.
fn wait_for(no_page: NoPageYet, in_trouble_since: &mut Option<Instant>) -> Result<(), SpineError> {
    let since = *in_trouble_since.get_or_insert_with(Instant::now);
    if no_page.for_good {
        return Err(no_page.error);
    }
    if since.elapsed() >= OUT_OF_TOUCH_MAX {
        return Err(given_up(no_page.error));
    }
    Ok(())
}

/// Other nodes may be in touch.
fn given_up(error: SpineError) -> SpineError {
    if error.reason == reason::COMPACTED {
        return error;
    }
    let mut given_up = SpineError::new(
        ErrorKind::Unavailable,
        reason::WATCH_OUT_OF_TOUCH,
        "no replica that this node hears shows the changes; watch again at another node",
    );
    given_up.shard = error.shard;
    given_up
}
