//! What the rows about the demographics service share.

use serde_json::{Value, json};

use super::support::SHARDS;
use crate::processes::{Cluster, Options};
use crate::prove::{Context, RowError};

pub(super) const PLAIN: &str = "/fhir/R4";
pub(super) const PDS: &str = "/personal-demographics/FHIR/R4";
/// Small log segments: nothing is measured here.
const SETTINGS: [&str; 2] = ["storage.segment_bytes=8388608", "storage.min_free_bytes=67108864"];

/// Three nodes that answer over HTTP, too.
pub(super) async fn open(context: &Context) -> Result<Cluster, RowError> {
    let options = Options {
        nodes: 3,
        shards: SHARDS,
        programs: context.programs.clone(),
    };
    let settings = SETTINGS.iter().map(ToString::to_string).collect();
    Ok(Cluster::start_with_http(&options, settings).await?)
}

/// A UUID.
pub(super) fn request_id(number: u32) -> String {
    format!("60e0b220-8136-4ca5-ae46-{number:012x}")
}

/// A patient with something of everything: that of the tests of the rules.
pub(super) fn patient(nhs_number: &str) -> Value {
    let text = include_str!("../../../../node/services/testdata/patient.json");
    let mut patient: Value = serde_json::from_str(text).unwrap_or_default();
    patient["id"] = json!(nhs_number);
    patient
}

pub(super) fn pharmacy(code: &str) -> Value {
    json!({
        "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy",
        "valueReference": { "identifier": { "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": code } },
    })
}
