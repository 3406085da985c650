//! What resources and other bodies look like.

use serde_json::{Value, json};

pub(super) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// Every schema that something refers to.
pub(super) fn schemas() -> Value {
    let mut all = resources();
    for (name, schema) in patches().as_object().into_iter().flatten() {
        all[name] = schema.clone();
    }
    all
}

fn patches() -> Value {
    json!({
        "Patches": {
            "type": "object",
            "required": ["patches"],
            "properties": { "patches": reference("PatchList") },
        },
        "PatchList": {
            "type": "array",
            "maxItems": 256,
            "items": {
                "type": "object",
                "required": ["op", "path"],
                "properties": {
                    "op": { "type": "string", "enum": ["add", "replace", "remove", "test"] },
                    "path": { "type": "string", "pattern": "^(/[^/]*)+$" },
                    "value": {},
                },
            },
        },
        "MergePatch": { "type": "object" },
        "Search": {
            "type": "object",
            "description": "The parameters of GET Patient",
            "additionalProperties": { "type": "string" },
        },
    })
}

fn resources() -> Value {
    let resource = |kind: &str| json!({ "type": "string", "enum": [kind] });
    let any = || json!({ "type": "object" });
    json!({
        "Patient": {
            "type": "object",
            "required": ["resourceType"],
            "properties": {
                "resourceType": resource("Patient"),
                "id": { "type": "string", "pattern": "^[0-9]{10}$" },
                "meta": {
                    "type": "object",
                    "properties": { "versionId": { "type": "string", "pattern": "^[0-9]+$" } },
                },
                "identifier": { "type": "array", "items": any() },
                "name": { "type": "array", "items": any() },
                "gender": { "type": "string", "enum": ["male", "female", "other", "unknown"] },
                "birthDate": { "type": "string" },
                "multipleBirthInteger": { "type": "integer", "minimum": 1, "maximum": 9 },
                "deceasedDateTime": { "type": "string" },
                "address": { "type": "array", "items": any() },
                "telecom": { "type": "array", "items": any() },
                "contact": { "type": "array", "items": any() },
                "generalPractitioner": { "type": "array", "items": any() },
                "managingOrganization": any(),
                "extension": { "type": "array", "items": any() },
            },
            "additionalProperties": false,
        },
        "Bundle": {
            "type": "object",
            "required": ["resourceType", "type"],
            "properties": {
                "resourceType": resource("Bundle"),
                "type": { "type": "string", "enum": ["history", "searchset"] },
                "total": { "type": "integer", "minimum": 0 },
                "timestamp": { "type": "string" },
                "link": { "type": "array", "items": any() },
                "entry": { "type": "array", "items": any() },
            },
            "additionalProperties": false,
        },
        "RelatedPerson": {
            "type": "object",
            "required": ["resourceType"],
            "properties": { "resourceType": resource("RelatedPerson"), "patient": any() },
        },
        "Parameters": {
            "type": "object",
            "required": ["resourceType", "parameter"],
            "properties": {
                "resourceType": resource("Parameters"),
                "parameter": { "type": "array", "items": any() },
            },
        },
        "Found": { "oneOf": [reference("Bundle"), reference("OperationOutcome")] },
        "OperationOutcome": {
            "type": "object",
            "required": ["resourceType", "issue"],
            "properties": {
                "resourceType": resource("OperationOutcome"),
                "issue": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["severity", "code", "details"],
                        "properties": {
                            "severity": { "type": "string", "enum": ["error", "information"] },
                            "code": { "type": "string" },
                            "details": any(),
                            "diagnostics": { "type": "string" },
                            "expression": { "type": "array", "items": { "type": "string" } },
                        },
                    },
                },
            },
        },
        "CapabilityStatement": {
            "type": "object",
            "required": ["resourceType", "status", "kind", "fhirVersion", "format", "rest"],
            "properties": { "resourceType": resource("CapabilityStatement") },
        },
        "Health": {
            "type": "object",
            "required": ["status"],
            "properties": { "status": { "type": "string", "enum": ["pass", "fail"] } },
        },
        "Document": { "type": "object", "required": ["openapi", "info", "paths"] },
    })
}
