//! Where a patient's versions stand.

use bytes::Bytes;
use spine_proto::ids::{NhsNumber, RoutingKey};
use spine_statemachine::key::{self, Family, SubjectKey};

/// The current version.
const KIND_CURRENT: u8 = key::PATIENT_KIND;
/// Older versions, by version id.
const KIND_OLDER: u8 = 2;
/// People who are there for the patient, by number.
const KIND_RELATED: u8 = 3;
/// Older versions of them, by number and version id.
const KIND_RELATED_OLDER: u8 = 4;
/// The number was drawn and given up: nobody is created under it.
const KIND_VOID: u8 = 5;
/// Of a claim, in its own family.
const KIND_CLAIM: u8 = 1;

pub(super) fn current(subject_key: &SubjectKey, nhs_number: NhsNumber) -> Bytes {
    key::encode(
        Family::Pds,
        subject_key,
        &nhs_number.routing_key(),
        KIND_CURRENT,
        &[],
    )
}

pub(super) fn older(subject_key: &SubjectKey, nhs_number: NhsNumber, version_id: u32) -> Bytes {
    let suffix = version_id.to_be_bytes();
    key::encode(
        Family::Pds,
        subject_key,
        &nhs_number.routing_key(),
        KIND_OLDER,
        &suffix,
    )
}

pub(super) fn void(subject_key: &SubjectKey, nhs_number: NhsNumber) -> Bytes {
    key::encode(
        Family::Pds,
        subject_key,
        &nhs_number.routing_key(),
        KIND_VOID,
        &[],
    )
}

pub(super) fn related(subject_key: &SubjectKey, nhs_number: NhsNumber, number: u32) -> Bytes {
    let suffix = number.to_be_bytes();
    key::encode(
        Family::Pds,
        subject_key,
        &nhs_number.routing_key(),
        KIND_RELATED,
        &suffix,
    )
}

/// What the keys of all related persons of a patient begin with.
pub(super) fn all_related(subject_key: &SubjectKey, nhs_number: NhsNumber) -> Bytes {
    key::encode(
        Family::Pds,
        subject_key,
        &nhs_number.routing_key(),
        KIND_RELATED,
        &[],
    )
}

pub(super) fn related_older(
    subject_key: &SubjectKey,
    nhs_number: NhsNumber,
    number: u32,
    version_id: u32,
) -> Bytes {
    let suffix = [number.to_be_bytes(), version_id.to_be_bytes()].concat();
    key::encode(
        Family::Pds,
        subject_key,
        &nhs_number.routing_key(),
        KIND_RELATED_OLDER,
        &suffix,
    )
}

/// The claim on everybody who is born on a day.
pub(super) fn claim(subject_key: &SubjectKey, day: &RoutingKey) -> Bytes {
    key::encode(Family::PdsClaim, subject_key, day, KIND_CLAIM, &[])
}
