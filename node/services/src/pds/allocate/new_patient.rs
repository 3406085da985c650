//! What is said of somebody who is to be created: a Patient that has no number yet.

use spine_proto::ids::NhsNumber;

use crate::authorise::Principal;
use crate::context::Context;
use crate::date::Span;
use crate::error::ErrorKind;
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::patch;
use crate::pds::patient::{self, JSON_DEPTH_MAX, NHS_NUMBER_SYSTEM, Patient};
use crate::pds::person::confidentiality;
use crate::pds::rules::{PDS_48, PDS_49, PDS_50, PDS_51};
use crate::reason;
use crate::view::View;

/// Members of a new patient in the national format.
const MEMBERS: [&str; 7] = [
    "resourceType",
    "name",
    "gender",
    "birthDate",
    "address",
    "telecom",
    "extension",
];
/// The end of the url of the extension that says who registers a patient.
const REGISTERING_AUTHORITY: &str = "UKCore-RegisteringAuthority";
const VERIFICATION: &str =
    "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus";
const VERIFICATION_SYSTEM: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-NHSNumberVerificationStatus";
/// Stands for the number while there is none; its check digit is right.
const NO_NUMBER: &str = "9000000009";
/// Bytes of a full date.
const DAY_BYTES: usize = 10;

/// A new patient within the rules that need no other record.
pub(super) struct NewPatient {
    /// The members, without `id`.
    members: Vec<(String, Json)>,
    national: bool,
    /// The number that the caller says the patient has.
    pub(super) nhs_number: Option<String>,
    pub(super) birth_date: String,
}

impl NewPatient {
    /// # Errors
    /// The first rule broken.
    pub(super) fn read(body: &[u8], national: bool, now_ms: i64) -> Result<Self, Failure> {
        patient::check_size(body.len())?;
        let resource = patient::read_nested(body, JSON_DEPTH_MAX, "fhir_json")?;
        let Json::Object(mut members) = resource else {
            return Err(PDS_50.refuse("fhir_json", "the resource is not an object"));
        };
        if national {
            check_national(&members)?;
        } else {
            // The server gives both.
            members.retain(|(name, _)| name != "id");
        }
        let nhs_number = number_of(&members);
        let new = Self {
            birth_date: text(&members, "birthDate").unwrap_or_default().to_owned(),
            members,
            national,
            nhs_number,
        };
        let number = new.nhs_number.as_deref().unwrap_or(NO_NUMBER);
        Patient::parse(&new.with_id(number).to_bytes(), now_ms)?;
        Ok(new)
    }

    /// Checks what needs no number and no other record, before anything is claimed for the patient.
    ///
    /// # Errors
    /// The first rule of changes broken.
    pub(super) fn check(&self, principal: &Principal, now_ms: i64) -> Result<(), Failure> {
        // The ids are not kept.
        self.completed(NO_NUMBER, principal, now_ms, [0; 32]).map(drop)
    }

    /// Whether another service has held the record so far, which is then taken as it is (`pds.update`).
    fn comes_with_number(&self) -> bool {
        !self.national && self.nhs_number.is_some()
    }

    /// With what the service adds to a change, and within the rules of changes: all of it is new.
    fn completed(
        &self,
        number: &str,
        principal: &Principal,
        now_ms: i64,
        entropy: [u8; 32],
    ) -> Result<Json, Failure> {
        let mut resource = self.with_id(number);
        if !self.comes_with_number() {
            patch::complete_new(&mut resource, self.national, principal, now_ms, entropy)
                .map_err(|failure| self.as_create(failure))?;
        }
        Ok(resource)
    }

    fn with_id(&self, number: &str) -> Json {
        let mut members = self.members.clone();
        let at = usize::from(members.first().is_some_and(|(name, _)| name == "resourceType"));
        members.insert(at, ("id".to_owned(), Json::String(number.to_owned())));
        Json::Object(members)
    }

    /// The resource as it stands under its number, whose shard the view is of.
    ///
    /// # Errors
    /// The first rule of changes broken.
    pub(super) fn under(
        &self,
        view: &mut View<'_>,
        nhs_number: NhsNumber,
        context: &Context,
    ) -> Result<Json, Failure> {
        let number = nhs_number.expose();
        let mut resource = self.completed(&number, &context.principal, context.now_ms, context.entropy)?;
        patch::check_organisations(view, &resource).map_err(|failure| self.as_create(failure))?;
        if let Json::Object(members) = &mut resource {
            identify(members, &number);
            if confidentiality::of_members(members).is_none() {
                confidentiality::set(members, confidentiality::UNRESTRICTED);
            }
        }
        Ok(resource)
    }

    /// The resource, as far as it is known before it has a number.
    pub(super) fn resource(&self) -> Json {
        Json::Object(self.members.clone())
    }

    /// A broken rule of changes, told of a create; in the national dialect all of them are one rule.
    fn as_create(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Rejection {
                rule, message, field, ..
            } => {
                let what = message
                    .split_once(" error - ")
                    .map_or(&*message, |(_, what)| what);
                let message = format!("Invalid create with error - {what}");
                if self.national {
                    return PDS_50.refuse(field, message);
                }
                Failure::Rejection {
                    rule,
                    reason: reason::INVALID_CREATE,
                    message: message.into(),
                    field,
                    kind: ErrorKind::Invalid,
                }
            }
            Failure::Invalid { field, message, .. } if self.national => {
                Failure::invalid(reason::INVALID_CREATE, field, message)
            }
            failure @ (Failure::Invalid { .. } | Failure::Read(_)) => failure,
        }
    }
}

fn text<'a>(members: &'a [(String, Json)], name: &str) -> Option<&'a str> {
    member(members, name).and_then(Json::as_str)
}

fn member<'a>(members: &'a [(String, Json)], name: &str) -> Option<&'a Json> {
    let mut found = members.iter().filter(|(known, _)| known == name);
    found.next().map(|(_, value)| value)
}

/// The number that an identifier says.
fn number_of(members: &[(String, Json)]) -> Option<String> {
    let identifiers = member(members, "identifier")?.as_array()?;
    let of_system = |one: &&Json| one.member("system").and_then(Json::as_str) == Some(NHS_NUMBER_SYSTEM);
    let value = identifiers.iter().find(of_system)?.member("value")?.as_str()?;
    Some(value.to_owned())
}

/// Whoever has a number is found by it.
fn identify(members: &mut Vec<(String, Json)>, number: &str) {
    if number_of(members).is_some() {
        return;
    }
    let text = |name: &str, value: &str| (name.to_owned(), Json::String(value.to_owned()));
    let coding = Json::Object(vec![
        text("system", VERIFICATION_SYSTEM),
        text("version", "1.0.0"),
        text("code", "01"),
        text("display", "Number present and verified"),
    ]);
    let concept = Json::Object(vec![("coding".to_owned(), Json::Array(vec![coding]))]);
    let verified = Json::Object(vec![
        text("url", VERIFICATION),
        ("valueCodeableConcept".to_owned(), concept),
    ]);
    let identifier = Json::Object(vec![
        ("extension".to_owned(), Json::Array(vec![verified])),
        text("system", NHS_NUMBER_SYSTEM),
        text("value", number),
    ]);
    match members.iter_mut().find(|(name, _)| name == "identifier") {
        Some((_, Json::Array(identifiers))) => identifiers.push(identifier),
        _ => {
            let behind_id = members
                .iter()
                .position(|(name, _)| name == "id")
                .map_or(0, |at| at + 1);
            let identifiers = ("identifier".to_owned(), Json::Array(vec![identifier]));
            members.insert(behind_id, identifiers);
        }
    }
}

/// # Errors
/// `PDS-48` to `PDS-51`
fn check_national(members: &[(String, Json)]) -> Result<(), Failure> {
    if members.iter().any(|(name, _)| !MEMBERS.contains(&name.as_str())) {
        let message = "Invalid create with error - Additional properties should not be included";
        return Err(PDS_51.refuse("fhir_json", message));
    }
    let list = |name| member(members, name).and_then(Json::as_array).unwrap_or_default();
    for name in ["name", "gender", "birthDate", "address", "extension"] {
        let empty = matches!(member(members, name), Some(Json::Array(items)) if items.is_empty());
        if empty || member(members, name).is_none() {
            return Err(missing(name));
        }
    }
    if list("address")
        .iter()
        .any(|address| address.member("period").is_none())
    {
        return Err(missing("address/0/period"));
    }
    let registers = |extension: &Json| {
        let url = extension.member("url").and_then(Json::as_str).unwrap_or_default();
        url.ends_with(REGISTERING_AUTHORITY)
    };
    if !list("extension").iter().any(registers) {
        return Err(missing("extension/RegisteringAuthority"));
    }
    let usage = |name: &Json| name.member("use").and_then(Json::as_str).map(str::to_owned);
    if list("name").len() != 1
        || list("name")
            .iter()
            .any(|name| usage(name).as_deref() != Some("usual"))
    {
        let message = "Invalid create with error - a new patient has one name, the usual one";
        return Err(PDS_49.refuse("fhir_json.name", message));
    }
    let day = text(members, "birthDate").unwrap_or_default();
    if day.len() != DAY_BYTES || Span::parse_date(day).is_none() {
        let message = "Invalid create with error - birthDate is not a day";
        return Err(PDS_50.refuse("fhir_json.birthDate", message));
    }
    Ok(())
}

fn missing(what: &str) -> Failure {
    PDS_48.refuse(format!("fhir_json.{what}"), format!("Missing value - '{what}'"))
}
