//! Death, and how it is known.

use super::super::changes::{Changes, items, text};
use super::extension::{code, part};
use crate::authorise::Principal;
use crate::failure::Failure;
use crate::json::{Json, same};
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
    let (before, after) = (notifications(changes.before), notifications(changes.after));
    let told_alike =
        before.len() == after.len() && before.iter().zip(&after).all(|(one, other)| same(one, other));
    if told_alike && !changes.of("deceasedDateTime") {
        return Ok(());
    }
    let may_be_formal = principal
        .permissions
        .iter()
        .any(|permission| permission == PERMISSION_FORMAL);
    if is_formal(&before) && !may_be_formal {
        return Err(PDS_38.update("deceasedDateTime", "the death is formally notified"));
    }
    if is_formal(&after) && !may_be_formal {
        return Err(PDS_38.update("extension", "source not permitted to notify a death formally"));
    }
    let removed = |name| changes.before.member(name).is_some() && changes.after.member(name).is_none();
    if removed("deceasedDateTime") {
        return Err(PDS_38.update(
            "deceasedDateTime",
            "source not permitted to remove 'deceasedDateTime'",
        ));
    }
    if statuses(&before).next().is_some() && statuses(&after).next().is_none() {
        return Err(PDS_38.update(
            "extension",
            "not permitted to remove the death notification status",
        ));
    }
    check_time(changes)?;
    if changes.after.member("deceasedDateTime").is_some() == statuses(&after).next().is_some() {
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

/// What tells of a death: its status, and since when that is known. There is one at most, but of a record that came with
/// more, none may hide what another says.
fn notifications(patient: &Json) -> Vec<&Json> {
    let tells = |one: &&Json| text(one, "url").is_some_and(|url| url.ends_with(NOTIFICATION));
    items(patient, "extension").iter().filter(tells).collect()
}

/// The codes of notifications.
fn statuses<'a>(notifications: &[&'a Json]) -> impl Iterator<Item = &'a str> {
    let told = notifications.iter().copied();
    told.filter_map(|one| part(one, "deathNotificationStatus").and_then(code))
}

fn is_formal(notifications: &[&Json]) -> bool {
    statuses(notifications).any(|status| status == FORMAL)
}
