//! `/metadata`: exactly what works.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answer::built;
use super::routes::{Answer, Asked};
use super::{Dialect, Gate};
use crate::version;

/// What a search may name, and the type of each.
pub(super) const SEARCH_PARAMETERS: [(&str, &str); 14] = [
    ("family", "string"),
    ("given", "string"),
    ("gender", "token"),
    ("birthdate", "date"),
    ("death-date", "date"),
    ("address-postalcode", "string"),
    ("address-postcode", "string"),
    ("general-practitioner", "string"),
    ("email", "string"),
    ("phone", "string"),
    ("_fuzzy-match", "special"),
    ("_exact-match", "special"),
    ("_history", "special"),
    ("_max-results", "special"),
];
/// What a search of the plain dialect may name besides.
pub(super) const PLAIN_SEARCH_PARAMETERS: [(&str, &str); 2] = [("_id", "token"), ("identifier", "token")];
/// `Patient/{id}/RelatedPerson`
const COMPARTMENT: &str = "http://hl7.org/fhir/CompartmentDefinition/patient";
/// The day on which this statement was last changed.
const DATE: &str = "2026-11-29";

pub(super) async fn statement(gate: Arc<Gate>, _: Asked) -> Answer {
    let base = gate.base_url();
    Ok(built(StatusCode::OK, &capability(gate.dialect, &base)))
}

fn capability(dialect: Dialect, base: &str) -> Value {
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": DATE,
        "kind": "instance",
        "software": { "name": "Spine", "version": version::RELEASE },
        "implementation": { "description": "Spine", "url": base },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "patchFormat": patch_formats(dialect),
        "rest": [{ "mode": "server", "resource": resources(dialect), "compartment": [COMPARTMENT] }],
    })
}

fn patch_formats(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Plain => &["application/json-patch+json", "application/merge-patch+json"],
        Dialect::Pds => &["application/json-patch+json"],
    }
}

fn resources(dialect: Dialect) -> [Value; 2] {
    let related = match dialect {
        Dialect::Plain => related_person(),
        Dialect::Pds => related_of_patient(),
    };
    [patient(dialect), related]
}

fn patient(dialect: Dialect) -> Value {
    let interactions: &[&str] = match dialect {
        Dialect::Plain => &[
            "read",
            "vread",
            "create",
            "update",
            "patch",
            "delete",
            "history-instance",
            "search-type",
        ],
        Dialect::Pds => &[
            "read",
            "vread",
            "create",
            "patch",
            "history-instance",
            "search-type",
        ],
    };
    let more = match dialect {
        Dialect::Plain => PLAIN_SEARCH_PARAMETERS.as_slice(),
        Dialect::Pds => &[],
    };
    let parameters = more
        .iter()
        .chain(&SEARCH_PARAMETERS)
        .map(|(name, kind)| json!({ "name": name, "type": kind }));
    let interactions = interactions.iter().map(|code| json!({ "code": code }));
    let mut patient = json!({
        "type": "Patient",
        "interaction": interactions.collect::<Vec<_>>(),
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": dialect == Dialect::Plain,
        "conditionalCreate": dialect == Dialect::Plain,
        "searchParam": parameters.collect::<Vec<_>>(),
    });
    if dialect == Dialect::Plain {
        let merge = "http://hl7.org/fhir/OperationDefinition/Patient-merge";
        patient["operation"] = json!([{ "name": "merge", "definition": merge }]);
    }
    patient
}

fn related_person() -> Value {
    let interactions = ["read", "vread", "create", "update", "delete", "search-type"];
    let interactions = interactions.map(|code| json!({ "code": code }));
    json!({
        "type": "RelatedPerson",
        "interaction": interactions,
        "versioning": "versioned-update",
        "searchParam": [{ "name": "patient", "type": "reference" }],
    })
}

/// In the national dialect related persons are a part of their patient.
fn related_of_patient() -> Value {
    json!({
        "type": "RelatedPerson",
        "documentation": "Those of a patient: GET Patient/{id}/RelatedPerson",
        "interaction": [{ "code": "search-type" }],
    })
}
