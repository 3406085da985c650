//! What an operation may be answered with.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use spine_services::error_table::{Outcome, REASONS, ROWS};

use super::super::Dialect;
use super::operations::{FHIR, Fails, Operation, Place};
use super::schemas::reference;

/// By status.
pub(super) fn responses(operation: &Operation) -> Map<String, Value> {
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
/// Of bodies.
const OF_BODIES: [u16; 2] = [413, 415];
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
        Fails::AsPostedRead => {
            let of_bodies = |status: &u16| of_all(status) || OF_BODIES.contains(status);
            statuses(dialect).into_iter().filter(of_bodies).collect()
        }
        Fails::AsWrite => {
            let of_writes = |status: &u16| of_all(status) || OF_WRITES.contains(status);
            statuses(dialect).into_iter().filter(of_writes).collect()
        }
    }
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
        501 => "Nodes of an older release may still lead",
        _ => "Send it again with the same X-Request-ID",
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::operations;
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
}
