//! RelatedPersons: `Patient/{id}/RelatedPerson` in both dialects, and as resources of their own in the plain one.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use serde_json::json;
use spine_proto::pds::v1::{
    ListRelatedRequest, ListRelatedResponse, PutRelatedRequest, PutRelatedResponse, RelatedPerson,
};
use spine_services::pds::{related, search};
use spine_services::{ErrorKind, SpineError, reason};

use super::answer::{self, etag};
use super::ask::Ask;
use super::patient::{RESOURCE_TYPES, check_id, mark_replayed, unsupported_type, version_named};
use super::routes::{Answer, Asked};
use super::{Dialect, Gate};
use crate::clock::Clock as _;

/// `GET Patient/{id}/RelatedPerson`
pub(super) async fn of_patient(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    let number = asked.segment(0).to_owned();
    check_id(&number)?;
    all(&gate, &ask, &number).await
}

/// `GET RelatedPerson?patient=...`, in the plain dialect.
pub(super) async fn list(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    let mut parameters = form_urlencoded::parse(asked.query.as_bytes());
    let patient = match (parameters.next(), parameters.next()) {
        (Some((name, value)), None) if name == "patient" => value.into_owned(),
        _ => {
            let message = "related persons are searched for by patient, and by nothing else";
            return Err(SpineError::new(
                ErrorKind::Invalid,
                reason::INVALID_SEARCH_DATA,
                message,
            ));
        }
    };
    let number = patient.rsplit('/').next().unwrap_or_default();
    check_id(number)?;
    all(&gate, &ask, number).await
}

async fn all(gate: &Gate, ask: &Ask, nhs_number: &str) -> Answer {
    let request = ListRelatedRequest {
        nhs_number: nhs_number.to_owned(),
        ..ListRelatedRequest::default()
    };
    let found: ListRelatedResponse = gate.call("pds.list_related", &request, ask).await?;
    let entries: Result<Vec<String>, SpineError> = found.related.iter().map(|one| entry(gate, one)).collect();
    let entries = entries?;
    let now = json!(search::timestamp(gate.http.node.clock.now_ms()));
    let (total, entries) = (entries.len(), answer::entries(&entries));
    Ok(answer::resource(
        StatusCode::OK,
        format!(
            r#"{{"resourceType":"Bundle","type":"searchset","timestamp":{now},"total":{total}{entries}}}"#
        ),
    ))
}

fn entry(gate: &Gate, one: &RelatedPerson) -> Result<String, SpineError> {
    let id = id_of(one);
    let (url, resource) = match gate.dialect {
        Dialect::Plain => (format!("RelatedPerson/{id}"), one.fhir_json.to_vec()),
        Dialect::Pds => (
            format!("Patient/{}/RelatedPerson/{id}", one.nhs_number),
            related::national(&one.fhir_json)?,
        ),
    };
    let resource = String::from_utf8(resource).map_err(|_| {
        let message = "this replica holds what is no text";
        SpineError::new(ErrorKind::Corrupt, reason::STORE_DAMAGED, message)
    })?;
    let full_url = json!(format!("{}/{url}", gate.base_url()));
    Ok(format!(
        r#"{{"fullUrl":{full_url},"search":{{"mode":"match"}},"resource":{resource}}}"#
    ))
}

/// `GET RelatedPerson/{id}`, and `.../_history/{version}`
pub(super) async fn read(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    let (nhs_number, number) = parts_of(asked.segment(0))?;
    let version_id = match asked.segment(1) {
        "" => 0,
        text => text
            .parse()
            .ok()
            .filter(|version| *version > 0)
            .ok_or_else(not_found)?,
    };
    let request = ListRelatedRequest {
        nhs_number: nhs_number.clone(),
        number,
        version_id,
    };
    let found: ListRelatedResponse = gate.call("pds.list_related", &request, &ask).await?;
    // As in a list: nobody is shown who leads to somebody sensitive.
    let one = found.related.into_iter().next().ok_or_else(not_found)?;
    if one.fhir_json.is_empty() {
        let message = "the related person was removed";
        return Err(SpineError::new(
            ErrorKind::NotFound,
            reason::INVALIDATED_RESOURCE,
            message,
        ));
    }
    Ok(shown(StatusCode::OK, &one))
}

/// `POST RelatedPerson`: the patient is the one that the resource refers to.
pub(super) async fn create(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    check_type(&ask)?;
    let body = gate.bodies.read(asked.body, &gate.limits).await?;
    let nhs_number = related::patient_of(&body.bytes)?;
    check_id(&nhs_number)?;
    let request = PutRelatedRequest {
        nhs_number,
        fhir_json: body.bytes.clone(),
        request_id: ask.request_id.clone(),
        ..PutRelatedRequest::default()
    };
    let done: PutRelatedResponse = gate.call("pds.put_related", &request, &ask).await?;
    let one = done.related.unwrap_or_default();
    let mut response = shown(StatusCode::CREATED, &one);
    let location = format!(
        "{}/RelatedPerson/{}/_history/{}",
        gate.base_url(),
        id_of(&one),
        one.version_id
    );
    answer::set(response.headers_mut(), header::LOCATION, location);
    mark_replayed(&mut response, done.replayed);
    Ok(response)
}

/// `PUT RelatedPerson/{id}`: the next version of one that there is.
pub(super) async fn put(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    let (nhs_number, number) = parts_of(asked.segment(0))?;
    let version_id = version_named(&ask, gate.dialect)?;
    check_type(&ask)?;
    let body = gate.bodies.read(asked.body, &gate.limits).await?;
    let request = PutRelatedRequest {
        nhs_number,
        number,
        version_id: version_id.unwrap_or(0),
        fhir_json: body.bytes.clone(),
        request_id: ask.request_id.clone(),
        ..PutRelatedRequest::default()
    };
    let done: PutRelatedResponse = gate.call("pds.put_related", &request, &ask).await?;
    let mut response = shown(StatusCode::OK, &done.related.unwrap_or_default());
    mark_replayed(&mut response, done.replayed);
    Ok(response)
}

/// `DELETE RelatedPerson/{id}`
pub(super) async fn delete(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    let (nhs_number, number) = parts_of(asked.segment(0))?;
    let version_id = version_named(&ask, gate.dialect)?;
    let request = PutRelatedRequest {
        nhs_number,
        number,
        version_id: version_id.unwrap_or(0),
        remove: true,
        request_id: ask.request_id.clone(),
        ..PutRelatedRequest::default()
    };
    let done: PutRelatedResponse = gate.call("pds.put_related", &request, &ask).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    mark_replayed(&mut response, done.replayed);
    Ok(response)
}

fn check_type(ask: &Ask) -> Result<(), SpineError> {
    if RESOURCE_TYPES.contains(&ask.content_type.as_str()) {
        return Ok(());
    }
    Err(unsupported_type("application/fhir+json"))
}

fn shown(status: StatusCode, one: &RelatedPerson) -> Response<Body> {
    let mut response = answer::resource(status, one.fhir_json.clone());
    answer::set(response.headers_mut(), header::ETAG, etag(one.version_id));
    response
}

/// The NHS Number of the patient, a hyphen, and which of theirs it is.
fn id_of(one: &RelatedPerson) -> String {
    format!("{}-{}", one.nhs_number, one.number)
}

fn parts_of(id: &str) -> Result<(String, u32), SpineError> {
    let (nhs_number, number) = id.split_once('-').ok_or_else(not_found)?;
    let number = number.parse().ok().filter(|number| *number > 0);
    check_id(nhs_number).map_err(|_| not_found())?;
    Ok((nhs_number.to_owned(), number.ok_or_else(not_found)?))
}

fn not_found() -> SpineError {
    let message = "there is no such related person";
    SpineError::new(ErrorKind::NotFound, reason::RELATED_NOT_FOUND, message)
}
