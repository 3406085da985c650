//! A watch of what is written of patients that survives broken connections: it goes on behind the last version that it
//! has given out.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use spine_proto::pds::v1 as wire;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Status, Streaming};

use crate::address::Address;
use crate::call::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::pds::{Patient, client, slot_of_patient};
use crate::pool::Node;
use crate::records::Position;
use crate::retry::{Backoff, Verdict, judge};

/// Where a watch of patients begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatientsFrom {
    /// With the first version that is written after it was opened.
    Now,
    /// With the current version of every patient that there is, while versions that are written meanwhile come as well:
    /// after a version of a patient an older one may come. Whoever keeps what is not older than what it has, has all.
    Start,
    /// Behind an event that had this cursor.
    Cursor(String),
}

/// In place of a cursor.
const START: &str = "start";

/// One version of one patient that was written.
#[derive(Clone, Debug)]
pub struct PatientEvent {
    /// The version.
    pub patient: Patient,
    /// Where it was committed. The events of a shard come in the order of its indexes.
    pub position: Position,
    /// A watch from here continues without a gap, at any node.
    pub cursor: String,
}

/// A running watch of patients. Made by [`crate::Pds::watch`].
pub struct PatientWatch {
    core: Arc<Core>,
    shards: Vec<u32>,
    /// Empty before the first answer, where it begins now.
    cursor: String,
    stream: Option<(Arc<Node>, Streaming<wire::WatchResponse>)>,
    tried: BTreeSet<Address>,
    backoff: Backoff,
}

impl fmt::Debug for PatientWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatientWatch")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl PatientWatch {
    pub(crate) fn new(core: Arc<Core>, from: PatientsFrom) -> Self {
        Self {
            core,
            shards: Vec::new(),
            cursor: match from {
                PatientsFrom::Now => String::new(),
                PatientsFrom::Start => START.to_owned(),
                PatientsFrom::Cursor(cursor) => cursor,
            },
            stream: None,
            tried: BTreeSet::new(),
            backoff: Backoff::default(),
        }
    }

    /// Watches only this shard; may be called several times.
    #[must_use]
    pub fn shard(mut self, shard: u32) -> Self {
        self.shards.push(shard);
        self
    }

    /// Opens the watch and gives the cursor that it begins with; what is written from now on is behind it.
    ///
    /// # Errors
    /// As [`PatientWatch::next`].
    pub async fn begin(&mut self) -> Result<&str> {
        while self.cursor.is_empty() || self.cursor == START {
            self.step().await?;
        }
        Ok(&self.cursor)
    }

    /// Behind everything that was given out; empty before the first answer of one that begins now.
    #[must_use]
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The next version; waits until there is one. Safe to cancel: nothing is skipped.
    ///
    /// # Errors
    /// `COMPACTED` where the cluster no longer keeps what follows the cursor: begin anew with [`PatientsFrom::Start`].
    /// `Unavailable` where no node took the watch for the client's deadline; calling again goes on.
    pub async fn next(&mut self) -> Result<PatientEvent> {
        loop {
            if let Some(event) = self.step().await? {
                return Ok(event);
            }
        }
    }

    /// The next answer; nothing where it is a sign of life.
    async fn step(&mut self) -> Result<Option<PatientEvent>> {
        let mut give_up = None;
        loop {
            let Some((node, stream)) = &mut self.stream else {
                let until = *give_up.get_or_insert_with(|| Instant::now() + self.core.options.deadline);
                self.open(until).await?;
                continue;
            };
            let node = Arc::clone(node);
            // A node tells something every second, and one that stands still tells nothing.
            let told = timeout(self.core.options.deadline, stream.message()).await;
            match told {
                Ok(Ok(Some(message))) => {
                    self.backoff = Backoff::default();
                    self.tried.clear();
                    self.cursor.clone_from(&message.cursor);
                    return message.patient.is_some().then(|| event(message)).transpose();
                }
                Ok(Ok(None)) => self.stream = None,
                Ok(Err(status)) => self.broken(&node, &status).await?,
                Err(_) => {
                    node.suspect();
                    self.stream = None;
                }
            }
        }
    }

    /// Opens a stream at some node, or fails for good.
    async fn open(&mut self, until: Instant) -> Result<()> {
        let out_of_time = || {
            Error::local(
                ErrorKind::Unavailable,
                "NO_NODE_REACHED",
                "no node took the watch within the deadline",
            )
        };
        let core = Arc::clone(&self.core);
        // Any node serves every shard.
        let candidates = core.candidates(slot_of_patient("watch")?, None, &self.tried);
        let dial = core.pool.connect(&candidates, core.options.connect_hedge);
        let connected = timeout_at(until, dial).await.map_err(|_| out_of_time())?;
        self.tried.extend(connected.refused);
        let Ok((node, link)) = connected.outcome else {
            return self.pause(until).await.ok_or_else(out_of_time);
        };
        self.tried.insert(node.address().clone());
        let request = wire::WatchRequest {
            cursor: self.cursor.clone(),
            shards: self.shards.clone(),
        };
        // The headers come at once even where no change does; the stream itself has no deadline.
        let mut request = core.request(request, core.options.deadline);
        request.metadata_mut().remove("grpc-timeout");
        let mut client = client(link);
        match timeout(core.options.try_deadline, client.watch(request)).await {
            Ok(Ok(answer)) => {
                self.stream = Some((node, answer.into_inner()));
                Ok(())
            }
            Ok(Err(status)) => {
                self.broken(&node, &status).await?;
                if Instant::now() < until {
                    Ok(())
                } else {
                    Err(out_of_time())
                }
            }
            Err(_) => {
                node.suspect();
                if Instant::now() < until {
                    Ok(())
                } else {
                    Err(out_of_time())
                }
            }
        }
    }

    async fn broken(&mut self, node: &Arc<Node>, status: &Status) -> Result<()> {
        self.stream = None;
        match judge(status) {
            Verdict::Final(error) => return Err(error),
            Verdict::NotSent | Verdict::Unanswered(_) => node.suspect(),
            Verdict::Elsewhere { .. } => {}
            Verdict::Wait { after, .. } => sleep(after).await,
        }
        Ok(())
    }

    /// Ends a round of nodes. `None` when `until` has come.
    async fn pause(&mut self, until: Instant) -> Option<()> {
        self.tried.clear();
        sleep(self.backoff.next(&self.core.entropy)).await;
        (Instant::now() < until).then_some(())
    }
}

fn event(message: wire::WatchResponse) -> Result<PatientEvent> {
    Ok(PatientEvent {
        patient: Patient::of(message.patient)?,
        position: Position::of(message.position.as_ref()),
        cursor: message.cursor,
    })
}
