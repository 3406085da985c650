//! A FHIR R4 Patient that has passed every rule that needs no other record.

use spine_proto::ids::NhsNumber;
use spine_statemachine::limits::RECORD_BYTES_MAX;

use super::rules::{PDS_1, PDS_2, PDS_3, PDS_4, PDS_5, PDS_6, PDS_7, PDS_8, PDS_9, PDS_10, PDS_14, PDS_15};
use crate::date::Span;
use crate::failure::Failure;
use crate::json::{self, Fault, FaultKind, Json};
use crate::reason;

/// Largest resource, in bytes: an update writes the new version and keeps the old one, and both must fit one
/// transaction with their keys and frames.
pub const PATIENT_BYTES_MAX: usize = RECORD_BYTES_MAX - 1_024;
/// Deepest nesting of a resource.
pub const JSON_DEPTH_MAX: usize = 32;
/// The system of identifiers that are NHS Numbers.
pub const NHS_NUMBER_SYSTEM: &str = "https://fhir.nhs.uk/Id/nhs-number";
/// Dates are of the United Kingdom, whose summer time is ahead of UTC: a child born at half past midnight in July
/// has a birth date that UTC has not reached.
const SUMMER_TIME_MS: i64 = 3_600_000;

/// Members that are arrays of objects.
pub(super) const LISTS: [&str; 7] = [
    "identifier",
    "name",
    "address",
    "telecom",
    "contact",
    "generalPractitioner",
    "extension",
];
/// The other members.
const SINGLES: [&str; 8] = [
    "resourceType",
    "id",
    "meta",
    "gender",
    "birthDate",
    "multipleBirthInteger",
    "deceasedDateTime",
    "managingOrganization",
];
/// Members of a FHIR Patient that PDS does not have: safe to name in a message, as other names may be anything.
const FHIR_ONLY: [&str; 12] = [
    "active",
    "communication",
    "contained",
    "deceasedBoolean",
    "implicitRules",
    "language",
    "link",
    "maritalStatus",
    "modifierExtension",
    "multipleBirthBoolean",
    "photo",
    "text",
];

/// A Patient resource within the rules.
pub struct Patient {
    nhs_number: NhsNumber,
    resource: Vec<(String, Json)>,
}

impl Patient {
    /// The NHS Number of a resource of which nothing else is known to be right: enough to route by.
    ///
    /// # Errors
    /// The first rule broken on the way to the id.
    pub fn nhs_number_of(body: &[u8]) -> Result<NhsNumber, Failure> {
        check_size(body.len())?;
        // Nearly every resource begins with its type and its id, and a parse costs as much as everything else here.
        match json::string_member(body, "id").and_then(|id| NhsNumber::parse(id).ok()) {
            Some(found) => Ok(found),
            None => nhs_number(&read(body)?),
        }
    }

    /// Checks a resource against the rules, as of `now_ms`.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn parse(body: &[u8], now_ms: i64) -> Result<Self, Failure> {
        let resource = read(body)?;
        check_resource_type(&resource)?;
        let nhs_number = nhs_number(&resource)?;
        check_members(&resource)?;
        check_types(&resource)?;
        check_identifiers(&resource, nhs_number)?;
        check_names(&resource)?;
        check_gender(&resource)?;
        let birth = check_birth(&resource, now_ms)?;
        check_death(&resource, birth, now_ms)?;
        let Json::Object(resource) = resource else {
            return Err(PDS_14.refuse("fhir_json", "the resource is not an object"));
        };
        Ok(Self { nhs_number, resource })
    }

    /// What is stored, or was read from it.
    pub(super) fn of_stored(nhs_number: NhsNumber, resource: Vec<(String, Json)>) -> Self {
        Self { nhs_number, resource }
    }

    /// The NHS Number.
    pub fn nhs_number(&self) -> NhsNumber {
        self.nhs_number
    }

    /// The members of the resource.
    pub(super) fn members(&self) -> &[(String, Json)] {
        &self.resource
    }

    pub(super) fn members_mut(&mut self) -> &mut Vec<(String, Json)> {
        &mut self.resource
    }

    /// The canonical JSON of this patient as version `version_id`.
    ///
    /// # Errors
    /// `PDS-4` where it would be too large.
    pub fn into_json(mut self, version_id: u32) -> Result<Vec<u8>, Failure> {
        let version = ("versionId".to_owned(), Json::String(version_id.to_string()));
        match self.resource.iter_mut().find(|(name, _)| name == "meta") {
            Some((_, Json::Object(meta))) => match meta.iter_mut().find(|(name, _)| name == "versionId") {
                Some(member) => *member = version,
                None => meta.insert(0, version),
            },
            // Behind id, where people look for it; `check_types` has seen that no other meta exists.
            Some(_) | None => {
                let at = self
                    .resource
                    .iter()
                    .position(|(name, _)| name == "id")
                    .map_or(0, |at| at + 1);
                self.resource
                    .insert(at, ("meta".to_owned(), Json::Object(vec![version])));
            }
        }
        let json = Json::Object(self.resource).to_bytes();
        check_size(json.len())?;
        Ok(json)
    }
}

pub(super) fn check_size(bytes: usize) -> Result<(), Failure> {
    if bytes <= PATIENT_BYTES_MAX {
        return Ok(());
    }
    Err(PDS_4.refuse(
        "fhir_json",
        format!("the resource has {bytes} bytes, more than {PATIENT_BYTES_MAX}"),
    ))
}

fn read(body: &[u8]) -> Result<Json, Failure> {
    check_size(body.len())?;
    read_nested(body, JSON_DEPTH_MAX, "fhir_json")
}

/// JSON of a request's `field`, nested at most `depth_max` deep.
///
/// # Errors
/// `PDS-5`, `PDS-15`, or what is malformed.
pub(super) fn read_nested(body: &[u8], depth_max: usize, field: &'static str) -> Result<Json, Failure> {
    json::parse(body, depth_max).map_err(|Fault { kind, offset }| match kind {
        FaultKind::TooDeep => PDS_5.refuse(field, format!("nested too deep at byte {offset}")),
        FaultKind::DuplicateMember => PDS_15.refuse(
            field,
            format!("the object that ends at byte {offset} has two members of one name"),
        ),
        FaultKind::NumberTooLong => Failure::invalid(
            reason::NUMBER_TOO_LONG,
            field,
            format!("number too long at byte {offset}"),
        ),
        FaultKind::Malformed => Failure::invalid(
            reason::MALFORMED_JSON,
            field,
            format!("not JSON at byte {offset}"),
        ),
        FaultKind::NotUtf8 => Failure::invalid(
            reason::MALFORMED_JSON,
            field,
            format!("not UTF-8 at byte {offset}"),
        ),
    })
}

fn text<'a>(resource: &'a Json, name: &str) -> Option<&'a str> {
    resource.member(name).and_then(Json::as_str)
}

fn list<'a>(resource: &'a Json, name: &str) -> &'a [Json] {
    resource.member(name).and_then(Json::as_array).unwrap_or_default()
}

fn check_resource_type(resource: &Json) -> Result<(), Failure> {
    if text(resource, "resourceType") == Some("Patient") {
        return Ok(());
    }
    Err(PDS_1.refuse("fhir_json.resourceType", "the resource is not a Patient"))
}

fn nhs_number(resource: &Json) -> Result<NhsNumber, Failure> {
    text(resource, "id")
        .and_then(|id| NhsNumber::parse(id).ok())
        .ok_or_else(|| PDS_2.refuse("fhir_json.id", "id is not a valid NHS Number"))
}

fn check_members(resource: &Json) -> Result<(), Failure> {
    for (at, (name, _)) in resource.as_object().unwrap_or_default().iter().enumerate() {
        let name = name.as_str();
        if LISTS.contains(&name) || SINGLES.contains(&name) {
            continue;
        }
        let known = FHIR_ONLY.into_iter().find(|known| *known == name);
        let message = known.map_or_else(
            || format!("member {} of the resource is not one of a PDS Patient", at + 1),
            |known| format!("a PDS Patient has no member {known}"),
        );
        return Err(PDS_9.refuse("fhir_json", message));
    }
    Ok(())
}

fn check_types(resource: &Json) -> Result<(), Failure> {
    for name in LISTS {
        let Some(value) = resource.member(name) else {
            continue;
        };
        let items = value.as_array();
        if items.is_none_or(|items| items.iter().any(|item| item.as_object().is_none())) {
            return Err(PDS_14.refuse(
                format!("fhir_json.{name}"),
                format!("{name} is not an array of objects"),
            ));
        }
        let mut ids = items
            .unwrap_or_default()
            .iter()
            .filter_map(|item| item.member("id"));
        if ids.any(|id| id.as_str().is_none()) {
            return Err(PDS_14.refuse(
                format!("fhir_json.{name}"),
                format!("the id of an item of {name} is not a string"),
            ));
        }
    }
    for name in ["meta", "managingOrganization"] {
        if resource
            .member(name)
            .is_some_and(|value| value.as_object().is_none())
        {
            return Err(PDS_14.refuse(format!("fhir_json.{name}"), format!("{name} is not an object")));
        }
    }
    match resource.member("multipleBirthInteger") {
        None => Ok(()),
        Some(Json::Number(digits)) if matches!(digits.as_bytes(), [b'1'..=b'9']) => Ok(()),
        Some(_) => Err(PDS_14.refuse(
            "fhir_json.multipleBirthInteger",
            "multipleBirthInteger is not 1 to 9",
        )),
    }
}

fn check_identifiers(resource: &Json, nhs_number: NhsNumber) -> Result<(), Failure> {
    for (at, identifier) in list(resource, "identifier").iter().enumerate() {
        if text(identifier, "system") != Some(NHS_NUMBER_SYSTEM) {
            continue;
        }
        let value = text(identifier, "value").and_then(|value| NhsNumber::parse(value).ok());
        if value != Some(nhs_number) {
            return Err(PDS_3.refuse(
                format!("fhir_json.identifier[{at}].value"),
                "the identifier is not the NHS Number of the id",
            ));
        }
    }
    Ok(())
}

fn check_names(resource: &Json) -> Result<(), Failure> {
    let says_something = |name: &Json| {
        let words = [text(name, "family"), text(name, "text")];
        let given = list(name, "given").iter().map(Json::as_str);
        words
            .into_iter()
            .chain(given)
            .flatten()
            .any(|word| !word.trim().is_empty())
    };
    let is_usual = |name: &&Json| text(name, "use") == Some("usual");
    if list(resource, "name").iter().filter(is_usual).any(says_something) {
        return Ok(());
    }
    Err(PDS_6.refuse("fhir_json.name", "no name is the usual one"))
}

fn check_gender(resource: &Json) -> Result<(), Failure> {
    if matches!(
        text(resource, "gender"),
        Some("male" | "female" | "other" | "unknown")
    ) {
        return Ok(());
    }
    Err(PDS_8.refuse("fhir_json.gender", "gender is not male, female, other or unknown"))
}

fn check_birth(resource: &Json, now_ms: i64) -> Result<Span, Failure> {
    let refuse = |message| Err(PDS_7.refuse("fhir_json.birthDate", message));
    match text(resource, "birthDate").and_then(Span::parse_date) {
        None => refuse("birthDate is not a date"),
        Some(birth) if birth.first_ms > now_ms.saturating_add(SUMMER_TIME_MS) => {
            refuse("birthDate is in the future")
        }
        Some(birth) => Ok(birth),
    }
}

pub(super) fn check_death(resource: &Json, birth: Span, now_ms: i64) -> Result<(), Failure> {
    let Some(value) = resource.member("deceasedDateTime") else {
        return Ok(());
    };
    let refuse = |message| Err(PDS_10.refuse("fhir_json.deceasedDateTime", message));
    let text = value.as_str().unwrap_or_default();
    // A date alone is of the United Kingdom, like the birth date; a time is of UTC and may fall on the day before.
    let slack_ms = if text.contains('T') { SUMMER_TIME_MS } else { 0 };
    match Span::parse_date_time(text) {
        None => refuse("deceasedDateTime is not a time"),
        Some(death) if death.first_ms > now_ms.saturating_add(SUMMER_TIME_MS) => {
            refuse("deceasedDateTime is in the future")
        }
        Some(death) if death.last_ms.saturating_add(slack_ms) < birth.first_ms => {
            refuse("deceasedDateTime is before birthDate")
        }
        Some(_) => Ok(()),
    }
}
