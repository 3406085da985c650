//! Pages of the feed of patients, from this node's own replica or another node's: whoever has what is asked for.
//!
//! Any replica may serve: it shows what it has applied, which is committed, if perhaps late. All replicas of a shard have
//! the same changes in the same order, so a reader may go on at another one at any place.
//!
//! What of an older version is shown is decided by the patient's current one, on the replica that shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message as _;
use spine_proto::internal::shard::v1 as pb;
use spine_proto::pds::v1::{Patient, WatchRequest, WatchResponse};
use spine_services::pds::watch::{PREFIX, Written, check, versions};
use spine_services::{ErrorKind, Failure, Principal, SpineError, authorise, catalogue, reason};
use spine_statemachine::store::OrderedRead as _;
use spine_storage::replica::ReplicaError;
use tokio::time::Instant;

use super::call::{Dispatcher, checked};
use super::cursor::{At, CURSOR_SHARDS_MAX, Cursor, Listing, START, invalid_cursor};
use super::failure::{no_leader, not_initialised};
use super::forward;
use super::watch::compacted;
use crate::shard::host::Shard;
use crate::shard::map::META_SHARD;

/// What another node is asked under for a page.
pub(super) const PAGE: &str = "pds.watch.page";
/// The operation whose permission its reader needs.
pub(super) const WATCH: &str = "pds.watch";
/// Bytes of resources of one page; a larger version stands alone in its page.
pub(super) const PAGE_BYTES_MAX: usize = 128 * 1_024;
/// Another node answers within this, or the next one is asked.
const PAGE_DEADLINE: Duration = Duration::from_millis(500);

/// One version of a patient, and where it stands.
pub struct Version {
    /// Where to go on behind it.
    pub next: At,
    /// Log index at which it was committed.
    pub index: u64,
    /// The version.
    pub patient: Patient,
}

/// Some of a shard's feed.
pub struct Page {
    /// In their order.
    pub versions: Vec<Version>,
    /// Where to read on.
    pub next: At,
}

/// Why a reader is given no page.
pub struct NoPageYet {
    /// In words.
    pub error: SpineError,
    /// Every replica said so: asking again changes nothing.
    pub for_good: bool,
}

/// Why a replica gives no page.
enum NoPage {
    /// It keeps changes only from this index on.
    Compacted(u64),
    /// It is not there, stopped, or does not hear its leader.
    NotHere,
    Damaged(SpineError),
}

impl Dispatcher {
    /// Where a reader begins: at its cursor, or behind everything committed before the call, if it likes with a list of
    /// what there was.
    ///
    /// # Errors
    /// `INVALID_CURSOR`, and the errors of every call.
    pub async fn open_patients(
        &self,
        request: &WatchRequest,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<Cursor, SpineError> {
        authorise(principal, catalogue::find(WATCH)?)?;
        check(principal)?;
        let map = self.host.map().ok_or_else(not_initialised)?;
        let is_there = |shard: &u32| *shard != META_SHARD && map.shards().iter().any(|s| s.shard == *shard);
        if !request.shards.iter().all(is_there) {
            return Err(invalid_shard("there is no such shard"));
        }
        let asked_for = |shard: &u32| request.shards.is_empty() || request.shards.contains(shard);
        let starts = request.cursor == START;
        let mut cursor = if request.cursor.is_empty() || starts {
            let body = Bytes::from(request.encode_to_vec());
            let answers = self.call_every_shard(WATCH, body, principal, deadline).await?;
            behind(map.incarnation(), answers)?
        } else {
            Cursor::parse(&request.cursor)?
        };
        if cursor.incarnation != map.incarnation() || !cursor.shards.keys().all(is_there) {
            return Err(invalid_cursor());
        }
        cursor.shards.retain(|shard, _| asked_for(shard));
        if starts {
            cursor.listing = Some(Listing {
                shard: 0,
                after: None,
            });
        }
        cursor.list_only_what_is_followed();
        let complete = request
            .shards
            .iter()
            .all(|shard| cursor.shards.contains_key(shard));
        if !complete {
            return Err(invalid_shard("the cursor is not of this shard"));
        }
        if cursor.shards.len() > CURSOR_SHARDS_MAX {
            return Err(invalid_shard("a reader follows at most 200 shards; name them"));
        }
        Ok(cursor)
    }

    /// The next versions of a shard. Empty where nothing more was applied.
    ///
    /// # Errors
    /// `COMPACTED` where no replica that answers reaches back so far, `NO_LEADER` where none answers.
    pub async fn patients_from(
        &self,
        shard: u32,
        from: At,
        principal: &Principal,
    ) -> Result<Page, NoPageYet> {
        let mut floors = Vec::new();
        let hosts = self.host.map().map(|map| map.nodes_of(shard)).unwrap_or_default();
        match self.own_page(shard, from).await {
            Ok(page) => return Ok(page),
            Err(NoPage::Compacted(floor)) => floors.push(floor),
            Err(NoPage::NotHere) => {}
            Err(NoPage::Damaged(error)) => {
                return Err(NoPageYet {
                    error,
                    for_good: true,
                });
            }
        }
        let others: Vec<u64> = hosts
            .iter()
            .copied()
            .filter(|node| *node != self.node_id)
            .collect();
        let alive = self.forwarder.alive(&others);
        let asked = alive
            .into_iter()
            .map(|node| self.page_of(node, shard, from, principal));
        for answer in join_all(asked).await {
            match answer {
                Ok(page) => return Ok(page),
                Err(NoPage::Compacted(floor)) => floors.push(floor),
                Err(NoPage::NotHere | NoPage::Damaged(_)) => {}
            }
        }
        let error = floors
            .iter()
            .min()
            .map_or_else(|| no_leader(shard), |floor| compacted(shard, *floor));
        // One that does not answer now may reach back further.
        let for_good = !floors.is_empty() && floors.len() >= hosts.len();
        Err(NoPageYet { error, for_good })
    }

    /// This node's replica, where it can show a reader what is at this place.
    #[must_use]
    pub fn patients_shown_here(&self, shard: u32, from: At) -> Option<Arc<Shard>> {
        let hosted = self.host.shard(shard)?;
        (self.in_touch(&hosted) && from.index >= hosted.group.store().feed_floor()).then_some(hosted)
    }

    async fn own_page(&self, shard: u32, from: At) -> Result<Page, NoPage> {
        let hosted = self.host.shard(shard).ok_or(NoPage::NotHere)?;
        if !self.in_touch(&hosted) {
            return Err(NoPage::NotHere);
        }
        hosted.group.store().engine_open().await;
        self.page(&hosted, from)
    }

    fn page(&self, hosted: &Shard, from: At) -> Result<Page, NoPage> {
        let fed = match hosted.group.store().feed(from.index, PREFIX) {
            Ok(fed) => fed,
            Err(ReplicaError::Compacted { floor }) => return Err(NoPage::Compacted(floor)),
            Err(_) => return Err(NoPage::NotHere),
        };
        let mut page = Page {
            versions: Vec::new(),
            next: At {
                index: fed.next,
                skip: 0,
            },
        };
        if fed.next == from.index {
            page.next = from;
        }
        let mut bytes = 0;
        for entry in &fed.entries {
            let first = if entry.index == from.index { from.skip } else { 0 };
            let changes = entry.changes.iter();
            let changes = changes.map(|change| (&change.key, change.record.as_ref()));
            let skipped = usize::try_from(first).unwrap_or(usize::MAX);
            for (written, skip) in versions(changes, skipped).zip(first..) {
                let patient = self.shown_now(hosted, &written)?;
                if bytes > 0 && bytes + patient.fhir_json.len() > PAGE_BYTES_MAX {
                    page.next = At {
                        index: entry.index,
                        skip,
                    };
                    return Ok(page);
                }
                bytes += patient.fhir_json.len();
                page.versions.push(Version {
                    next: At {
                        index: entry.index,
                        skip: skip + 1,
                    },
                    index: entry.index,
                    patient,
                });
            }
        }
        Ok(page)
    }

    /// A version as the patient's current one lets it be shown.
    fn shown_now(&self, hosted: &Shard, written: &Written<'_>) -> Result<Patient, NoPage> {
        // Apply waits for a read, so nothing is decoded in it.
        let current = hosted.group.store().read(|view| view.get(written.key));
        let current = current.map_err(|_| NoPage::NotHere)?;
        let current = current.map_err(|error| NoPage::Damaged(Failure::from(error).into()))?;
        let shown = written.shown(&self.executor.subject_key, current.as_ref());
        shown.map_err(NoPage::Damaged)
    }

    /// A page of another node's replica.
    async fn page_of(&self, node: u64, shard: u32, from: At, principal: &Principal) -> Result<Page, NoPage> {
        let request = pb::FeedRequest {
            index: from.index,
            skip: from.skip,
        };
        let deadline = Instant::now() + PAGE_DEADLINE;
        let body = Bytes::from(request.encode_to_vec());
        let request = forward::request(PAGE, shard, body, Vec::new(), principal, deadline);
        let answer = self.forwarder.execute(node, request, deadline).await;
        match answer.and_then(forward::outcome) {
            Ok(bytes) => match pb::FeedPage::decode(bytes) {
                Ok(page) if page.floor > 0 => Err(NoPage::Compacted(page.floor)),
                Ok(page) => from_wire(page).ok_or(NoPage::NotHere),
                Err(_) => Err(NoPage::NotHere),
            },
            Err(_) => Err(NoPage::NotHere),
        }
    }

    /// Answers [`Dispatcher::page_of`] of another node.
    pub(super) async fn page_asked_for(&self, request: &pb::ExecuteRequest) -> Result<Bytes, SpineError> {
        let mut of_watch = request.clone();
        WATCH.clone_into(&mut of_watch.operation);
        let (_, principal) = checked(&of_watch)?;
        check(&principal)?;
        let asked = pb::FeedRequest::decode(request.request.clone()).map_err(|_| {
            SpineError::new(
                ErrorKind::Invalid,
                reason::MALFORMED_REQUEST,
                "the page asked for cannot be decoded",
            )
        })?;
        let from = At {
            index: asked.index,
            skip: asked.skip,
        };
        match self.own_page(request.shard, from).await {
            Ok(page) => Ok(to_wire(page).encode_to_vec().into()),
            Err(NoPage::Compacted(floor)) => Ok(compacted_page(floor).encode_to_vec().into()),
            Err(NoPage::NotHere) => Err(no_leader(request.shard)),
            Err(NoPage::Damaged(error)) => Err(error),
        }
    }
}

/// The places behind what each shard had committed.
fn behind(incarnation: u32, answers: Vec<Bytes>) -> Result<Cursor, SpineError> {
    let mut shards = BTreeMap::new();
    for answer in answers {
        let position = WatchResponse::decode(answer)
            .ok()
            .and_then(|answer| answer.position);
        let position = position.ok_or_else(|| {
            SpineError::new(ErrorKind::Internal, reason::INTERNAL, "response of another kind")
        })?;
        let at = At {
            index: position.index + 1,
            skip: 0,
        };
        shards.insert(position.shard, at);
    }
    Ok(Cursor {
        incarnation,
        shards,
        listing: None,
    })
}

fn invalid_shard(message: &str) -> SpineError {
    SpineError::new(ErrorKind::Invalid, reason::INVALID_CURSOR, message).with_field("shard")
}

/// A version as nodes tell it to each other.
pub(super) fn version_to_wire(index: u64, ordinal: u32, patient: Patient) -> pb::FeedVersion {
    pb::FeedVersion {
        index,
        ordinal,
        nhs_number: patient.nhs_number,
        version_id: patient.version_id,
        fhir_json: patient.fhir_json,
        superseded_by: patient.superseded_by,
        replaces: patient.replaces,
    }
}

/// The patient in it.
pub(super) fn patient_from_wire(version: pb::FeedVersion) -> Patient {
    Patient {
        nhs_number: version.nhs_number,
        version_id: version.version_id,
        fhir_json: version.fhir_json,
        superseded_by: version.superseded_by,
        replaces: version.replaces,
    }
}

fn to_wire(page: Page) -> pb::FeedPage {
    let versions = page.versions.into_iter();
    let versions =
        versions.map(|version| version_to_wire(version.index, version.next.skip - 1, version.patient));
    pb::FeedPage {
        versions: versions.collect(),
        index: page.next.index,
        skip: page.next.skip,
        floor: 0,
    }
}

fn compacted_page(floor: u64) -> pb::FeedPage {
    pb::FeedPage {
        floor,
        ..pb::FeedPage::default()
    }
}

fn from_wire(page: pb::FeedPage) -> Option<Page> {
    let versions = page.versions.into_iter().map(|version| {
        Some(Version {
            next: At {
                index: version.index,
                skip: version.ordinal.checked_add(1)?,
            },
            index: version.index,
            patient: patient_from_wire(version),
        })
    });
    Some(Page {
        versions: versions.collect::<Option<_>>()?,
        next: At {
            index: page.index,
            skip: page.skip,
        },
    })
}
