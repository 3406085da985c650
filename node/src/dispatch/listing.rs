//! Pages of the list of all patients of a shard, from this node's own replica or another node's.
//!
//! A reader takes its place in the feed first and the list afterwards, from any replica that is as far as that place:
//! so every patient is in the list, in the feed behind that place, or in both.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use spine_mutants::mutant;
use spine_proto::internal::shard::v1 as pb;
use spine_proto::pds::v1::Patient;
use spine_services::pds::listing::{Next, Position, next};
use spine_services::pds::watch::check;
use spine_services::{ErrorKind, Principal, SpineError, reason};
use tokio::time::Instant;

use super::call::{Dispatcher, checked};
use super::failure::no_leader;
use super::feed::{self, NoPageYet, PAGE_BYTES_MAX, WATCH};
use super::forward;
use crate::shard::host::Shard;

/// What another node is asked under for a page.
pub(super) const PAGE: &str = "pds.list.page";
/// Places looked at for one page.
const LOOKS_MAX: usize = 256;
/// Another node answers within this, or the next one is asked.
const PAGE_DEADLINE: Duration = Duration::from_millis(500);

/// A patient of a list.
pub struct Listed {
    /// Where to go on behind it.
    pub position: Position,
    /// Log index at which this version was committed.
    pub index: u64,
    /// The current version.
    pub patient: Patient,
}

/// Some of a shard's patients.
pub struct ListPage {
    /// In the order of their keys.
    pub patients: Vec<Listed>,
    /// Where to read on; `None` where there is no more.
    pub after: Option<Position>,
}

/// Why a replica gives no page.
enum NoPage {
    /// It is not there, stopped, does not hear its leader, or is not as far as the reader's place.
    NotHere,
    Damaged(SpineError),
}

impl Dispatcher {
    /// The next patients of a shard behind `after`, each as it is once everything before log index `index` was applied,
    /// or later.
    ///
    /// # Errors
    /// `NO_LEADER` where no replica that answers is so far.
    pub async fn patients_listed(
        &self,
        shard: u32,
        index: u64,
        after: Option<Position>,
        principal: &Principal,
    ) -> Result<ListPage, NoPageYet> {
        let mut error = no_leader(shard);
        match self.own_list_page(shard, index, after).await {
            Ok(page) => return Ok(page),
            Err(NoPage::NotHere) => {}
            Err(NoPage::Damaged(damage)) => error = damage,
        }
        let mut others = self.host.map().map(|map| map.nodes_of(shard)).unwrap_or_default();
        others.retain(|node| *node != self.node_id);
        // One after the other: a page is dear, and any one will do.
        for node in self.forwarder.alive(&others) {
            if let Ok(page) = self.list_page_of(node, shard, index, after, principal).await {
                return Ok(page);
            }
        }
        Err(NoPageYet {
            error,
            for_good: false,
        })
    }

    async fn own_list_page(
        &self,
        shard: u32,
        index: u64,
        after: Option<Position>,
    ) -> Result<ListPage, NoPage> {
        let hosted = self.host.shard(shard).ok_or(NoPage::NotHere)?;
        let applied = hosted.group.store().applied().map_or(0, |id| id.index);
        let is_behind = applied.saturating_add(1) < index && !mutant!("list-behind-reader");
        if !self.in_touch(&hosted) || is_behind {
            return Err(NoPage::NotHere);
        }
        hosted.group.store().engine_open().await;
        self.list_page(&hosted, after)
    }

    fn list_page(&self, hosted: &Arc<Shard>, after: Option<Position>) -> Result<ListPage, NoPage> {
        let subject_key = &self.executor.subject_key;
        let mut page = ListPage {
            patients: Vec::new(),
            after,
        };
        let mut bytes = 0;
        for _ in 0..LOOKS_MAX {
            // Apply waits for a read, so each is of one patient.
            let read = hosted.group.store();
            let found = read.read(|view| next(view, subject_key, page.after.as_ref()));
            match found.map_err(|_| NoPage::NotHere)?.map_err(NoPage::Damaged)? {
                Next::End => {
                    page.after = None;
                    break;
                }
                Next::Nobody(position) => page.after = Some(position),
                Next::Patient {
                    position,
                    index,
                    patient,
                } => {
                    bytes += patient.fhir_json.len();
                    page.after = Some(position);
                    page.patients.push(Listed {
                        position,
                        index,
                        patient,
                    });
                    if bytes >= PAGE_BYTES_MAX {
                        break;
                    }
                }
            }
        }
        Ok(page)
    }

    /// A page of another node's replica.
    async fn list_page_of(
        &self,
        node: u64,
        shard: u32,
        index: u64,
        after: Option<Position>,
        principal: &Principal,
    ) -> Result<ListPage, NoPage> {
        let request = pb::ListRequest {
            index,
            after: to_bytes(after),
        };
        let deadline = Instant::now() + PAGE_DEADLINE;
        let body = Bytes::from(request.encode_to_vec());
        let request = forward::request(PAGE, shard, body, Vec::new(), principal, deadline);
        let answer = self.forwarder.execute(node, request, deadline).await;
        let bytes = answer.and_then(forward::outcome).map_err(|_| NoPage::NotHere)?;
        let page = pb::ListPage::decode(bytes).map_err(|_| NoPage::NotHere)?;
        from_wire(page).ok_or(NoPage::NotHere)
    }

    /// Answers [`Dispatcher::list_page_of`] of another node.
    pub(super) async fn list_page_asked_for(
        &self,
        request: &pb::ExecuteRequest,
    ) -> Result<Bytes, SpineError> {
        let mut of_watch = request.clone();
        WATCH.clone_into(&mut of_watch.operation);
        let (_, principal) = checked(&of_watch)?;
        check(&principal)?;
        let asked = pb::ListRequest::decode(request.request.clone()).ok();
        let asked = asked.and_then(|asked| Some((asked.index, from_bytes(&asked.after)?)));
        let Some((index, after)) = asked else {
            let message = "the page asked for cannot be decoded";
            return Err(SpineError::new(
                ErrorKind::Invalid,
                reason::MALFORMED_REQUEST,
                message,
            ));
        };
        match self.own_list_page(request.shard, index, after).await {
            Ok(page) => Ok(to_wire(page).encode_to_vec().into()),
            Err(NoPage::NotHere) => Err(no_leader(request.shard)),
            Err(NoPage::Damaged(error)) => Err(error),
        }
    }
}

/// Empty where there is no place.
fn to_bytes(place: Option<Position>) -> Bytes {
    place.map_or_else(Bytes::new, |place| Bytes::copy_from_slice(&place))
}

/// `None` where the bytes are no place.
fn from_bytes(bytes: &[u8]) -> Option<Option<Position>> {
    if bytes.is_empty() {
        return Some(None);
    }
    Some(Some(bytes.try_into().ok()?))
}

fn to_wire(page: ListPage) -> pb::ListPage {
    let patients = page.patients.into_iter().map(|listed| pb::ListedPatient {
        version: Some(feed::version_to_wire(listed.index, 0, listed.patient)),
        position: to_bytes(Some(listed.position)),
    });
    pb::ListPage {
        patients: patients.collect(),
        after: to_bytes(page.after),
    }
}

fn from_wire(page: pb::ListPage) -> Option<ListPage> {
    let patients = page.patients.into_iter().map(|listed| {
        let version = listed.version?;
        Some(Listed {
            position: from_bytes(&listed.position)??,
            index: version.index,
            patient: feed::patient_from_wire(version),
        })
    });
    Some(ListPage {
        patients: patients.collect::<Option<_>>()?,
        after: from_bytes(&page.after)?,
    })
}
