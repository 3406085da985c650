//! A related person as the national service shows them.

use bytes::Bytes;

use super::person;
use crate::error::{ErrorKind, SpineError};
use crate::json::{self, Json};
use crate::pds::patient::{JSON_DEPTH_MAX, NHS_NUMBER_SYSTEM};
use crate::reason;

/// `patient` says who they are themselves, where they have a number, and no more than that it is a patient where not.
///
/// # Errors
/// `STORE_DAMAGED` where it is no JSON.
pub fn national(fhir_json: &Bytes) -> Result<Vec<u8>, SpineError> {
    let resource = json::parse(fhir_json, JSON_DEPTH_MAX).map_err(|_| {
        SpineError::new(
            ErrorKind::Corrupt,
            reason::STORE_DAMAGED,
            "this replica holds what is no JSON",
        )
    })?;
    let own = person::number(&resource).map(str::to_owned);
    let Json::Object(mut members) = resource else {
        return Ok(fhir_json.to_vec());
    };
    members.retain(|(name, _)| name != "patient" && name != "identifier" && name != "meta");
    let text = |name: &str, value: String| (name.to_owned(), Json::String(value));
    // FHIR asks for it in every case.
    let mut patient = vec![text("type", "Patient".to_owned())];
    if let Some(own) = own {
        let system = text("system", NHS_NUMBER_SYSTEM.to_owned());
        let identifier = Json::Object(vec![system, text("value", own)]);
        patient.push(("identifier".to_owned(), identifier));
    }
    members.push(("patient".to_owned(), Json::Object(patient)));
    Ok(Json::Object(members).to_bytes())
}
