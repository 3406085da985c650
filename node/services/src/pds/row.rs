//! A patient as stored, and how a version is found again.
//!
//! The current version is compressed with a dictionary of patients. An older one is kept as its difference from the
//! version after it, which is little; every [`STEPS_MAX`]th is kept whole, so that no version is more steps away from
//! one that can be read alone.

use bytes::Bytes;
use prost::Message;
use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1::Patient;
use spine_proto::storage::v1::PatientRow;
use spine_statemachine::frame::{self, Dictionary};
use spine_statemachine::store::{OrderedRead, ReadError, Record};

use super::rules::PDS_57;
use super::{keys, restricted};
use crate::context::Context;
use crate::failure::Failure;
use crate::reason;

/// Number of `PatientRow` as an encoding of a record.
pub(super) const SCHEMA: u32 = 1;

/// Version id of a new patient.
pub(super) const FIRST_VERSION: u32 = 1;
/// Most frames to read before an older version is known.
const STEPS_MAX: u32 = 16;
/// What new rows are compressed with.
const DICTIONARY: Dictionary = Dictionary::Patients1;

/// A version of a patient before it is framed.
pub(super) struct Plain(Bytes);

impl Plain {
    pub(super) fn new(version_id: u32, fhir_json: Vec<u8>) -> Self {
        Self::of_row(&PatientRow {
            version_id,
            fhir_json: fhir_json.into(),
            ..PatientRow::default()
        })
    }

    pub(super) fn of_row(row: &PatientRow) -> Self {
        Self(row.encode_to_vec().into())
    }

    /// The frame of a current version.
    pub(super) fn frame(&self) -> Bytes {
        frame::compress(&self.0, DICTIONARY)
    }

    /// The row; its JSON is a part of the plain bytes, not a copy.
    pub(super) fn row(&self) -> Result<PatientRow, Failure> {
        PatientRow::decode(self.0.clone()).map_err(|_| damaged("patient row cannot be decoded"))
    }

    /// The plain form of a record that is readable alone.
    pub(super) fn of(record: &Record) -> Result<Self, Failure> {
        check_schema(record)?;
        let plain = frame::decode(&record.value);
        plain
            .map(Self)
            .map_err(|error| damaged(&format!("patient row: {error}")))
    }

    /// The plain form of the version before this one.
    fn before(&self, record: &Record) -> Result<Self, Failure> {
        check_schema(record)?;
        let plain = frame::decode_against(&record.value, &self.0);
        plain
            .map(Self)
            .map_err(|error| damaged(&format!("patient row: {error}")))
    }
}

/// The frame of version `version_id` once `next` has come after it. `frame` is the one it had as the current version.
pub(super) fn frame_of_older(version_id: u32, plain: &Plain, frame: Bytes, next: &Plain) -> Bytes {
    if version_id.is_multiple_of(STEPS_MAX) {
        return frame;
    }
    match frame::compress_against(&plain.0, &next.0) {
        Some(difference) if difference.len() < frame.len() => difference,
        Some(_) | None => frame,
    }
}

fn check_schema(record: &Record) -> Result<(), Failure> {
    if record.schema == SCHEMA {
        return Ok(());
    }
    Err(damaged(&format!(
        "patient row of unknown schema {}",
        record.schema
    )))
}

pub(super) fn damaged(what: &str) -> Failure {
    Failure::Read(ReadError(what.to_owned()))
}

/// The versions of one patient, from one that was asked for downwards.
pub(super) struct Versions<'a> {
    view: &'a dyn OrderedRead,
    context: &'a Context,
    nhs_number: NhsNumber,
    /// The version at hand.
    version_id: u32,
    plain: Plain,
}

impl<'a> Versions<'a> {
    /// From the current version on.
    pub(super) fn current(
        view: &'a dyn OrderedRead,
        context: &'a Context,
        nhs_number: NhsNumber,
    ) -> Result<Self, Failure> {
        let record = view.get(&keys::current(&context.subject_key, nhs_number))?;
        let plain = Plain::of(&record.ok_or_else(not_found)?)?;
        Ok(Self {
            view,
            context,
            nhs_number,
            version_id: plain.row()?.version_id,
            plain,
        })
    }

    /// Goes down to version `version_id`, from 1; stays where that is not below.
    pub(super) fn go_to(&mut self, version_id: u32) -> Result<(), Failure> {
        if let Some(whole) = version_id.checked_next_multiple_of(STEPS_MAX)
            && whole < self.version_id
        {
            self.plain = Plain::of(&self.record(whole)?)?;
            self.version_id = whole;
        }
        while self.version_id > version_id {
            self.step()?;
        }
        Ok(())
    }

    pub(super) fn version_id(&self) -> u32 {
        self.version_id
    }

    /// Whether no version says where the patient was, as the one at hand says, which is the current one.
    pub(super) fn hide_places(&self) -> Result<bool, Failure> {
        hides_places(&self.row()?)
    }

    /// The row at hand.
    pub(super) fn row(&self) -> Result<PatientRow, Failure> {
        let row = self.plain.row()?;
        if row.version_id == self.version_id {
            return Ok(row);
        }
        Err(damaged("a patient's version is not where it should be"))
    }

    /// Goes to the version below; there is one.
    pub(super) fn step(&mut self) -> Result<(), Failure> {
        let below = self.version_id - 1;
        self.plain = self.plain.before(&self.record(below)?)?;
        self.version_id = below;
        Ok(())
    }

    fn record(&self, version_id: u32) -> Result<Record, Failure> {
        let key = keys::older(&self.context.subject_key, self.nhs_number, version_id);
        let missing = || damaged(&format!("version {version_id} of a patient is missing"));
        self.view.get(&key)?.ok_or_else(missing)
    }
}

/// Whether no version says where the patient was, as the current one says.
pub(super) fn hides_versions(current: &Record) -> Result<bool, Failure> {
    hides_places(&Plain::of(current)?.row()?)
}

fn hides_places(current: &PatientRow) -> Result<bool, Failure> {
    restricted::hides_versions(&current.fhir_json).map_err(|_| damaged("a patient is no JSON"))
}

/// Whether the record is shown to anybody.
///
/// # Errors
/// `PDS-57`
pub(super) fn check_shown(row: &PatientRow) -> Result<(), Failure> {
    shown(row.fhir_json.clone()).map(drop)
}

/// A current version as callers see it.
///
/// # Errors
/// `PDS-57`
fn shown(fhir_json: Bytes) -> Result<Bytes, Failure> {
    restricted::shown(fhir_json).map_err(|error| {
        if error.reason == reason::INVALIDATED_RESOURCE {
            PDS_57.refuse("nhs_number", "the record was marked as invalid")
        } else {
            damaged("a patient is no JSON")
        }
    })
}

/// The current version, as it is stored.
pub(super) fn current(
    view: &dyn OrderedRead,
    context: &Context,
    nhs_number: NhsNumber,
) -> Result<PatientRow, Failure> {
    Versions::current(view, context, nhs_number)?.row()
}

/// Version `version_id`, current or older, as it is stored.
pub(super) fn version(
    view: &dyn OrderedRead,
    context: &Context,
    nhs_number: NhsNumber,
    version_id: u32,
) -> Result<PatientRow, Failure> {
    let mut versions = Versions::current(view, context, nhs_number)?;
    versions.go_to(version_id)?;
    versions.row()
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

/// A version as callers see it: of a sensitive patient it does not say where they are, and where `is_hidden` not where
/// they were.
///
/// # Errors
/// The store is damaged.
pub(super) fn answer(nhs_number: NhsNumber, row: PatientRow, is_hidden: bool) -> Result<Patient, Failure> {
    told(nhs_number, row, |stored| {
        restricted::version_shown(stored, is_hidden).map_err(|_| damaged("a patient is no JSON"))
    })
}

/// The current version as callers see it.
///
/// # Errors
/// `PDS-57`
pub(super) fn answer_current(nhs_number: NhsNumber, row: PatientRow) -> Result<Patient, Failure> {
    told(nhs_number, row, shown)
}

/// Version `version_id`, which a change has made, as callers see it now: who sends the change again may see less than then.
///
/// # Errors
/// The store is damaged.
pub(super) fn answer_version(
    view: &dyn OrderedRead,
    context: &Context,
    nhs_number: NhsNumber,
    version_id: u32,
) -> Result<Patient, Failure> {
    let mut versions = Versions::current(view, context, nhs_number)?;
    let is_hidden = versions.hide_places()?;
    versions.go_to(version_id)?;
    answer(nhs_number, versions.row()?, is_hidden)
}

fn told(
    nhs_number: NhsNumber,
    row: PatientRow,
    show: impl FnOnce(Bytes) -> Result<Bytes, Failure>,
) -> Result<Patient, Failure> {
    Ok(Patient {
        nhs_number: nhs_number.expose(),
        version_id: row.version_id,
        fhir_json: show(row.fhir_json)?,
        superseded_by: row.superseded_by,
        replaces: row.replaces,
    })
}

/// The answer to who asked for no more.
pub(super) fn answer_minimal(nhs_number: NhsNumber, version_id: u32) -> Patient {
    Patient {
        nhs_number: nhs_number.expose(),
        version_id,
        ..Patient::default()
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
