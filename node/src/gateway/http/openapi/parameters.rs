//! Parameters of paths and queries, and headers.

use serde_json::{Value, json};

use super::super::capability::SEARCH_PARAMETERS;
use super::operations::{Fails, Operation, PDS};

/// The national service takes its own form of a version alone; others have `*` for the current one.
const IF_MATCH_PDS: &str = "^W/\"[0-9]+\"$";
const IF_MATCH_PLAIN: &str = "^((W/)?\"[0-9]+\"|\\*)$";

/// Of an operation, those of its path first.
pub(super) fn of(operation: &Operation) -> Vec<Value> {
    let segments = ["id", "version"].into_iter();
    let in_path = segments.filter(|segment| operation.path.contains(&format!("{{{segment}}}")));
    let mut parameters: Vec<Value> = in_path
        .map(|segment| path_parameter(segment, operation))
        .collect();
    for name in operation.parameters {
        if *name == "search" {
            parameters.extend(SEARCH_PARAMETERS.iter().map(search_parameter));
        } else {
            parameters.push(parameter(name, operation));
        }
    }
    parameters
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

/// Whether it is required, what it is, and what it means.
type Described = (bool, Value, &'static str);

fn parameter(name: &str, operation: &Operation) -> Value {
    let (place, (required, schema, description)) = match header(name, operation) {
        Some(described) => ("header", described),
        None => ("query", of_query(name, operation)),
    };
    json!({ "name": name, "in": place, "required": required, "schema": schema, "description": description })
}

fn header(name: &str, operation: &Operation) -> Option<Described> {
    let pds = operation.place == PDS;
    let writes_pds = pds && operation.fails == Fails::AsWrite;
    let if_match = if pds { IF_MATCH_PDS } else { IF_MATCH_PLAIN };
    Some(match name {
        "X-Request-ID" => (
            pds,
            json!({ "type": "string", "format": "uuid" }),
            "Names the request; a change takes effect once",
        ),
        "X-Correlation-ID" => (
            false,
            json!({ "type": "string", "maxLength": 100 }),
            "Repeated in the answer",
        ),
        "X-Sync-Wait" => (
            false,
            json!({ "type": "number", "minimum": 0.25, "maximum": 29 }),
            "Seconds to wait for an answer",
        ),
        "If-Match" => (
            writes_pds,
            json!({ "type": "string", "pattern": if_match }),
            "The version to be changed",
        ),
        "Last-Event-ID" => (
            false,
            json!({ "type": "string" }),
            "The cursor of the last event that was seen",
        ),
        "If-None-Exist" => (
            false,
            json!({ "type": "string" }),
            "A search: where one patient meets it, that one is the answer, and nothing is created",
        ),
        _ => return None,
    })
}

fn of_query(name: &str, operation: &Operation) -> Described {
    match name {
        "patient" => (
            true,
            json!({ "type": "string", "pattern": "^(Patient/)?[0-9]{10}$" }),
            "Whose",
        ),
        "cursor" => (
            false,
            json!({ "type": "string" }),
            "Begin behind the event that had this id; start: with every patient that there is",
        ),
        "shard" => (
            false,
            json!({ "type": "array", "items": { "type": "integer", "minimum": 1 } }),
            "Only of these shards",
        ),
        "_id" => (
            false,
            json!({ "type": "string" }),
            "NHS Numbers, with commas between them; goes with no parameter but identifier and _count",
        ),
        "identifier" => (
            false,
            json!({ "type": "string", "pattern": "^https://fhir.nhs.uk/Id/nhs-number\\|" }),
            "https://fhir.nhs.uk/Id/nhs-number|NUMBER; several with commas between them",
        ),
        "_page" => (
            false,
            json!({ "type": "string", "pattern": "^[0-9a-f]{58}$" }),
            "Where the page begins: callers follow the link next",
        ),
        "_count" if operation.path == "/Patient" => (
            false,
            json!({ "type": "integer", "minimum": 1, "maximum": 50 }),
            "Patients of a page",
        ),
        "_count" => (
            false,
            json!({ "type": "integer", "minimum": 1, "maximum": 100 }),
            "Versions of a page",
        ),
        _ => (
            false,
            json!({ "type": "integer", "minimum": 1 }),
            "Versions below this one",
        ),
    }
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
