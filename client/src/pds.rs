//! Personal demographics: one FHIR R4 Patient for each NHS Number.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use spine_proto::ids::Slot;
use spine_proto::pds::v1 as wire;
use spine_proto::pds::v1::pds_service_client::PdsServiceClient;

use crate::call::{Call, Core, Effect, Positioned};
use crate::dial::Link;
use crate::error::{Error, Result};
use crate::load::LoadBuilder;
use crate::options::ANSWER_BYTES_MAX;
use crate::patient_watch::{PatientWatch, PatientsFrom};
use crate::records::Position;
use crate::route::slot_of;

/// One version of a patient. Printing it shows neither who it is nor what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Patient {
    /// Ten digits.
    pub nhs_number: String,
    /// FHIR `meta.versionId`.
    pub version_id: u32,
    /// The FHIR R4 Patient resource as JSON.
    pub fhir_json: Bytes,
}

impl Patient {
    pub(crate) fn of(wire: Option<wire::Patient>) -> Result<Self> {
        let patient = wire.ok_or_else(|| Error::malformed_answer("a patient"))?;
        Ok(Self {
            nhs_number: patient.nhs_number,
            version_id: patient.version_id,
            fhir_json: patient.fhir_json,
        })
    }
}

impl fmt::Debug for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patient")
            .field("version_id", &self.version_id)
            .finish_non_exhaustive()
    }
}

/// What a registration or an update did.
#[derive(Clone, Debug)]
pub struct PatientChanged {
    /// The patient as it is stored now.
    pub patient: Patient,
    /// True where an earlier try with this request id had already taken effect.
    pub replayed: bool,
    /// Where it was committed.
    pub position: Position,
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFormat {
    /// `{"patches": [...]}` of the national service, with its rules.
    Pds,
    /// A JSON patch list, RFC 6902.
    Json,
    /// A JSON merge patch, RFC 7396.
    Merge,
}

impl PatchFormat {
    const fn to_wire(self) -> wire::PatchFormat {
        match self {
            Self::Pds => wire::PatchFormat::Pds,
            Self::Json => wire::PatchFormat::Json,
            Self::Merge => wire::PatchFormat::Merge,
        }
    }
}

/// Some versions of a patient, newest first.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// The versions.
    pub versions: Vec<Patient>,
    /// Give this as `before_version_id` for the next page; 0 on the last one.
    pub next_before_version_id: u32,
    /// Where this page is exact.
    pub position: Position,
}

/// Calls to the demographics service. Made by [`crate::SpineClient::pds`].
#[derive(Clone)]
pub struct Pds {
    pub(crate) core: Arc<Core>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) request_id: Option<String>,
}

impl Pds {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            deadline: None,
            request_id: None,
        }
    }

    /// The same calls with another deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The next change carries this request id, 1 to 64 bytes: the same id and body take effect
    /// once, even when sent again by another process.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Registers a patient: a FHIR R4 Patient whose `id` is its NHS Number.
    ///
    /// # Errors
    /// `AlreadyExists`; `Invalid` where the resource is not acceptable.
    pub async fn register(&self, fhir_json: impl Into<Bytes>) -> Result<PatientChanged> {
        let fhir_json = fhir_json.into();
        // The number inside only chooses whom to ask first; the node decides whether it is there.
        let slot = slot_of(&id_of(&fhir_json).unwrap_or_else(|| "unknown".to_owned()))?;
        let request = wire::RegisterRequest {
            fhir_json,
            ..wire::RegisterRequest::default()
        };
        let call = self.call(slot, Effect::Write);
        let id = self.request_id.clone();
        let answer: wire::RegisterResponse = self
            .core
            .change(call, request, id, |link, r| {
                link.call("pds.register", r, |link, r| async move {
                    client(link).register(r).await
                })
            })
            .await?;
        let position = Position::of(answer.position.as_ref());
        Ok(PatientChanged {
            patient: Patient::of(answer.patient)?,
            replayed: answer.replayed,
            position,
        })
    }

    /// Reads the current version, linearizably.
    ///
    /// # Errors
    /// `NotFound`; `INVALID_NHS_NUMBER`.
    pub async fn retrieve(&self, nhs_number: &str) -> Result<Patient> {
        let call = self.call(slot_of_patient(nhs_number)?, Effect::Read);
        let request = wire::RetrieveRequest {
            nhs_number: nhs_number.to_owned(),
        };
        let answer: wire::RetrieveResponse = self
            .core
            .run(call, &request, |link, r| {
                link.call("pds.retrieve", r, |link, r| async move {
                    client(link).retrieve(r).await
                })
            })
            .await?;
        Patient::of(answer.patient)
    }

    /// Replaces the patient, only if `version_id` is still the current one.
    ///
    /// # Errors
    /// `Conflict` (`VERSION_MISMATCH`) where it is not; `NotFound`.
    pub async fn update(
        &self,
        nhs_number: &str,
        version_id: u32,
        fhir_json: impl Into<Bytes>,
    ) -> Result<PatientChanged> {
        let call = self.call(slot_of_patient(nhs_number)?, Effect::Write);
        let request = wire::UpdateRequest {
            nhs_number: nhs_number.to_owned(),
            version_id,
            fhir_json: fhir_json.into(),
            ..wire::UpdateRequest::default()
        };
        let id = self.request_id.clone();
        let answer: wire::UpdateResponse = self
            .core
            .change(call, request, id, |link, r| {
                link.call(
                    "pds.update",
                    r,
                    |link, r| async move { client(link).update(r).await },
                )
            })
            .await?;
        let position = Position::of(answer.position.as_ref());
        Ok(PatientChanged {
            patient: Patient::of(answer.patient)?,
            replayed: answer.replayed,
            position,
        })
    }

    /// Changes parts of the patient, only if `version_id` is still the current one. 0 stands for whatever is current,
    /// in every format but that of the national service.
    ///
    /// # Errors
    /// `Conflict` (`VERSION_MISMATCH`) where it is not; `NotFound`; `Invalid` (`INVALID_UPDATE`) and `Forbidden`
    /// (`FORBIDDEN_UPDATE`) where the patch is not acceptable.
    pub async fn patch(
        &self,
        nhs_number: &str,
        version_id: u32,
        format: PatchFormat,
        patch: impl Into<Bytes>,
    ) -> Result<PatientChanged> {
        let call = self.call(slot_of_patient(nhs_number)?, Effect::Write);
        let request = wire::PatchRequest {
            nhs_number: nhs_number.to_owned(),
            version_id,
            patch: patch.into(),
            format: format.to_wire().into(),
            ..wire::PatchRequest::default()
        };
        let id = self.request_id.clone();
        let answer: wire::PatchResponse = self
            .core
            .change(call, request, id, |link, r| {
                link.call(
                    "pds.patch",
                    r,
                    |link, r| async move { client(link).patch(r).await },
                )
            })
            .await?;
        let position = Position::of(answer.position.as_ref());
        Ok(PatientChanged {
            patient: Patient::of(answer.patient)?,
            replayed: answer.replayed,
            position,
        })
    }

    /// One page of versions below `before_version_id` (0: from the newest), newest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn history(
        &self,
        nhs_number: &str,
        page_size: u32,
        before_version_id: u32,
    ) -> Result<HistoryPage> {
        let call = self.call(slot_of_patient(nhs_number)?, Effect::Read);
        let request = wire::HistoryRequest {
            nhs_number: nhs_number.to_owned(),
            page_size,
            before_version_id,
        };
        let answer: wire::HistoryResponse = self
            .core
            .run(call, &request, |link, r| async move {
                client(link).history(r.into_request()).await
            })
            .await?;
        Ok(HistoryPage {
            versions: answer
                .versions
                .into_iter()
                .map(|v| Patient::of(Some(v)))
                .collect::<Result<_>>()?,
            next_before_version_id: answer.next_before_version_id,
            position: Position::of(answer.position.as_ref()),
        })
    }

    /// All pages of the history, newest first.
    pub fn history_pages(
        &self,
        nhs_number: &str,
        page_size: u32,
    ) -> impl Stream<Item = Result<HistoryPage>> + Send + use<> {
        let start = (self.clone(), nhs_number.to_owned(), Some(0));
        try_unfold(start, move |(pds, number, before)| async move {
            let Some(before) = before else { return Ok(None) };
            let page = pds.history(&number, page_size, before).await?;
            let rest = (page.next_before_version_id > 0).then_some(page.next_before_version_id);
            Ok(Some((page, (pds, number, rest))))
        })
    }

    /// Registers many patients, a line each, over several streams; see [`LoadBuilder`].
    /// A second run of the same lines registers nothing twice.
    pub fn load(&self) -> LoadBuilder {
        LoadBuilder::new(Arc::clone(&self.core))
    }

    /// Watches what is written of all patients, or of those in some shards. Opens nothing yet.
    #[must_use]
    pub fn watch(&self, from: PatientsFrom) -> PatientWatch {
        PatientWatch::new(Arc::clone(&self.core), from)
    }

    pub(crate) fn call(&self, slot: Slot, effect: Effect) -> Call {
        Call {
            slot,
            effect,
            deadline: self.deadline,
            steps: 1,
        }
    }
}

impl fmt::Debug for Pds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pds")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

pub(crate) fn client(link: Link) -> PdsServiceClient<Link> {
    let origin = link.origin();
    PdsServiceClient::with_origin(link, origin).max_decoding_message_size(ANSWER_BYTES_MAX)
}

/// The `id` member of a resource, where there is one.
fn id_of(fhir_json: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Resource {
        id: String,
    }
    let resource: Resource = serde_json::from_slice(fhir_json).ok()?;
    slot_of(&resource.id).is_ok().then_some(resource.id)
}

/// A number too odd to be a routing key goes to any node, which says what is wrong with it.
pub(crate) fn slot_of_patient(nhs_number: &str) -> Result<Slot> {
    slot_of(nhs_number).or_else(|_| slot_of("unknown"))
}

macro_rules! positioned {
    ($($message:ty),*) => {$(
        impl Positioned for $message {
            fn shard(&self) -> u32 {
                self.position.as_ref().map_or(0, |position| position.shard)
            }
        }
    )*};
}
positioned!(
    wire::RegisterResponse,
    wire::RetrieveResponse,
    wire::UpdateResponse,
    wire::PatchResponse,
    wire::HistoryResponse,
    wire::AllocateResponse,
    wire::MergeResponse,
    wire::InvalidateResponse,
    wire::SetSensitivityResponse,
    wire::NotifyDeathResponse,
    wire::ListRelatedResponse,
    wire::PutRelatedResponse
);
