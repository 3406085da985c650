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

/// A patient with something of everything.
pub(super) fn patient(nhs_number: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "id": nhs_number,
        "name": [
            { "id": "n1", "use": "usual", "period": { "start": "2001-01-01" }, "prefix": ["Mrs"], "given": ["Jane", "Anne"], "family": "Smith" },
            { "id": "n2", "use": "nickname", "period": { "start": "2010-01-01" }, "given": ["Jo"] },
        ],
        "gender": "female",
        "birthDate": "1980-02-03",
        "address": [
            { "id": "a1", "use": "home", "period": { "start": "2015-05-05" }, "line": ["1 High Street", "Leeds"], "postalCode": "LS1 6AE" },
        ],
        "telecom": [
            { "id": "t1", "system": "phone", "use": "mobile", "value": "07700900000", "period": { "start": "2020-01-01" } },
        ],
        "generalPractitioner": [
            { "id": "g1", "type": "Organization", "identifier": { "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": "Y12345", "period": { "start": "2020-01-01" } } },
        ],
        "extension": [pharmacy("Y23456")],
    })
}

pub(super) fn pharmacy(code: &str) -> Value {
    json!({
        "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy",
        "valueReference": { "identifier": { "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": code } },
    })
}
