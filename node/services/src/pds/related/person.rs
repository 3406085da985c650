//! A FHIR R4 RelatedPerson that has passed every rule.

use spine_proto::ids::NhsNumber;

use super::RELATED_BYTES_MAX;
use crate::error::SpineError;
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::patient::{self, JSON_DEPTH_MAX, NHS_NUMBER_SYSTEM};
use crate::pds::rules::{PDS_61, PDS_62};
use crate::reason;

/// Members that are arrays of objects.
const LISTS: [&str; 6] = [
    "identifier",
    "relationship",
    "name",
    "telecom",
    "address",
    "extension",
];
/// The other members.
const SINGLES: [&str; 8] = [
    "resourceType",
    "id",
    "meta",
    "active",
    "patient",
    "gender",
    "birthDate",
    "period",
];
/// Names and addresses, each.
const ONE: usize = 1;
/// Contact points.
const TELECOMS_MAX: usize = 5;

/// The NHS Number that a resource says it belongs to, as it is written there: enough to route by.
///
/// # Errors
/// `MISSING_VALUE` where it refers to no patient; what is wrong with a body that cannot be read.
pub fn patient_of(body: &[u8]) -> Result<String, SpineError> {
    let resource = read(body)?;
    let reference = resource
        .member("patient")
        .and_then(|patient| patient.member("reference"));
    let reference = reference.and_then(Json::as_str).ok_or_else(|| {
        let message = "a related person refers to a patient";
        Failure::invalid(reason::MISSING_VALUE, "patient.reference", message)
    })?;
    Ok(reference.rsplit('/').next().unwrap_or_default().to_owned())
}

fn read(body: &[u8]) -> Result<Json, Failure> {
    check_size(body.len())?;
    patient::read_nested(body, JSON_DEPTH_MAX, "fhir_json")
}

fn check_size(bytes: usize) -> Result<(), Failure> {
    if bytes <= RELATED_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a related person has {bytes} bytes, more than {RELATED_BYTES_MAX}");
    Err(Failure::invalid(reason::RECORD_TOO_LARGE, "fhir_json", message))
}

/// The resource of `number` as it is stored.
///
/// # Errors
/// `RECORD_TOO_LARGE`, `PDS-61`, `PDS-62`
pub(super) fn stored(
    body: &[u8],
    nhs_number: NhsNumber,
    number: u32,
    version_id: u32,
) -> Result<Vec<u8>, Failure> {
    let resource = read(body)?;
    check(&resource)?;
    let Json::Object(mut members) = resource else {
        return Err(refused("", "the resource is not an object"));
    };
    check_patient(&members, nhs_number)?;
    let text = |name: &str, value: String| (name.to_owned(), Json::String(value));
    members.retain(|(name, _)| !["resourceType", "id", "meta", "patient"].contains(&name.as_str()));
    let own = [
        text("resourceType", "RelatedPerson".to_owned()),
        text("id", format!("{}-{number}", nhs_number.expose())),
        (
            "meta".to_owned(),
            Json::Object(vec![text("versionId", version_id.to_string())]),
        ),
        (
            "patient".to_owned(),
            Json::Object(vec![text(
                "reference",
                format!("Patient/{}", nhs_number.expose()),
            )]),
        ),
    ];
    members.splice(0..0, own);
    let json = Json::Object(members).to_bytes();
    check_size(json.len())?;
    Ok(json)
}

fn refused(member: &str, message: &'static str) -> Failure {
    let field = if member.is_empty() {
        "fhir_json".to_owned()
    } else {
        format!("fhir_json.{member}")
    };
    PDS_61.refuse(field, message)
}

fn check(resource: &Json) -> Result<(), Failure> {
    let list = |name: &str| resource.member(name).and_then(Json::as_array).unwrap_or_default();
    if resource.member("resourceType").and_then(Json::as_str) != Some("RelatedPerson") {
        return Err(refused("resourceType", "the resource is not a RelatedPerson"));
    }
    for (name, value) in resource.as_object().unwrap_or_default() {
        let name = name.as_str();
        if LISTS.contains(&name) {
            let items = value.as_array();
            if items.is_none_or(|items| items.iter().any(|item| item.as_object().is_none())) {
                return Err(refused(name, "not an array of objects"));
            }
        } else if !SINGLES.contains(&name) {
            return Err(refused("", "a member is not one of a related person"));
        }
    }
    if list("relationship").len() != ONE {
        return Err(refused("relationship", "a related person has one relationship"));
    }
    if list("name").len() > ONE || list("address").len() > ONE || list("telecom").len() > TELECOMS_MAX {
        let message = "a related person has one name, one address and five contact points at most";
        return Err(refused("", message));
    }
    match number(resource) {
        Some(own) if NhsNumber::parse(own).is_ok() => Ok(()),
        Some(_) => Err(refused("identifier", "the identifier is no NHS Number")),
        None if list("name").is_empty() || list("address").is_empty() => Err(refused(
            "name",
            "a related person has a name and an address, or an NHS Number",
        )),
        None => Ok(()),
    }
}

/// The own NHS Number of a related person.
pub(super) fn number(resource: &Json) -> Option<&str> {
    let identifiers = resource.member("identifier")?.as_array()?;
    let of_system = |one: &&Json| one.member("system").and_then(Json::as_str) == Some(NHS_NUMBER_SYSTEM);
    identifiers.iter().find(of_system)?.member("value")?.as_str()
}

/// # Errors
/// `PDS-62`
fn check_patient(members: &[(String, Json)], nhs_number: NhsNumber) -> Result<(), Failure> {
    let Some((_, patient)) = members.iter().find(|(name, _)| name == "patient") else {
        return Ok(());
    };
    let reference = patient.member("reference").and_then(Json::as_str);
    let named = reference.and_then(|reference| reference.rsplit('/').next());
    if named == Some(nhs_number.expose().as_str()) {
        return Ok(());
    }
    Err(PDS_62.refuse(
        "fhir_json.patient",
        "a related person is related to the patient whose they are",
    ))
}
