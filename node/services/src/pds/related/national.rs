//! A related person as the national service shows them.

use bytes::Bytes;

use super::person;
use crate::error::{ErrorKind, SpineError};
use crate::json::{self, Json};
use crate::pds::patient::{JSON_DEPTH_MAX, NHS_NUMBER_SYSTEM};
use crate::reason;

/// `patient` is who they are themselves, where they have a number.
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
    if let Some(own) = own {
        let text = |name: &str, value: String| (name.to_owned(), Json::String(value));
        let identifier = Json::Object(vec![
            text("system", NHS_NUMBER_SYSTEM.to_owned()),
            text("value", own),
        ]);
        let patient = Json::Object(vec![
            text("type", "Patient".to_owned()),
            ("identifier".to_owned(), identifier),
        ]);
        members.push(("patient".to_owned(), patient));
    }
    Ok(Json::Object(members).to_bytes())
}
