//! How confidential a record is, as `meta.security` says it.

use crate::failure::Failure;
use crate::json::Json;
use crate::pds::patient::Patient;
use crate::pds::restricted::{self, CONFIDENTIALITY};
use crate::pds::rules::PDS_58;

/// Everybody may see all of it.
pub(in crate::pds) const UNRESTRICTED: &str = "U";
/// Where the patient is, is hidden.
pub(in crate::pds) const RESTRICTED: &str = "R";
/// Nobody sees any of it.
pub(in crate::pds) const INVALID: &str = "REDACTED";

/// The code that the members of a resource have.
pub(in crate::pds) fn of_members(members: &[(String, Json)]) -> Option<&str> {
    let (_, meta) = members.iter().find(|(name, _)| name == "meta")?;
    restricted::code_of(meta)
}

/// Sets it, and leaves what else `meta` says.
pub(in crate::pds) fn set(members: &mut Vec<(String, Json)>, code: &str) {
    let text = |name: &str, value: &str| (name.to_owned(), Json::String(value.to_owned()));
    let display = match code {
        RESTRICTED => "restricted",
        INVALID => "redacted",
        _ => "unrestricted",
    };
    let coding = Json::Object(vec![
        text("system", CONFIDENTIALITY),
        text("code", code),
        text("display", display),
    ]);
    let security = Json::Array(vec![coding]);
    put_security(members, security);
}

fn put_security(members: &mut Vec<(String, Json)>, security: Json) {
    let security = ("security".to_owned(), security);
    match members.iter_mut().find(|(name, _)| name == "meta") {
        Some((_, Json::Object(meta))) => match meta.iter_mut().find(|(name, _)| name == "security") {
            Some(member) => *member = security,
            None => meta.push(security),
        },
        Some((_, meta)) => *meta = Json::Object(vec![security]),
        None => {
            let behind_id = members
                .iter()
                .position(|(name, _)| name == "id")
                .map_or(0, |at| at + 1);
            members.insert(behind_id, ("meta".to_owned(), Json::Object(vec![security])));
        }
    }
}

/// Whoever sends a whole record and says nothing of it leaves it as it is.
///
/// # Errors
/// `PDS-58` where something else is said.
pub(in crate::pds) fn keep(before: &Json, patient: &mut Patient) -> Result<(), Failure> {
    let was = restricted::confidentiality(before).unwrap_or(UNRESTRICTED);
    if let Some(code) = of_members(patient.members()) {
        if code == was {
            return Ok(());
        }
    } else if let Some(security) = before.member("meta").and_then(|meta| meta.member("security")) {
        put_security(patient.members_mut(), security.clone());
        return Ok(());
    } else {
        return Ok(());
    }
    Err(PDS_58.update(
        "meta.security",
        "how confidential a record is, is not part of an update",
    ))
}
