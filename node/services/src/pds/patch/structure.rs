//! How the national service wants changes of lists to be written, so that they hit the item that their sender means.

use super::list::{Op, Patch, shown};
use crate::failure::Failure;
use crate::json::{Json, Pointer, index};
use crate::pds::patient::LISTS;
use crate::pds::rules::{PDS_20, PDS_21, PDS_22, PDS_23};

/// What an item of a list is known by: `url` for extensions, else `id`.
pub(super) const fn key_of(list: &str) -> &'static str {
    match list.as_bytes() {
        b"extension" => "url",
        _ => "id",
    }
}

/// Checks the form of a list of patches, and makes what is to be carried out of it: a patch that only names an item
/// becomes a check of its name, and a list that does not exist yet is there to be added to.
///
/// # Errors
/// `PDS-20` to `PDS-23`
pub(super) fn prepared(patient: &mut Json, patches: Vec<Patch>) -> Result<Vec<Patch>, Failure> {
    for (at, patch) in patches.iter().enumerate() {
        check(&patches, at, patch)?;
    }
    make_lists(patient, &patches);
    Ok(patches)
}

/// The list and the item that a path goes into; `None` for members that are no lists.
fn item_of(path: &Pointer) -> Option<(&str, &str, &[String])> {
    match path.steps() {
        [list, item, rest @ ..] if LISTS.contains(&list.as_str()) => Some((list, item, rest)),
        _ => None,
    }
}

fn check(patches: &[Patch], at: usize, patch: &Patch) -> Result<(), Failure> {
    if let [whole] = patch.path.steps()
        && LISTS.contains(&whole.as_str())
        && patch.op != Op::Test
    {
        let message = format!("no id or url found for path with root /{whole}");
        return Err(PDS_21.update("patch", message));
    }
    let Some((list, item, rest)) = item_of(&patch.path) else {
        return Ok(());
    };
    match (patch.op, rest) {
        (Op::Test, _) => Ok(()),
        (Op::Add, []) if item == "-" => Ok(()),
        (Op::Add, []) => {
            let message = format!("Invalid patch - additions to '/{list}' must use index '-'");
            Err(PDS_20.update("patch", message))
        }
        (Op::Remove, []) => check_removal(patches, at, list, item),
        (Op::Replace, []) if names_itself(list, &patch.value) => Ok(()),
        _ if is_named(patches, list, item) => Ok(()),
        _ => {
            let item = shown(item);
            let message = format!("no id or url found for path with root /{list}/{item}");
            Err(PDS_21.update("patch", message))
        }
    }
}

fn names_itself(list: &str, value: &Json) -> bool {
    value.member(key_of(list)).and_then(Json::as_str).is_some()
}

/// Whether some patch of the list names the item, or tests it as a whole.
fn is_named(patches: &[Patch], list: &str, item: &str) -> bool {
    patches.iter().any(|patch| {
        item_of(&patch.path).is_some_and(|(other_list, other_item, rest)| {
            let names = match rest {
                [key] => key == key_of(list) && patch.op != Op::Remove,
                [] => patch.op == Op::Test && names_itself(list, &patch.value),
                _ => false,
            };
            other_list == list && other_item == item && names
        })
    })
}

fn check_removal(patches: &[Patch], at: usize, list: &str, item: &str) -> Result<(), Failure> {
    let before = at.checked_sub(1).and_then(|before| patches.get(before));
    let equivalent = before.is_some_and(|patch| {
        patch.op == Op::Test
            && item_of(&patch.path).is_some_and(|(other_list, other_item, rest)| {
                let names = match rest {
                    [] => true,
                    [key] => key == key_of(list),
                    _ => false,
                };
                other_list == list && other_item == item && names
            })
    });
    if equivalent {
        return Ok(());
    }
    let instead = if before.is_none() {
        "it is the first item"
    } else {
        "it is preceded by another patch"
    };
    let item = shown(item);
    let message = format!(
        "removal '/{list}/{item}' is not immediately preceded by equivalent test - instead {instead}"
    );
    Err(PDS_22.update("patch", message))
}

/// A list that nothing was in so far does not exist.
fn make_lists(patient: &mut Json, patches: &[Patch]) {
    for patch in patches.iter().filter(|patch| patch.op == Op::Add) {
        if let (Some((list, "-", [])), Json::Object(members)) = (item_of(&patch.path), &mut *patient)
            && !members.iter().any(|(name, _)| name == list)
        {
            members.push((list.to_owned(), Json::Array(Vec::new())));
        }
    }
}

/// Checks a patch that names an item against what stands there, at its turn; true where that was all it does.
///
/// # Errors
/// `PDS-23` where another item stands there, or none.
pub(super) fn is_name_that_holds(patient: &Json, patch: &Patch) -> Result<bool, Failure> {
    let Some((list, item, [key])) = item_of(&patch.path) else {
        return Ok(false);
    };
    if key != key_of(list) || patch.op == Op::Remove {
        return Ok(false);
    }
    let items = patient.member(list).and_then(Json::as_array).unwrap_or_default();
    let Some(found) = index(item).and_then(|at| items.get(at)) else {
        let item = shown(item);
        let message = format!("Invalid patch - index '{item}' is out of bounds");
        return Err(PDS_23.update("patch", message));
    };
    let named = patch.value.as_str();
    if named.is_some() && found.member(key).and_then(Json::as_str) == named {
        return Ok(true);
    }
    let named = shown(named.unwrap_or_default());
    let message = format!("no '{list}' resources with object {key} '{named}'");
    Err(PDS_23.update("patch", message))
}
