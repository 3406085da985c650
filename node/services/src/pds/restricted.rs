//! What callers of the national service do not see of a sensitive record.

use bytes::Bytes;

use super::patient::JSON_DEPTH_MAX;
use crate::error::{ErrorKind, SpineError};
use crate::json::{self, Json};
use crate::reason;

/// The system of `meta.security`.
pub(super) const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
/// Whereabouts, and what leads to them.
const HIDDEN: [&str; 4] = ["address", "telecom", "contact", "generalPractitioner"];
/// The ends of the urls of extensions that lead to them, too.
const HIDDEN_EXTENSIONS: [&str; 4] = [
    "UKCore-NominatedPharmacy",
    "UKCore-PreferredDispenserOrganization",
    "UKCore-MedicalApplianceSupplier",
    "patient-birthPlace",
];

/// A stored patient as a caller of the national service sees it: unrestricted ones as they are.
///
/// # Errors
/// `INVALIDATED_RESOURCE` for a record that nobody sees; `STORE_DAMAGED` where it is no JSON.
pub fn shown(fhir_json: Bytes) -> Result<Bytes, SpineError> {
    // Nearly every record is unrestricted, and a parse costs as much as all else here.
    let stored = std::str::from_utf8(&fhir_json).map_err(|_| damaged())?;
    if !["\"R\"", "\"V\"", "\"REDACTED\""]
        .iter()
        .any(|code| stored.contains(code))
    {
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

fn hide(patient: &mut Json) {
    let Json::Object(members) = patient else { return };
    members.retain(|(name, _)| !HIDDEN.contains(&name.as_str()));
    for (name, value) in members.iter_mut() {
        if let ("extension", Json::Array(extensions)) = (name.as_str(), value) {
            extensions.retain(|extension| {
                let url = extension.member("url").and_then(Json::as_str).unwrap_or_default();
                !HIDDEN_EXTENSIONS.iter().any(|end| url.ends_with(end))
            });
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
    use super::shown;

    fn patient(code: &str) -> String {
        format!(
            "{{\"id\":\"9000000025\",\"meta\":{{\"security\":[{{\"system\":\"{}\",\"code\":\"{code}\"}}]}},\
             \"name\":[],\"address\":[],\"telecom\":[],\"contact\":[],\"generalPractitioner\":[],\
             \"extension\":[{{\"url\":\"https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy\"}}]}}",
            super::CONFIDENTIALITY
        )
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

    #[test]
    fn a_code_elsewhere_hides_nothing() {
        let text = "{\"id\":\"1\",\"gender\":\"R\",\"address\":[]}";
        assert_eq!(shown(text.into()).unwrap(), text.as_bytes());
    }
}
