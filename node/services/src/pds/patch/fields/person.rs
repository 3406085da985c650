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
    let may_be_set = match text(changes.after, "gender") {
        Some("male" | "female" | "unknown") => true,
        gender => changes.of_plain_newcomer && gender == Some("other"),
    };
    if changes.of("gender") && !may_be_set {
        return Err(PDS_36.update("gender", "gender can be set to male, female or unknown"));
    }
    Ok(())
}
