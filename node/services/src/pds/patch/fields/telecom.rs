//! Contact points, and people to be called in an emergency.

use std::collections::BTreeMap;

use super::super::changes::{Changes, items, text};
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::rules::{PDS_39, PDS_40, PDS_41};

const SYSTEMS: [&str; 4] = ["phone", "fax", "email", "other"];
const USES: [&str; 4] = ["home", "work", "temp", "mobile"];
/// Characters of an email address.
const EMAIL_CHARS: std::ops::RangeInclusive<usize> = 7..=89;
/// Code of an emergency contact.
const EMERGENCY: &str = "C";

/// # Errors
/// `PDS-39` to `PDS-41`
pub(super) fn check(changes: &Changes<'_>) -> Result<(), Failure> {
    check_pairs(changes)?;
    for changed in changes.items("telecom") {
        let at = changed.at;
        let point = changed.after;
        let known = text(point, "system").is_some_and(|system| SYSTEMS.contains(&system))
            && text(point, "use").is_some_and(|usage| USES.contains(&usage));
        if !known {
            return Err(PDS_39.update(
                format!("telecom[{at}]"),
                "a contact point needs a system and a use",
            ));
        }
        let same_kind = |before: &Json| pair(before) == pair(point);
        if !changed.before.is_none_or(same_kind) {
            let message = "the system and the use of a contact point cannot be changed";
            return Err(PDS_39.update(format!("telecom[{at}]"), message));
        }
        check_value(point, &format!("telecom[{at}]"))?;
    }
    let mut contacts = changes.items("contact").into_iter();
    contacts.try_for_each(|changed| check_contact(changed.at, changed.after, changes.of_plain_newcomer))
}

fn pair(point: &Json) -> (Option<&str>, Option<&str>) {
    (text(point, "system"), text(point, "use"))
}

/// One point of each system and use; of the system `other`, as many as there are kinds of it.
fn check_pairs(changes: &Changes<'_>) -> Result<(), Failure> {
    let changed = changes.items("telecom");
    if changed.is_empty() {
        return Ok(());
    }
    let mut counts: BTreeMap<(Option<&str>, Option<&str>), usize> = BTreeMap::new();
    let points = items(changes.after, "telecom").iter();
    for point in points.filter(|point| text(point, "system") != Some("other")) {
        *counts.entry(pair(point)).or_default() += 1;
    }
    let is_second = |point: &Json| counts.get(&pair(point)).is_some_and(|count| *count > 1);
    if changed.iter().any(|changed| is_second(changed.after)) {
        let message = "multiple contact points of one system and use cannot be added";
        return Err(PDS_39.update("telecom", message));
    }
    Ok(())
}

fn check_value(point: &Json, field: &str) -> Result<(), Failure> {
    let field = format!("{field}.value");
    let value = text(point, "value").map(str::trim).unwrap_or_default();
    if value.is_empty() {
        return Err(PDS_39.update(field, "a contact point needs a value"));
    }
    if text(point, "system") == Some("email") && !is_email(value) {
        return Err(PDS_40.update(field, "the value is not an email address"));
    }
    Ok(())
}

fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.rsplit_once('@') else {
        return false;
    };
    EMAIL_CHARS.contains(&value.chars().count())
        && !local.is_empty()
        && !local.contains('@')
        && domain.contains('.')
        && domain.split('.').all(|label| !label.is_empty())
        && value
            .chars()
            .all(|character| !character.is_whitespace() && !character.is_control())
}

/// In plain FHIR a contact need not be one for emergencies, and its contact points may have a use.
fn check_contact(at: usize, contact: &Json, is_plain: bool) -> Result<(), Failure> {
    if !is_plain && !is_for_emergencies(contact) {
        let field = format!("contact[{at}].relationship");
        return Err(PDS_41.update(field, "the relationship of a contact is C, emergency contact"));
    }
    for point in items(contact, "telecom") {
        let field = format!("contact[{at}].telecom");
        if !is_plain && (point.member("use").is_some() || point.member("period").is_some()) {
            let message = "a contact point of a contact has no use, and its period is that of the contact";
            return Err(PDS_41.update(field, message));
        }
        if text(point, "system") == Some("fax") {
            return Err(PDS_41.update(field, "a contact has no fax"));
        }
        check_value(point, &field)?;
    }
    Ok(())
}

fn is_for_emergencies(contact: &Json) -> bool {
    let relationships = items(contact, "relationship").iter();
    let codings: Vec<&Json> = relationships.flat_map(|one| items(one, "coding")).collect();
    let is_one = |coding: &&Json| text(coding, "code") == Some(EMERGENCY);
    !codings.is_empty() && codings.iter().all(is_one)
}
