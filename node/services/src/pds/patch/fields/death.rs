//! Death, and how it is known.

use super::super::changes::{Changes, items, text};
use super::extension::{code, part};
use crate::authorise::Principal;
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::rules::{PDS_37, PDS_38};

/// The end of the url.
const NOTIFICATION: &str = "UKCore-DeathNotificationStatus";
/// The registrar has told it.
const FORMAL: &str = "2";
/// Who may make a death known formally.
const PERMISSION_FORMAL: &str = "pds.death.formal";

/// # Errors
/// `PDS-37`, `PDS-38`
pub(super) fn check(changes: &Changes<'_>, principal: &Principal) -> Result<(), Failure> {
    let (before, after) = (status(changes.before), status(changes.after));
    let time_changed = changes.of("deceasedDateTime");
    if !time_changed && before == after {
        return Ok(());
    }
    let may_be_formal = principal
        .permissions
        .iter()
        .any(|permission| permission == PERMISSION_FORMAL);
    if before == Some(FORMAL) && !may_be_formal {
        return Err(PDS_38.update("deceasedDateTime", "the death is formally notified"));
    }
    if after == Some(FORMAL) && !may_be_formal {
        return Err(PDS_38.update("extension", "source not permitted to notify a death formally"));
    }
    let removed = |name| changes.before.member(name).is_some() && changes.after.member(name).is_none();
    if removed("deceasedDateTime") {
        return Err(PDS_38.update(
            "deceasedDateTime",
            "source not permitted to remove 'deceasedDateTime'",
        ));
    }
    if before.is_some() && after.is_none() {
        return Err(PDS_38.update(
            "extension",
            "not permitted to remove the death notification status",
        ));
    }
    check_time(changes)?;
    if changes.after.member("deceasedDateTime").is_some() == after.is_some() {
        return Ok(());
    }
    let message = "a time of death and a death notification status go together";
    Err(PDS_37.update("deceasedDateTime", message))
}

fn check_time(changes: &Changes<'_>) -> Result<(), Failure> {
    match text(changes.after, "deceasedDateTime") {
        Some(time) if changes.of("deceasedDateTime") && time.contains('T') && !time.ends_with("+00:00") => {
            Err(PDS_37.update("deceasedDateTime", "the time of death is of UTC, +00:00"))
        }
        _ => Ok(()),
    }
}

/// The code of the notification.
fn status(patient: &Json) -> Option<&str> {
    let mut extensions = items(patient, "extension").iter();
    let notification =
        extensions.find(|one| text(one, "url").is_some_and(|url| url.ends_with(NOTIFICATION)))?;
    part(notification, "deathNotificationStatus").and_then(code)
}
