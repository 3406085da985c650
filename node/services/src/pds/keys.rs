//! Where a patient's versions stand.

use bytes::Bytes;
use spine_proto::ids::NhsNumber;
use spine_statemachine::key::{self, Family, SubjectKey};

/// The current version.
const KIND_CURRENT: u8 = key::PATIENT_KIND;
/// Older versions, by version id.
const KIND_OLDER: u8 = 2;

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
