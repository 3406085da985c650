//! Who is there for a patient: FHIR RelatedPersons, kept with the patient, numbered 1, 2, 3 ...
//!
//! A related person is stored as FHIR has it: `patient` is whom they are related to, and their own NHS Number, where
//! they have one, is an identifier. The national service has their own number in `patient` (`national.rs`).

mod list;
mod national;
mod person;
mod put;

use bytes::Bytes;
use prost::Message;
use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1::RelatedPerson as Answer;
use spine_proto::storage::v1::RelatedRow;
use spine_statemachine::frame;
use spine_statemachine::store::Record;

pub use self::list::ListRelated;
pub use self::national::national;
pub use self::person::patient_of;
pub use self::put::PutRelated;
use super::row;
use crate::failure::Failure;

/// Related persons of a patient, those who were removed included.
pub const RELATED_MAX: u32 = 64;
/// Largest resource, in bytes: those of a patient, as many as there may be, are one answer.
pub const RELATED_BYTES_MAX: usize = 64 * 1_024;
/// Number of `RelatedRow` as an encoding of a record.
const SCHEMA: u32 = 1;

fn row_of(record: &Record) -> Result<RelatedRow, Failure> {
    if record.schema != SCHEMA {
        return Err(row::damaged("a related person of unknown schema"));
    }
    let plain = frame::decode(&record.value).map_err(|_| row::damaged("a related person has no frame"))?;
    RelatedRow::decode(plain).map_err(|_| row::damaged("a related person cannot be decoded"))
}

fn framed(row: &RelatedRow) -> Bytes {
    frame::encode(&row.encode_to_vec())
}

fn answer(nhs_number: NhsNumber, number: u32, row: RelatedRow) -> Answer {
    Answer {
        nhs_number: nhs_number.expose(),
        number,
        version_id: row.version_id,
        fhir_json: row.fhir_json,
    }
}
