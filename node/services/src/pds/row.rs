//! A patient as stored, and how a version is found again.

use bytes::Bytes;
use prost::Message;
use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1::Patient;
use spine_proto::storage::v1::PatientRow;
use spine_statemachine::frame;
use spine_statemachine::store::{OrderedRead, ReadError, Record};

use super::keys;
use crate::context::Context;
use crate::failure::Failure;
use crate::reason;

/// Number of `PatientRow` as an encoding of a record.
pub(super) const SCHEMA: u32 = 1;

/// The framed row of a version.
pub(super) fn encode(version_id: u32, fhir_json: Vec<u8>) -> Bytes {
    frame::encode(
        &PatientRow {
            version_id,
            fhir_json: fhir_json.into(),
        }
        .encode_to_vec(),
    )
}

/// The row in a record.
pub(super) fn decode(record: &Record) -> Result<PatientRow, Failure> {
    let damaged = |what: String| Failure::Read(ReadError(what));
    if record.schema != SCHEMA {
        return Err(damaged(format!(
            "patient row of unknown schema {}",
            record.schema
        )));
    }
    let row = frame::decode(&record.value).map_err(|error| damaged(format!("patient row: {error}")))?;
    PatientRow::decode(row).map_err(|_| damaged("patient row cannot be decoded".to_owned()))
}

/// The current version.
pub(super) fn current(
    view: &dyn OrderedRead,
    context: &Context,
    nhs_number: NhsNumber,
) -> Result<PatientRow, Failure> {
    let record = view.get(&keys::current(&context.subject_key, nhs_number))?;
    decode(&record.ok_or_else(not_found)?)
}

/// Version `version_id`, current or older.
pub(super) fn version(
    view: &dyn OrderedRead,
    context: &Context,
    nhs_number: NhsNumber,
    version_id: u32,
) -> Result<PatientRow, Failure> {
    let current = current(view, context, nhs_number)?;
    if current.version_id == version_id {
        Ok(current)
    } else {
        older(view, context, nhs_number, version_id)
    }
}

/// Version `version_id`, which is not the current one.
pub(super) fn older(
    view: &dyn OrderedRead,
    context: &Context,
    nhs_number: NhsNumber,
    version_id: u32,
) -> Result<PatientRow, Failure> {
    let record = view.get(&keys::older(&context.subject_key, nhs_number, version_id))?;
    decode(&record.ok_or_else(|| ReadError(format!("version {version_id} of a patient is missing")))?)
}

/// The outcome of a change to `version_id`: what a repeated request is answered from.
pub(super) fn outcome(version_id: u32) -> Bytes {
    Bytes::copy_from_slice(&version_id.to_be_bytes())
}

/// The version a change has made.
pub(super) fn version_of(outcome: &[u8]) -> Result<u32, Failure> {
    let bytes =
        <[u8; 4]>::try_from(outcome).map_err(|_| ReadError("outcome is not a version id".to_owned()))?;
    Ok(u32::from_be_bytes(bytes))
}

/// The row as callers see it.
pub(super) fn answer(nhs_number: NhsNumber, row: PatientRow) -> Patient {
    Patient {
        nhs_number: nhs_number.expose(),
        version_id: row.version_id,
        fhir_json: row.fhir_json,
    }
}

pub(super) fn not_found() -> Failure {
    Failure::refused(
        crate::error::ErrorKind::NotFound,
        reason::PATIENT_NOT_FOUND,
        "nhs_number",
        "there is no patient with this NHS Number",
    )
}
