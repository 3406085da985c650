//! Bodies of requests, each with an example that works.

use serde_json::{Value, json};

use super::operations::{FORM, JSON_PATCH, Operation, PDS};
use super::schemas::reference;

/// The content of one type.
pub(super) fn content(kind: &str, operation: &Operation) -> Value {
    let (schema, example) = match (kind, operation.place == PDS) {
        (JSON_PATCH, true) => (
            "Patches",
            json!({ "patches": [{ "op": "replace", "path": "/gender", "value": "unknown" }] }),
        ),
        (JSON_PATCH, false) => (
            "PatchList",
            json!([{ "op": "replace", "path": "/gender", "value": "unknown" }]),
        ),
        (FORM, _) => ("Search", json!({ "family": "Smith", "birthdate": "1980-02-03" })),
        ("application/merge-patch+json", _) => ("MergePatch", json!({ "gender": "unknown" })),
        _ if operation.path == "/Patient/$merge" => (
            "Parameters",
            json!({
                "resourceType": "Parameters",
                "parameter": [
                    { "name": "source-patient", "valueReference": { "reference": "Patient/9990000026" } },
                    { "name": "target-patient", "valueReference": { "reference": "Patient/9990000034" } },
                ],
            }),
        ),
        _ if operation.path.starts_with("/RelatedPerson") => (
            "RelatedPerson",
            json!({
                "resourceType": "RelatedPerson",
                "patient": { "reference": "Patient/9990000026" },
                "name": [{ "given": ["Sam"], "family": "Smith" }],
            }),
        ),
        _ if operation.method == "post" => (
            "Patient",
            json!({
                "resourceType": "Patient",
                "gender": "female",
                "birthDate": "1980-02-03",
                "name": [{ "use": "usual", "given": ["Jane"], "family": "Smith" }],
            }),
        ),
        _ => (
            "Patient",
            json!({
                "resourceType": "Patient",
                "id": "9990000026",
                "gender": "female",
                "birthDate": "1980-02-03",
                "name": [{ "id": "1", "use": "usual", "given": ["Jane"], "family": "Smith" }],
            }),
        ),
    };
    json!({ "schema": reference(schema), "example": example })
}
