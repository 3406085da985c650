//! How the national service wants changes of lists to be written, so that they hit the item that their sender means.

use super::changes::text;
use super::list::{Op, Patch, shown};
use super::names::Names;
use crate::failure::Failure;
use crate::json::{Json, Pointer};
use crate::pds::patient::LISTS;
use crate::pds::rules::{PDS_18, PDS_20, PDS_21, PDS_22};

/// What an item of a list is known by: `url` for extensions, else `id`.
pub(super) const fn key_of(list: &str) -> &'static str {
    match list.as_bytes() {
        b"extension" => "url",
        _ => "id",
    }
}

/// Checks the form of a list of patches, and gives what it calls the items that it changes. A list that does not exist
/// yet is there to be added to.
///
/// # Errors
/// `PDS-18`, `PDS-20` to `PDS-22`
pub(super) fn prepared(patient: &mut Json, patches: &[Patch]) -> Result<Names, Failure> {
    let names = Names::of(patches);
    for (at, patch) in patches.iter().enumerate() {
        check_root(at, patch)?;
        check(patches, &names, at, patch)?;
    }
    make_lists(patient, patches);
    Ok(names)
}

/// The list and the item that a path goes into; `None` for members that are no lists.
pub(super) fn item_of(path: &Pointer) -> Option<(&str, &str, &[String])> {
    match path.steps() {
        [list, item, rest @ ..] if LISTS.contains(&list.as_str()) => Some((list, item, rest)),
        _ => None,
    }
}

/// Neither the resource nor a list of it is changed as a whole: nobody would have named what goes with it.
fn check_root(at: usize, patch: &Patch) -> Result<(), Failure> {
    match patch.path.steps() {
        [] => {
            let message = format!("the path of patch {at} leads to the whole resource");
            Err(PDS_18.update(format!("{at}/path"), message))
        }
        [list] if LISTS.contains(&list.as_str()) && patch.op != Op::Test => Err(unnamed(list)),
        _ => Ok(()),
    }
}

fn check(patches: &[Patch], names: &Names, at: usize, patch: &Patch) -> Result<(), Failure> {
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
        // Without its name it would be another item, of which less is asked.
        (Op::Remove, [key]) if key == key_of(list) => {
            let message = format!("the {key} of an item of '/{list}' cannot be removed");
            Err(PDS_21.update("patch", message))
        }
        (Op::Replace, []) if text(&patch.value, key_of(list)).is_some() => Ok(()),
        _ if names.has(list, item) => Ok(()),
        _ => Err(unnamed(&format!("{list}/{}", shown(item)))),
    }
}

fn unnamed(root: &str) -> Failure {
    PDS_21.update("patch", format!("no id or url found for path with root /{root}"))
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
