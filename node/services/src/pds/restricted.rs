//! What callers do not see of a sensitive record. Operations answer without it (`row.rs`), so that no transport shows it.

use bytes::Bytes;

use super::patient::JSON_DEPTH_MAX;
use super::rules::PDS_64;
use crate::error::{ErrorKind, SpineError};
use crate::failure::Failure;
use crate::json::{self, Json};
use crate::reason;

/// The system of `meta.security`.
pub(super) const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
/// Whereabouts, and what leads to them.
pub const HIDDEN: [&str; 4] = ["address", "telecom", "contact", "generalPractitioner"];
/// The ends of the urls of extensions that lead to them, too.
pub const HIDDEN_EXTENSIONS: [&str; 4] = [
    "UKCore-NominatedPharmacy",
    "UKCore-PreferredDispenserOrganization",
    "UKCore-MedicalApplianceSupplier",
    "patient-birthPlace",
];

/// A stored patient as a caller sees it: unrestricted ones as they are.
///
/// # Errors
/// `INVALIDATED_RESOURCE` for a record that nobody sees; `STORE_DAMAGED` where it is no JSON.
pub fn shown(fhir_json: Bytes) -> Result<Bytes, SpineError> {
    let stored = std::str::from_utf8(&fhir_json).map_err(|_| damaged())?;
    if !says_more(stored) {
        return Ok(fhir_json);
    }
    let mut patient = json::parse(&fhir_json, JSON_DEPTH_MAX).map_err(|_| damaged())?;
    match confidentiality(&patient) {
        Some("R" | "V") => {
            hide(&mut patient);
            Ok(patient.to_bytes().into())
        }
        Some("REDACTED") => {
            let message = "the record was marked as invalid";
            Err(SpineError::new(
                ErrorKind::NotFound,
                reason::INVALIDATED_RESOURCE,
                message,
            ))
        }
        _ => Ok(fhir_json),
    }
}

/// Whether, by the current version of a patient, all versions hide where somebody was: of who is sensitive now, and of who
/// is shown to nobody, as it is not known here what they were.
///
/// # Errors
/// `STORE_DAMAGED` where it is no JSON.
pub(super) fn hides_versions(current: &Bytes) -> Result<bool, SpineError> {
    let stored = std::str::from_utf8(current).map_err(|_| damaged())?;
    if !says_more(stored) {
        return Ok(false);
    }
    let patient = json::parse(current, JSON_DEPTH_MAX).map_err(|_| damaged())?;
    Ok(is_marked(&patient))
}

/// Whether a record that was read hides where the patient is.
pub(super) fn is_restricted_record(patient: &Json) -> bool {
    matches!(confidentiality(patient), Some("R" | "V"))
}

/// Sensitive, or invalid.
fn is_marked(patient: &Json) -> bool {
    matches!(confidentiality(patient), Some("R" | "V" | "REDACTED"))
}

/// Whether this member of a sensitive record is shown to nobody, in part or whole.
pub(super) fn hides(member: &str) -> bool {
    member == "extension" || HIDDEN.contains(&member)
}

/// A version of a patient as a caller sees it: without whereabouts where it says itself that it is sensitive or invalid,
/// and where `is_hidden`, as where somebody lived before leads to them as well.
///
/// # Errors
/// `STORE_DAMAGED` where it is no JSON.
pub fn version_shown(fhir_json: Bytes, is_hidden: bool) -> Result<Bytes, SpineError> {
    let stored = std::str::from_utf8(&fhir_json).map_err(|_| damaged())?;
    if !is_hidden && !says_more(stored) {
        return Ok(fhir_json);
    }
    let mut patient = json::parse(&fhir_json, JSON_DEPTH_MAX).map_err(|_| damaged())?;
    if !is_hidden && !is_marked(&patient) {
        return Ok(fhir_json);
    }
    hide(&mut patient);
    Ok(patient.to_bytes().into())
}

/// Whether a record may be more than an unrestricted one. Nearly none is, and a parse costs as much as all else here.
fn says_more(stored: &str) -> bool {
    let codes = ["\"R\"", "\"V\"", "\"REDACTED\""];
    codes.iter().any(|code| stored.contains(code))
}

/// The code of `meta.security`.
pub(super) fn confidentiality(patient: &Json) -> Option<&str> {
    code_of(patient.member("meta")?)
}

/// The code that `meta` has.
pub(super) fn code_of(meta: &Json) -> Option<&str> {
    let security = meta.member("security")?.as_array()?;
    let of_system = |coding: &&Json| coding.member("system").and_then(Json::as_str) == Some(CONFIDENTIALITY);
    security.iter().find(of_system)?.member("code")?.as_str()
}

/// Whoever sends a whole record was not shown what a restricted one hides: that stays as it was.
///
/// # Errors
/// `PDS-64` where something is said of it: that would take the place of what its sender does not know.
pub(super) fn keep_hidden(before: &Json, members: &mut Vec<(String, Json)>) -> Result<(), Failure> {
    if !is_restricted_record(before) {
        return Ok(());
    }
    if says_hidden(members) {
        let message = "what a sensitive record does not show is not changed";
        return Err(PDS_64.update("fhir_json", message));
    }
    for name in HIDDEN {
        if let Some(hidden) = before.member(name) {
            // An empty list says nothing.
            members.retain(|(known, _)| known != name);
            members.push((name.to_owned(), hidden.clone()));
        }
    }
    keep_hidden_extensions(before, members);
    Ok(())
}

/// Whether anything is said of what a restricted record hides.
fn says_hidden(members: &[(String, Json)]) -> bool {
    members.iter().any(|(name, value)| match name.as_str() {
        "extension" => items(value).iter().any(is_hidden),
        name => HIDDEN.contains(&name) && !items(value).is_empty(),
    })
}

fn keep_hidden_extensions(before: &Json, members: &mut Vec<(String, Json)>) {
    let known = before.member("extension").map(items).unwrap_or_default().iter();
    let kept: Vec<Json> = known.filter(|extension| is_hidden(extension)).cloned().collect();
    match members.iter_mut().find(|(name, _)| name == "extension") {
        Some((_, Json::Array(extensions))) => extensions.extend(kept),
        // What is no list was refused before.
        Some(_) => {}
        None if kept.is_empty() => {}
        None => members.push(("extension".to_owned(), Json::Array(kept))),
    }
}

fn items(list: &Json) -> &[Json] {
    list.as_array().unwrap_or_default()
}

fn url(extension: &Json) -> &str {
    extension.member("url").and_then(Json::as_str).unwrap_or_default()
}

/// Whether an extension leads to the patient.
fn is_hidden(extension: &Json) -> bool {
    HIDDEN_EXTENSIONS.iter().any(|end| url(extension).ends_with(end))
}

fn hide(patient: &mut Json) {
    let Json::Object(members) = patient else { return };
    members.retain(|(name, _)| !HIDDEN.contains(&name.as_str()));
    for (name, value) in members.iter_mut() {
        if let ("extension", Json::Array(extensions)) = (name.as_str(), value) {
            extensions.retain(|extension| !is_hidden(extension));
        }
    }
    members.retain(|(name, value)| {
        name != "extension" || value.as_array().is_none_or(|items| !items.is_empty())
    });
}

fn damaged() -> SpineError {
    SpineError::new(
        ErrorKind::Corrupt,
        reason::STORE_DAMAGED,
        "this replica holds what is no JSON",
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{hides_versions, keep_hidden, shown, version_shown};
    use crate::failure::Failure;
    use crate::json::{self, Json, same};

    fn patient(code: &str) -> String {
        format!(
            "{{\"id\":\"9000000025\",\"meta\":{{\"security\":[{{\"system\":\"{}\",\"code\":\"{code}\"}}]}},\
             \"name\":[],\"address\":[{{\"id\":\"a\"}}],\"telecom\":[{{\"id\":\"t\"}}],\"contact\":[{{\"id\":\"c\"}}],\
             \"generalPractitioner\":[{{\"id\":\"g\"}}],\
             \"extension\":[{{\"url\":\"https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy\"}}]}}",
            super::CONFIDENTIALITY
        )
    }

    /// Whether an older version says where somebody was.
    fn tells(code: &str, is_hidden: bool) -> bool {
        let shown = version_shown(patient(code).into(), is_hidden).unwrap();
        String::from_utf8(shown.to_vec()).unwrap().contains("address")
    }

    #[test]
    fn versions_tell_what_they_may_now() {
        assert!(tells("U", false));
        assert!(!tells("U", true), "it is sensitive now");
        for code in ["R", "V", "REDACTED"] {
            assert!(!tells(code, false) && !tells(code, true), "{code}");
        }
    }

    #[test]
    fn all_versions_hide_where_somebody_was_who_is_sensitive_or_invalid_now() {
        for (code, hides) in [("U", false), ("R", true), ("V", true), ("REDACTED", true)] {
            let current = Bytes::from(patient(code));
            assert_eq!(hides_versions(&current).ok(), Some(hides), "{code}");
        }
        assert!(hides_versions(&Bytes::from_static(b"\"R\"")).is_ok_and(|hides| !hides));
        assert!(hides_versions(&Bytes::from_static(b"\"R\" and no more")).is_err());
    }

    fn see(code: &str) -> Result<String, String> {
        let seen = shown(patient(code).into()).map_err(|error| error.reason.into_owned())?;
        Ok(String::from_utf8(seen.to_vec()).unwrap())
    }

    #[test]
    fn a_sensitive_record_does_not_say_where_the_patient_is() {
        assert_eq!(see("U"), Ok(patient("U")));
        let seen = see("R").unwrap();
        assert!(seen.contains("\"name\"") && seen.contains("9000000025"));
        for hidden in [
            "address",
            "telecom",
            "contact",
            "generalPractitioner",
            "Pharmacy",
            "extension",
        ] {
            assert!(!seen.contains(hidden), "{hidden}");
        }
        assert_eq!(see("REDACTED"), Err("INVALIDATED_RESOURCE".to_owned()));
    }

    fn parse(text: &str) -> Json {
        json::parse(text.as_bytes(), 32).unwrap()
    }

    /// What is stored where this is sent as a whole record.
    fn kept(code: &str, sent: &str) -> Result<Json, Failure> {
        let Json::Object(mut members) = parse(sent) else {
            panic!("an object")
        };
        keep_hidden(&parse(&patient(code)), &mut members)?;
        Ok(Json::Object(members))
    }

    #[test]
    fn what_was_not_shown_is_not_taken_away() {
        let before = parse(&patient("R"));
        for sent in [
            "{\"name\":[]}",
            "{\"name\":[],\"extension\":[{\"url\":\"urn:other\"}]}",
            "{\"name\":[],\"address\":[],\"telecom\":[],\"contact\":[],\"generalPractitioner\":[],\"extension\":[]}",
        ] {
            let stored = kept("R", sent).unwrap();
            for member in ["name", "address", "telecom", "contact", "generalPractitioner"] {
                let (now, before) = (stored.member(member).unwrap(), before.member(member).unwrap());
                assert!(same(now, before), "{member}");
            }
            let extensions = stored.member("extension").unwrap().to_bytes();
            assert!(
                String::from_utf8(extensions)
                    .unwrap()
                    .contains("NominatedPharmacy")
            );
            assert!(same(&kept("U", sent).unwrap(), &parse(sent)));
        }
    }

    /// Whoever adds a telephone number to none, as far as they were shown, would remove all that there are.
    #[test]
    fn what_was_not_shown_is_not_said_either() {
        for sent in [
            "{\"address\":[{\"id\":\"a\"}]}",
            "{\"telecom\":[{\"value\":\"0\"}]}",
            "{\"contact\":[{}]}",
            "{\"generalPractitioner\":[{}]}",
            "{\"extension\":[{\"url\":\"urn:other\"},{\"url\":\"http://hl7.org/fhir/StructureDefinition/patient-birthPlace\"}]}",
        ] {
            let refused = kept("R", sent).err();
            assert!(
                matches!(refused, Some(Failure::Rejection { rule: "PDS-64", .. })),
                "{sent}"
            );
            assert!(same(&kept("U", sent).unwrap(), &parse(sent)));
        }
    }

    #[test]
    fn a_code_elsewhere_hides_nothing() {
        let text = "{\"id\":\"1\",\"gender\":\"R\",\"address\":[]}";
        assert_eq!(shown(text.into()).unwrap(), text.as_bytes());
    }
}
