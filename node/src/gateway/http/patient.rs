//! One patient: read, put, patch.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1 as pb;
use spine_services::{ErrorKind, SpineError, reason};

use super::answer::{self, etag};
use super::ask::{ANY_VERSION, Ask, version_of};
use super::body::Read;
use super::routes::{Answer, Asked};
use super::{Dialect, Gate};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// Content types of a resource.
pub(super) const RESOURCE_TYPES: [&str; 2] = ["application/fhir+json", "application/json"];
/// The request id had taken effect before; this answer is that of the first time.
const REPLAYED: HeaderName = HeaderName::from_static("spine-replayed");

/// `GET Patient/{id}`
pub(super) async fn read(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    check_id(asked.segment(0))?;
    let patient = retrieve(&gate, &ask, asked.segment(0)).await?;
    Ok(patient_answer(StatusCode::OK, patient))
}

pub(super) async fn retrieve(gate: &Gate, ask: &Ask, id: &str) -> Result<pb::Patient, SpineError> {
    let request = pb::RetrieveRequest {
        nhs_number: id.to_owned(),
    };
    let answer: Result<pb::RetrieveResponse, SpineError> = gate.call("pds.retrieve", &request, ask).await;
    match answer {
        Ok(answer) => Ok(answer.patient.unwrap_or_default()),
        Err(error) => Err(of_read(error)),
    }
}

/// Nothing was to be changed, so where time ran out nothing needs the same request id.
pub(super) fn of_read(error: SpineError) -> SpineError {
    match error.kind {
        ErrorKind::DeadlineExceeded => {
            SpineError::new(ErrorKind::Invalid, reason::REQUEST_TIMED_OUT, error.message)
        }
        _ => error,
    }
}

/// `PUT Patient/{id}`: the next version, or the first one.
pub(super) async fn put(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    let id = asked.segment(0).to_owned();
    check_id(&id)?;
    let version_id = version_named(&ask, gate.dialect)?;
    if !RESOURCE_TYPES.contains(&ask.content_type.as_str()) {
        return Err(unsupported_type("application/fhir+json"));
    }
    let body = gate.bodies.read(asked.body, &gate.limits).await?;
    let request = pb::UpdateRequest {
        nhs_number: id.clone(),
        version_id: version_id.unwrap_or(ANY_VERSION),
        fhir_json: body.bytes.clone(),
        request_id: ask.request_id.clone(),
        any_version: version_id.is_none_or(|version| version == ANY_VERSION),
        may_create: version_id.is_none(),
        ..pb::UpdateRequest::default()
    };
    let changed: pb::UpdateResponse = gate.call("pds.update", &request, &ask).await?;
    let patient = changed.patient.unwrap_or_default();
    let version = patient.version_id;
    let status = if version == 1 {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = answer_change(status, patient, changed.replayed);
    if version == 1 {
        let location = format!("{}/Patient/{id}/_history/{version}", gate.base_url());
        answer::set(response.headers_mut(), header::LOCATION, location);
    }
    Ok(response)
}

/// `PATCH Patient/{id}`
pub(super) async fn patch(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    let id = asked.segment(0).to_owned();
    check_id(&id)?;
    // What is read counts as such until it is carried out.
    let (request, _body) = match patch_request(&gate, &ask, asked).await {
        Ok(read) => read,
        // Whether there is such a patient comes before what is wrong with the change.
        Err(error) if gate.dialect == Dialect::Pds && !error.kind.is_transient() => {
            retrieve(&gate, &ask, &id).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let changed: pb::PatchResponse = gate.call("pds.patch", &request, &ask).await?;
    let patient = changed.patient.unwrap_or_default();
    Ok(answer_change(StatusCode::OK, patient, changed.replayed))
}

async fn patch_request(gate: &Gate, ask: &Ask, asked: Asked) -> Result<(pb::PatchRequest, Read), SpineError> {
    let version_id = match (version_named(ask, gate.dialect)?, gate.dialect) {
        (Some(version), _) => version,
        (None, Dialect::Plain) => ANY_VERSION,
        (None, Dialect::Pds) => {
            return Err(SpineError::new(
                ErrorKind::Invalid,
                reason::PRECONDITION_FAILED,
                "Invalid request with error - If-Match header must be supplied to update this resource",
            ));
        }
    };
    let format = match (gate.dialect, ask.content_type.as_str()) {
        (Dialect::Pds, JSON_PATCH) => pb::PatchFormat::Pds,
        (Dialect::Plain, JSON_PATCH) => pb::PatchFormat::Json,
        (Dialect::Plain, MERGE_PATCH) => pb::PatchFormat::Merge,
        _ => return Err(unsupported_type(JSON_PATCH)),
    };
    let nhs_number = asked.segment(0).to_owned();
    let body = gate.bodies.read(asked.body, &gate.limits).await?;
    let request = pb::PatchRequest {
        nhs_number,
        version_id,
        patch: body.bytes.clone(),
        format: format.into(),
        request_id: ask.request_id.clone(),
        ..pb::PatchRequest::default()
    };
    Ok((request, body))
}

/// The answer to a change.
pub(super) fn answer_change(status: StatusCode, patient: pb::Patient, replayed: bool) -> Response<Body> {
    let mut response = patient_answer(status, patient);
    mark_replayed(&mut response, replayed);
    response
}

fn patient_answer(status: StatusCode, patient: pb::Patient) -> Response<Body> {
    let mut response = answer::resource(status, patient.fhir_json);
    answer::set(response.headers_mut(), header::ETAG, etag(patient.version_id));
    response
}

pub(super) fn mark_replayed(response: &mut Response<Body>, replayed: bool) {
    if replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
}

/// # Errors
/// `INVALID_NHS_NUMBER`
pub(super) fn check_id(id: &str) -> Result<(), SpineError> {
    match NhsNumber::parse(id) {
        Ok(_) => Ok(()),
        Err(error) => Err(SpineError::new(
            ErrorKind::Invalid,
            reason::INVALID_NHS_NUMBER,
            error.to_string(),
        )),
    }
}

/// What `If-Match` names, where there is one.
///
/// # Errors
/// `PRECONDITION_FAILED`
pub(super) fn version_named(ask: &Ask, dialect: Dialect) -> Result<Option<u32>, SpineError> {
    let Some(if_match) = &ask.if_match else {
        return Ok(None);
    };
    version_of(if_match, dialect).map(Some).ok_or_else(|| {
        SpineError::new(
            ErrorKind::Invalid,
            reason::PRECONDITION_FAILED,
            "Invalid request with error - If-Match header must be of the form W/\"3\"",
        )
    })
}

pub(super) fn unsupported_type(wanted: &'static str) -> SpineError {
    SpineError::new(
        ErrorKind::Invalid,
        reason::UNSUPPORTED_MEDIA_TYPE,
        format!("the content type is not {wanted}"),
    )
    .with_field("Content-Type")
}
