//! Names.

use super::super::changes::{Changes, items, text};
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::rules::{PDS_26, PDS_27, PDS_28, PDS_29, PDS_30};

/// Parts of a name that are lists of words.
const PARTS: [&str; 3] = ["given", "prefix", "suffix"];

/// # Errors
/// `PDS-26` to `PDS-30`
pub(super) fn check(changes: &Changes<'_>) -> Result<(), Failure> {
    if !changes.of("name") {
        return Ok(());
    }
    let count = |patient, usage| {
        items(patient, "name")
            .iter()
            .filter(|name| text(name, "use") == Some(usage))
            .count()
    };
    let changed = changes.items("name");
    // What has long been there twice stands in nobody's way but that of who changes it.
    let is_second = |usage| {
        let is_changed = || changed.iter().any(|name| text(name.after, "use") == Some(usage));
        count(changes.after, usage) > 1 && is_changed()
    };
    if is_second("usual") {
        return Err(PDS_26.update("name", "multiple usual names cannot be added"));
    }
    if count(changes.before, "usual") > 0 && count(changes.after, "usual") == 0 {
        return Err(PDS_26.update("name", "not permitted to remove usual name"));
    }
    if is_second("nickname") {
        return Err(PDS_27.update("name", "multiple nicknames cannot be added"));
    }
    for changed in changed {
        let at = changed.at;
        if let Some(before) = changed.before
            && text(before, "use") != text(changed.after, "use")
        {
            return Err(PDS_28.update(format!("name[{at}].use"), "the use of a name cannot be changed"));
        }
        check_words(at, changed.after)?;
    }
    Ok(())
}

fn check_words(at: usize, name: &Json) -> Result<(), Failure> {
    let lists = PARTS.into_iter().flat_map(|part| {
        let words = name.member(part).and_then(Json::as_array).unwrap_or_default();
        words
            .iter()
            .map(move |word| (part, word.as_str().unwrap_or("\0")))
    });
    let family = text(name, "family").map(|family| ("family", family));
    for (part, word) in family.into_iter().chain(lists) {
        if !word.chars().all(is_allowed) {
            let message = format!("a character of '{part}' is not allowed in names");
            return Err(PDS_29.update(format!("name[{at}].{part}"), message));
        }
        if part == "suffix" && !word.starts_with(|first: char| first.is_ascii_uppercase()) {
            let message = "a suffix must begin with a letter from A to Z";
            return Err(PDS_30.update(format!("name[{at}].suffix"), message));
        }
    }
    Ok(())
}

/// The code points of the national service.
fn is_allowed(character: char) -> bool {
    matches!(
        u32::from(character),
        32 | 39 | 45 | 46 | 48..=57 | 65..=90 | 97..=122 | 192..=214 | 216..=246 | 248..=383
    )
}
