//! What the HTTP listener answers, as an OpenAPI 3 document: built from one table of operations and the table of errors.
//!
//! `docs/api/openapi.json` is the same text; tests keep the two equal, and hold every route and status against it.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde_json::{Map, Value, json};
use spine_services::error_table::{Outcome, REASONS, ROWS};

use super::capability::SEARCH_PARAMETERS;
use super::openapi_people::PEOPLE;
use super::routes::{Answer, Asked};
use super::{Dialect, Gate};
use crate::version;

pub(super) const FHIR: &str = "application/fhir+json";
/// A page that shows the document; it loads nothing from elsewhere.
const PAGE: &str = include_str!("openapi.html");

/// `GET /openapi.json`
pub(super) async fn serve(_: Arc<Gate>, _: Asked) -> Answer {
    Ok(text("application/json", document()))
}

/// `GET /docs`
pub(super) async fn page(_: Arc<Gate>, _: Asked) -> Answer {
    Ok(text("text/html; charset=utf-8", PAGE))
}

fn text(kind: &'static str, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The document as it is served.
#[must_use]
pub fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| format!("{:#}\n", build()))
}

/// Where an operation is found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    In(Dialect),
    /// Beside the dialects.
    Root,
}

impl Place {
    const fn base(self) -> &'static str {
        match self {
            Self::In(dialect) => dialect.base(),
            Self::Root => "",
        }
    }
}

/// What can go wrong with an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fails {
    Never,
    /// It says that the node is not ready.
    NotReady,
    AsRead,
    AsWrite,
}

/// One method of one path.
pub(super) struct Operation {
    pub(super) place: Place,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Names of query parameters and headers, see [`parameter`].
    pub(super) parameters: &'static [&'static str],
    /// Content types of the body.
    pub(super) body: &'static [&'static str],
    /// Status, content type and schema of what succeeds; no content type where there is no content.
    pub(super) answers: &'static [(u16, &'static str, &'static str)],
    pub(super) fails: Fails,
}

pub(super) const PLAIN: Place = Place::In(Dialect::Plain);
pub(super) const PDS: Place = Place::In(Dialect::Pds);
const PATIENT: &[(u16, &str, &str)] = &[(200, FHIR, "Patient")];
pub(super) const WRITE_HEADERS: &[&str] = &["X-Request-ID", "X-Correlation-ID", "X-Sync-Wait", "If-Match"];
pub(super) const READ_HEADERS: &[&str] = &["X-Request-ID", "X-Correlation-ID", "X-Sync-Wait"];
const JSON_PATCH: &str = "application/json-patch+json";

/// Every operation there is.
fn operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().chain(PEOPLE)
}

/// Those that show and change what there is.
const OPERATIONS: &[Operation] = &[
    Operation {
        place: PLAIN,
        method: "get",
        path: "/Patient/{id}",
        id: "read",
        summary: "The current version of a patient",
        parameters: READ_HEADERS,
        body: &[],
        answers: PATIENT,
        fails: Fails::AsRead,
    },
    Operation {
        place: PLAIN,
        method: "put",
        path: "/Patient/{id}",
        id: "update",
        summary: "The next version of a patient, or the first one",
        parameters: WRITE_HEADERS,
        body: &[FHIR, "application/json"],
        answers: &[(200, FHIR, "Patient"), (201, FHIR, "Patient")],
        fails: Fails::AsWrite,
    },
    Operation {
        place: PLAIN,
        method: "patch",
        path: "/Patient/{id}",
        id: "patch",
        summary: "Changes parts of a patient: a JSON patch list or a JSON merge patch",
        parameters: WRITE_HEADERS,
        body: &[JSON_PATCH, "application/merge-patch+json"],
        answers: PATIENT,
        fails: Fails::AsWrite,
    },
    Operation {
        place: PLAIN,
        method: "get",
        path: "/Patient/{id}/_history",
        id: "history",
        summary: "The versions of a patient, newest first",
        parameters: &[
            "X-Request-ID",
            "X-Correlation-ID",
            "X-Sync-Wait",
            "_count",
            "_before",
        ],
        body: &[],
        answers: &[(200, FHIR, "Bundle")],
        fails: Fails::AsRead,
    },
    Operation {
        place: PLAIN,
        method: "get",
        path: "/Patient/{id}/_history/{version}",
        id: "vread",
        summary: "One version of a patient",
        parameters: READ_HEADERS,
        body: &[],
        answers: PATIENT,
        fails: Fails::AsRead,
    },
    Operation {
        place: PLAIN,
        method: "get",
        path: "/_feed",
        id: "feed",
        summary: "Every version of every patient that is written, as server-sent events",
        parameters: &[
            "X-Request-ID",
            "X-Correlation-ID",
            "Last-Event-ID",
            "cursor",
            "shard",
        ],
        body: &[],
        answers: &[(200, "text/event-stream", "")],
        fails: Fails::AsRead,
    },
    Operation {
        place: PDS,
        method: "get",
        path: "/Patient/{id}",
        id: "pdsRead",
        summary: "The current version of a patient, without what a sensitive record hides",
        parameters: READ_HEADERS,
        body: &[],
        answers: PATIENT,
        fails: Fails::AsRead,
    },
    Operation {
        place: PDS,
        method: "patch",
        path: "/Patient/{id}",
        id: "pdsPatch",
        summary: "Changes parts of a patient, as the national service does: {\"patches\": [...]}",
        parameters: WRITE_HEADERS,
        body: &[JSON_PATCH],
        answers: PATIENT,
        fails: Fails::AsWrite,
    },
    Operation {
        place: PDS,
        method: "get",
        path: "/Patient",
        id: "pdsSearch",
        summary: "Who is, or may be, the one searched for",
        parameters: &["X-Request-ID", "X-Correlation-ID", "X-Sync-Wait", "search"],
        body: &[],
        answers: &[(200, FHIR, "Found")],
        fails: Fails::AsRead,
    },
    common(PLAIN, "/metadata", "metadata"),
    common(PLAIN, "/_ping", "ping"),
    common(PLAIN, "/_status", "status"),
    common(PDS, "/metadata", "pdsMetadata"),
    common(PDS, "/_ping", "pdsPing"),
    common(PDS, "/_status", "pdsStatus"),
    Operation {
        place: Place::Root,
        method: "get",
        path: "/openapi.json",
        id: "openapi",
        summary: "This document",
        parameters: &[],
        body: &[],
        answers: &[(200, "application/json", "Document")],
        fails: Fails::Never,
    },
    Operation {
        place: Place::Root,
        method: "get",
        path: "/docs",
        id: "docs",
        summary: "This document as a page",
        parameters: &[],
        body: &[],
        answers: &[(200, "text/html", "")],
        fails: Fails::Never,
    },
];

/// What both dialects have.
const fn common(place: Place, path: &'static str, id: &'static str) -> Operation {
    let (summary, answers, fails): (_, &[_], _) = match path.as_bytes() {
        b"/metadata" => ("What works", &[(200, FHIR, "CapabilityStatement")], Fails::Never),
        b"/_ping" => (
            "The process answers",
            &[(200, "application/json", "Health")],
            Fails::Never,
        ),
        _ => (
            "Whether callers should come",
            &[(200, "application/json", "Health")],
            Fails::NotReady,
        ),
    };
    Operation {
        place,
        method: "get",
        path,
        id,
        summary,
        parameters: &[],
        body: &[],
        answers,
        fails,
    }
}

/// The status of an outcome in a dialect.
fn status(outcome: &Outcome, dialect: Dialect) -> u16 {
    match dialect {
        Dialect::Plain => outcome.plain_http,
        Dialect::Pds => outcome.http,
    }
}

/// Every status that the table of errors gives in a dialect.
fn statuses(dialect: Dialect) -> BTreeSet<u16> {
    let kinds = ROWS.iter().map(|row| row.outcome);
    let reasons = REASONS.iter().map(|(_, outcome)| *outcome);
    kinds
        .chain(reasons)
        .map(|outcome| status(&outcome, dialect))
        // A search that finds nobody in particular, and a new patient whom somebody is like, are answered as asked for.
        .filter(|status| *status >= 400)
        .collect()
}

/// Of changes alone.
const OF_WRITES: [u16; 5] = [409, 412, 413, 415, 422];
/// Of records that were marked as invalid, and of cursors of old; the national dialect has neither.
const OF_PLAIN: u16 = 410;
/// A method that a path does not have is not in a document of those that it has.
const OF_NO_OPERATION: u16 = 405;

fn failures(operation: &Operation) -> BTreeSet<u16> {
    let Place::In(dialect) = operation.place else {
        return BTreeSet::new();
    };
    let of_all = |status: &u16| {
        let elsewhere = *status == OF_PLAIN && dialect == Dialect::Pds;
        !elsewhere && *status != OF_NO_OPERATION && !OF_WRITES.contains(status)
    };
    match operation.fails {
        Fails::Never | Fails::NotReady => BTreeSet::new(),
        Fails::AsRead => statuses(dialect).into_iter().filter(of_all).collect(),
        Fails::AsWrite => {
            let of_writes = |status: &u16| of_all(status) || OF_WRITES.contains(status);
            statuses(dialect).into_iter().filter(of_writes).collect()
        }
    }
}

fn build() -> Value {
    let mut paths = Map::new();
    for operation in operations() {
        let path = format!("{}{}", operation.place.base(), operation.path);
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[operation.method] = describe(operation);
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Spine: patients over HTTP",
            "version": version::RELEASE,
            "description": "FHIR R4 in two dialects: plain FHIR, and that of the Personal Demographics Service of the NHS in \
                            England. docs/api/pds.md says more.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [match operation.place {
            Place::In(Dialect::Plain) => "plain FHIR",
            Place::In(Dialect::Pds) => "PDS",
            Place::Root => "document",
        }],
    });
    let mut parameters = Vec::new();
    for segment in ["id", "version"] {
        if operation.path.contains(&format!("{{{segment}}}")) {
            parameters.push(path_parameter(segment, operation));
        }
    }
    for name in operation.parameters {
        if *name == "search" {
            parameters.extend(SEARCH_PARAMETERS.iter().map(search_parameter));
        } else {
            parameters.push(parameter(name, operation));
        }
    }
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    if !operation.body.is_empty() {
        let content = operation
            .body
            .iter()
            .map(|kind| ((*kind).to_owned(), body(kind, operation)));
        described["requestBody"] = json!({ "required": true, "content": Value::Object(content.collect()) });
    }
    described["responses"] = Value::Object(responses(operation));
    described
}

fn path_parameter(name: &str, operation: &Operation) -> Value {
    let (description, pattern, example) = match name {
        "id" if operation.path.starts_with("/RelatedPerson") => (
            "NHS Number of the patient, a hyphen, and which of theirs it is",
            "^[0-9]{10}-[0-9]{1,5}$",
            "9000000009-1",
        ),
        "id" => ("NHS Number", "^[0-9]{10}$", "9000000009"),
        _ => ("Version of the patient", "^[0-9]{1,10}$", "1"),
    };
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": description,
        "schema": { "type": "string", "pattern": pattern },
        "example": example,
    })
}

fn parameter(name: &str, operation: &Operation) -> Value {
    let pds = operation.place == PDS;
    let writes_pds = pds && operation.fails == Fails::AsWrite;
    let (place, required, schema, description) = match name {
        "X-Request-ID" => (
            "header",
            pds,
            json!({ "type": "string", "format": "uuid" }),
            "Names the request; a change takes effect once",
        ),
        "X-Correlation-ID" => (
            "header",
            false,
            json!({ "type": "string", "maxLength": 100 }),
            "Repeated in the answer",
        ),
        "X-Sync-Wait" => (
            "header",
            false,
            json!({ "type": "number", "minimum": 0.25, "maximum": 29 }),
            "Seconds to wait for an answer",
        ),
        "If-Match" => (
            "header",
            writes_pds,
            json!({ "type": "string", "pattern": "^(W/)?\"[0-9]+\"$" }),
            "The version to be changed",
        ),
        "Last-Event-ID" => (
            "header",
            false,
            json!({ "type": "string" }),
            "The cursor of the last event that was seen",
        ),
        "If-None-Exist" => (
            "header",
            false,
            json!({ "type": "string" }),
            "A search: where one patient meets it, that one is the answer, and nothing is created",
        ),
        "patient" => (
            "query",
            true,
            json!({ "type": "string", "pattern": "^(Patient/)?[0-9]{10}$" }),
            "Whose",
        ),
        "cursor" => (
            "query",
            false,
            json!({ "type": "string" }),
            "Begin behind the event that had this id",
        ),
        "shard" => (
            "query",
            false,
            json!({ "type": "array", "items": { "type": "integer", "minimum": 1 } }),
            "Only of these shards",
        ),
        "_count" => (
            "query",
            false,
            json!({ "type": "integer", "minimum": 1, "maximum": 100 }),
            "Versions of a page",
        ),
        _ => (
            "query",
            false,
            json!({ "type": "integer", "minimum": 1 }),
            "Versions below this one",
        ),
    };
    json!({ "name": name, "in": place, "required": required, "schema": schema, "description": description })
}

/// One parameter of a search, by its FHIR type.
fn search_parameter((name, kind): &(&str, &str)) -> Value {
    let text = json!({ "type": "string", "minLength": 1, "maxLength": 100 });
    let schema = match (*name, *kind) {
        ("given", _) => json!({ "type": "array", "items": text, "maxItems": 8 }),
        ("gender", _) => json!({ "type": "string", "enum": ["male", "female", "other", "unknown"] }),
        ("_max-results", _) => json!({ "type": "integer", "minimum": 1, "maximum": 50 }),
        (_, "date") => json!({
            "type": "array",
            "items": { "type": "string", "pattern": "^(eq|ge|le)?[0-9]{4}-[0-9]{2}-[0-9]{2}$" },
            "maxItems": 2,
        }),
        (_, "special") => json!({ "type": "boolean" }),
        _ => text,
    };
    json!({ "name": name, "in": "query", "required": false, "schema": schema })
}

fn body(kind: &str, operation: &Operation) -> Value {
    let (schema, example) = match (kind, operation.place == PDS) {
        (JSON_PATCH, true) => (
            "Patches",
            json!({ "patches": [{ "op": "replace", "path": "/gender", "value": "unknown" }] }),
        ),
        (JSON_PATCH, false) => (
            "PatchList",
            json!([{ "op": "replace", "path": "/gender", "value": "unknown" }]),
        ),
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

fn responses(operation: &Operation) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, kind, schema) in operation.answers {
        let schema = if schema.is_empty() {
            json!({ "type": "string" })
        } else {
            reference(schema)
        };
        let mut response = json!({ "description": "As asked for" });
        if !kind.is_empty() {
            response["content"] = json!({ *kind: { "schema": schema } });
        }
        if ["Patient", "RelatedPerson"].contains(&operation.answers[0].2) {
            response["headers"] =
                json!({ "ETag": { "schema": { "type": "string" }, "description": "W/\"version\"" } });
        }
        responses.insert(status.to_string(), response);
    }
    if operation.fails == Fails::NotReady {
        let content = json!({ "application/json": { "schema": reference("Health") } });
        responses.insert(
            "503".to_owned(),
            json!({ "description": "Not now", "content": content }),
        );
    }
    for status in failures(operation) {
        let mut response = json!({
            "description": means(status),
            "content": { FHIR: { "schema": reference("OperationOutcome") } },
        });
        if matches!(status, 429 | 503) {
            response["headers"] =
                json!({ "Retry-After": { "schema": { "type": "integer" }, "description": "Seconds" } });
        }
        responses.insert(status.to_string(), response);
    }
    responses
}

const fn means(status: u16) -> &'static str {
    match status {
        400 => "The request is wrong",
        401 => "Nobody known is calling",
        403 => "The caller may not do this",
        404 => "There is no such resource",
        408 => "Not arrived, or not answered, in time",
        409 => "Somebody else's change came first, or what was to be created exists",
        410 => "The record was marked as invalid, or what follows the cursor is no longer kept",
        412 => "If-Match is missing, malformed, or not the current version",
        413 => "Larger than a record can be",
        415 => "The content type is not understood",
        422 => "A rule is broken, or the request id was used with another body",
        429 => "Too much at once: send it again after the time named",
        500 => "A fault of the service",
        _ => "Send it again with the same X-Request-ID",
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn schemas() -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_the_table_of_errors_is_in_the_document_and_no_other() {
        for dialect in [Dialect::Plain, Dialect::Pds] {
            let own = operations().filter(|operation| operation.place == Place::In(dialect));
            let documented: BTreeSet<u16> = own.flat_map(failures).collect();
            let mut expected = statuses(dialect);
            expected.remove(&OF_NO_OPERATION);
            if dialect == Dialect::Pds {
                expected.remove(&OF_PLAIN);
            }
            assert_eq!(documented, expected, "{}", dialect.as_str());
        }
    }

    #[test]
    fn what_is_referred_to_is_there_and_ids_are_unique() {
        let document: Value = serde_json::from_str(document()).unwrap();
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let (name, _) = part.split_once('"').unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        let mut ids: Vec<&str> = operations().map(|operation| operation.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), operations().count());
    }
}
