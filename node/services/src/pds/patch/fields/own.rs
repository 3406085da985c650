//! What patients change of their own records.

use super::super::changes::{Changes, text};
use crate::authorise::Principal;
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::access::Mode;
use crate::pds::rules::PDS_46;

const MEMBERS: [&str; 3] = ["address", "telecom", "contact"];
/// The ends of the urls of extensions.
const EXTENSIONS: [&str; 3] = [
    "UKCore-NominatedPharmacy",
    "UKCore-NHSCommunication",
    "patient-birthPlace",
];

/// # Errors
/// `PDS-46`
pub(super) fn check(changes: &Changes<'_>, principal: &Principal) -> Result<(), Failure> {
    if Mode::of(principal) != Mode::Patient {
        return Ok(());
    }
    let members = [changes.before, changes.after]
        .into_iter()
        .flat_map(|patient| patient.as_object().unwrap_or_default());
    for (name, _) in members {
        let name = name.as_str();
        if changes.of(name) && name != "extension" && !MEMBERS.contains(&name) {
            return Err(PDS_46.update("patch", "a patient may not change this part of the record"));
        }
    }
    let allowed = |extension: &Json| {
        let url = text(extension, "url").unwrap_or_default();
        EXTENSIONS.iter().any(|end| url.ends_with(end))
    };
    let changed = changes
        .items("extension")
        .into_iter()
        .map(|changed| changed.after);
    if changed.chain(changes.removed("extension")).all(allowed) {
        return Ok(());
    }
    Err(PDS_46.update("patch", "a patient may not change this extension"))
}
