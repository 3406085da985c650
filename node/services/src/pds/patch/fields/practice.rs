//! The general practice.

use spine_proto::ids::OdsCode;

use super::super::changes::{Changes, items, text};
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::rules::PDS_42;

/// # Errors
/// `PDS-42`
pub(super) fn check(changes: &Changes<'_>) -> Result<(), Failure> {
    let changed = changes.items("generalPractitioner");
    if !changed.is_empty() && items(changes.after, "generalPractitioner").len() > 1 {
        return Err(PDS_42.update(
            "generalPractitioner",
            "multiple general practices cannot be added",
        ));
    }
    for changed in changed {
        let field = format!("generalPractitioner[{}].identifier", changed.at);
        let identifier = changed.after.member("identifier");
        if !identifier.is_some_and(has_ods_code) {
            return Err(PDS_42.update(field, "a general practice has an ODS code"));
        }
        let period = identifier.and_then(|identifier| identifier.member("period"));
        if period.is_some_and(|period| period.member("end").is_some()) {
            return Err(PDS_42.update(field, "the period of a general practice has no end"));
        }
    }
    Ok(())
}

/// Whether the value of an identifier is the code of an organisation.
pub(super) fn has_ods_code(identifier: &Json) -> bool {
    text(identifier, "value").is_some_and(|code| OdsCode::parse(code).is_ok())
}
