//! What the HTTP listener answers, as an OpenAPI 3 document: built from one table of operations and the table of errors.
//!
//! `docs/api/openapi.json` is the same text; tests keep the two equal, and hold every route and status against it.

mod answers;
mod bodies;
mod operations;
mod parameters;
mod people;
mod schemas;

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde_json::{Map, Value, json};

use self::operations::{Operation, Place, operations};
use super::routes::{Answer, Asked};
use super::{Dialect, Gate};
use crate::version;

/// A page that shows the document; it loads nothing from elsewhere.
const PAGE: &str = include_str!("page.html");

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
        "components": { "schemas": schemas::schemas() },
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
    let parameters = parameters::of(operation);
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    if !operation.body.is_empty() {
        let content = operation
            .body
            .iter()
            .map(|kind| ((*kind).to_owned(), bodies::content(kind, operation)));
        described["requestBody"] = json!({ "required": true, "content": Value::Object(content.collect()) });
    }
    described["responses"] = Value::Object(answers::responses(operation));
    described
}

#[cfg(test)]
mod tests {
    use super::*;

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
