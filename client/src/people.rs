//! Demographics: new numbers, what a person is, and who is there for them.

use std::fmt;

use bytes::Bytes;
use spine_proto::ids::{ROUTING_KEY_BYTES_MAX, Slot};
use spine_proto::pds::v1 as wire;

use crate::call::{Call, Effect};
use crate::change::checked;
use crate::error::{Error, Result};
use crate::pds::{Patient, PatientChanged, Pds, client, slot_of_patient};
use crate::records::Position;

/// What became of a request for a new NHS Number.
#[derive(Clone, Debug)]
pub enum Allocated {
    /// The patient has a number now, or had it by an earlier try with the same request id.
    New(PatientChanged),
    /// One patient meets the criteria; nothing was created.
    Existing(Patient),
    /// Somebody alike has these numbers; nothing was created.
    Alike(Vec<AlikeNumber>),
    /// Several patients meet the criteria; nothing was created.
    Several,
}

/// The number of somebody who may be the new patient. Printing it shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct AlikeNumber(String);

impl AlikeNumber {
    /// Ten digits, in clear.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AlikeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AlikeNumber(•••)")
    }
}

/// What a new patient must be.
#[derive(Clone, Debug, Default)]
pub struct AllocateOptions {
    /// What the national service asks of a new patient must be there.
    pub national: bool,
    /// Parameters of a search, or `identifier`: where one patient meets them all, nothing is created.
    pub if_none: Vec<(String, String)>,
}

/// How a death is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeathStatus {
    /// Somebody has told it.
    Informal,
    /// The registrar has told it.
    Formal,
    /// It was wrong.
    Removed,
}

/// Somebody who is there for a patient. Printing it shows neither who it is nor what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct RelatedPerson {
    /// Of the patient.
    pub nhs_number: String,
    /// 1, 2, 3 ... for each patient.
    pub number: u32,
    /// Version of this person.
    pub version_id: u32,
    /// The FHIR R4 RelatedPerson resource as JSON; empty where the person was removed.
    pub fhir_json: Bytes,
}

impl RelatedPerson {
    fn of(wire: wire::RelatedPerson) -> Self {
        Self {
            nhs_number: wire.nhs_number,
            number: wire.number,
            version_id: wire.version_id,
            fhir_json: wire.fhir_json,
        }
    }
}

impl fmt::Debug for RelatedPerson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelatedPerson")
            .field("number", &self.number)
            .field("version_id", &self.version_id)
            .finish_non_exhaustive()
    }
}

/// Of a call that takes several steps one after another, each as long as a call, and may wait for others before.
const STEPS: u32 = 5;

fn in_steps(call: Call) -> Call {
    Call { steps: STEPS, ..call }
}

fn changed(
    patient: Option<wire::Patient>,
    replayed: bool,
    position: Option<&spine_proto::common::v1::Position>,
) -> Result<PatientChanged> {
    Ok(PatientChanged {
        patient: Patient::of(patient)?,
        replayed,
        position: Position::of(position),
    })
}

/// Where a call goes that any node can take: not always to the same one.
pub(crate) fn slot_of_any(request_id: &str) -> Result<Slot> {
    let some: String = request_id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(ROUTING_KEY_BYTES_MAX)
        .collect();
    slot_of_patient(&some)
}

impl Pds {
    /// A request id for changes that take several steps: those have no sessions.
    fn own_request_id(&self) -> Result<String> {
        match &self.request_id {
            Some(id) => checked(id.clone()),
            None => Ok(self.core.entropy.request_id()),
        }
    }

    /// Has a patient created under a new NHS Number, unless somebody alike has one. `fhir_json` has no id.
    ///
    /// # Errors
    /// `Invalid` where the resource is not acceptable.
    pub async fn allocate(&self, fhir_json: impl Into<Bytes>, options: AllocateOptions) -> Result<Allocated> {
        let parameters = options.if_none.into_iter();
        let request = wire::AllocateRequest {
            fhir_json: fhir_json.into(),
            request_id: self.own_request_id()?,
            national: options.national,
            if_none: parameters
                .map(|(name, value)| wire::SearchParameter { name, value })
                .collect(),
        };
        let call = in_steps(self.call(slot_of_any(&request.request_id)?, Effect::Write));
        let answer: wire::AllocateResponse = self
            .core
            .run(call, &request, |link, r| async move {
                client(link).allocate(r.into_request()).await
            })
            .await?;
        if answer.several {
            return Ok(Allocated::Several);
        }
        if !answer.alike.is_empty() {
            return Ok(Allocated::Alike(
                answer.alike.into_iter().map(AlikeNumber).collect(),
            ));
        }
        if answer.existing {
            return Patient::of(answer.patient).map(Allocated::Existing);
        }
        changed(answer.patient, answer.replayed, answer.position.as_ref()).map(Allocated::New)
    }

    /// Merges `nhs_number` into `survivor`, which answers for both from now on. `version_id` 0 stands for whatever is
    /// current.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where one of them was merged before, or the version is another.
    pub async fn merge(&self, nhs_number: &str, version_id: u32, survivor: &str) -> Result<PatientChanged> {
        let call = in_steps(self.call(slot_of_patient(nhs_number)?, Effect::Write));
        let request = wire::MergeRequest {
            nhs_number: nhs_number.to_owned(),
            version_id,
            survivor: survivor.to_owned(),
            request_id: self.own_request_id()?,
        };
        let answer: wire::MergeResponse = self
            .core
            .run(call, &request, |link, r| async move {
                client(link).merge(r.into_request()).await
            })
            .await?;
        changed(answer.patient, answer.replayed, answer.position.as_ref())
    }

    /// Marks a record as invalid: nobody is shown it any more.
    ///
    /// # Errors
    /// `NotFound`, also where it was marked before; `Conflict` where the version is another.
    pub async fn invalidate(&self, nhs_number: &str, version_id: u32) -> Result<PatientChanged> {
        let call = self.call(slot_of_patient(nhs_number)?, Effect::Write);
        let request = wire::InvalidateRequest {
            nhs_number: nhs_number.to_owned(),
            version_id,
            ..wire::InvalidateRequest::default()
        };
        let answer: wire::InvalidateResponse = self
            .core
            .change(call, request, self.request_id.clone(), |link, r| {
                link.call("pds.invalidate", r, |link, r| async move {
                    client(link).invalidate(r).await
                })
            })
            .await?;
        changed(answer.patient, answer.replayed, answer.position.as_ref())
    }

    /// Says whether the record shows where the patient is.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where the version is another.
    pub async fn set_sensitivity(
        &self,
        nhs_number: &str,
        version_id: u32,
        restricted: bool,
    ) -> Result<PatientChanged> {
        let call = self.call(slot_of_patient(nhs_number)?, Effect::Write);
        let sensitivity = if restricted {
            wire::Sensitivity::Restricted
        } else {
            wire::Sensitivity::Unrestricted
        };
        let request = wire::SetSensitivityRequest {
            nhs_number: nhs_number.to_owned(),
            version_id,
            sensitivity: sensitivity.into(),
            ..wire::SetSensitivityRequest::default()
        };
        let answer: wire::SetSensitivityResponse = self
            .core
            .change(call, request, self.request_id.clone(), |link, r| {
                link.call("pds.set_sensitivity", r, |link, r| async move {
                    client(link).set_sensitivity(r).await
                })
            })
            .await?;
        changed(answer.patient, answer.replayed, answer.position.as_ref())
    }

    /// Tells that the patient has died, or that this was wrong; `deceased` is a FHIR dateTime of UTC, empty for a
    /// removal.
    ///
    /// # Errors
    /// `NotFound`; `Invalid`; `Forbidden` where the registrar has told it.
    pub async fn notify_death(
        &self,
        nhs_number: &str,
        version_id: u32,
        status: DeathStatus,
        deceased: &str,
    ) -> Result<PatientChanged> {
        let call = self.call(slot_of_patient(nhs_number)?, Effect::Write);
        let status = match status {
            DeathStatus::Informal => wire::DeathStatus::Informal,
            DeathStatus::Formal => wire::DeathStatus::Formal,
            DeathStatus::Removed => wire::DeathStatus::Removed,
        };
        let request = wire::NotifyDeathRequest {
            nhs_number: nhs_number.to_owned(),
            version_id,
            status: status.into(),
            deceased: deceased.to_owned(),
            ..wire::NotifyDeathRequest::default()
        };
        let answer: wire::NotifyDeathResponse = self
            .core
            .change(call, request, self.request_id.clone(), |link, r| {
                link.call("pds.notify_death", r, |link, r| async move {
                    client(link).notify_death(r).await
                })
            })
            .await?;
        changed(answer.patient, answer.replayed, answer.position.as_ref())
    }

    /// Who is there for a patient.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn related(&self, nhs_number: &str) -> Result<Vec<RelatedPerson>> {
        let call = self.call(slot_of_patient(nhs_number)?, Effect::Read);
        let request = wire::ListRelatedRequest {
            nhs_number: nhs_number.to_owned(),
            ..wire::ListRelatedRequest::default()
        };
        let answer: wire::ListRelatedResponse = self
            .core
            .run(call, &request, |link, r| {
                link.call("pds.list_related", r, |link, r| async move {
                    client(link).list_related(r).await
                })
            })
            .await?;
        Ok(answer.related.into_iter().map(RelatedPerson::of).collect())
    }

    /// Adds somebody (`number` 0), replaces, or without a resource removes them; `version_id` 0 stands for whatever is
    /// current.
    ///
    /// # Errors
    /// `NotFound`; `Invalid`; `Conflict` where the version is another.
    pub async fn put_related(
        &self,
        nhs_number: &str,
        number: u32,
        version_id: u32,
        fhir_json: Option<Bytes>,
    ) -> Result<RelatedPerson> {
        let call = self.call(slot_of_patient(nhs_number)?, Effect::Write);
        let request = wire::PutRelatedRequest {
            nhs_number: nhs_number.to_owned(),
            number,
            version_id,
            remove: fhir_json.is_none(),
            fhir_json: fhir_json.unwrap_or_default(),
            ..wire::PutRelatedRequest::default()
        };
        let answer: wire::PutRelatedResponse = self
            .core
            .change(call, request, self.request_id.clone(), |link, r| {
                link.call("pds.put_related", r, |link, r| async move {
                    client(link).put_related(r).await
                })
            })
            .await?;
        let related = answer
            .related
            .ok_or_else(|| Error::malformed_answer("a related person"))?;
        Ok(RelatedPerson::of(related))
    }
}
