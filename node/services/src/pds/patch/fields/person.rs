//! Gender and birth date.

use super::super::changes::{Changes, text};
use crate::failure::Failure;
use crate::pds::rules::{PDS_35, PDS_36};

/// # Errors
/// `PDS-35`, `PDS-36`
pub(super) fn check(changes: &Changes<'_>) -> Result<(), Failure> {
    for member in ["gender", "birthDate"] {
        if changes.before.member(member).is_some() && changes.after.member(member).is_none() {
            return Err(PDS_35.update(member, format!("source not permitted to remove '{member}'")));
        }
    }
    let gender = text(changes.after, "gender");
    if changes.of("gender") && !matches!(gender, Some("male" | "female" | "unknown")) {
        return Err(PDS_36.update("gender", "gender can be set to male, female or unknown"));
    }
    Ok(())
}
