//! Carries out a patch list on a patient (RFC 6902): all of it, or a refusal.

use super::list::{Op, Patch, shown};
use super::names::Names;
use crate::failure::Failure;
use crate::json::{Astray, Json, Pointer, index, same};
use crate::pds::rules::{PDS_23, PDS_24};

/// One patch after another, on what the ones before it left.
///
/// # Errors
/// `PDS-23` for a path that leads nowhere, `PDS-24` for a test that does not hold.
pub(super) fn carry_out(patient: &mut Json, patches: Vec<Patch>) -> Result<(), Failure> {
    patches.into_iter().try_for_each(|patch| one(patient, patch))
}

/// The same for a list whose patches name the items that they change.
///
/// # Errors
/// The same.
pub(super) fn named(patient: &mut Json, names: &Names, patches: Vec<Patch>) -> Result<(), Failure> {
    for mut patch in patches {
        if !names.hold(patient, &mut patch)? {
            one(patient, patch)?;
        }
    }
    Ok(())
}

fn one(patient: &mut Json, patch: Patch) -> Result<(), Failure> {
    let Patch { op, path, value } = patch;
    match op {
        Op::Add => add(patient, &path, value),
        Op::Replace => {
            let place = find(patient, &path, "replace")?;
            *place = value;
            Ok(())
        }
        Op::Remove => remove(patient, &path),
        Op::Test => {
            let found = find(patient, &path, "test")?;
            if same(found, &value) {
                return Ok(());
            }
            Err(PDS_24.update("patch", "a test does not hold"))
        }
    }
}

fn add(patient: &mut Json, path: &Pointer, value: Json) -> Result<(), Failure> {
    let parent = path
        .parent(patient)
        .map_err(|astray| lost(path, astray, "add to"))?;
    match parent {
        None => *patient = value,
        Some((Json::Object(members), name)) => match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => members.push((name.to_owned(), value)),
        },
        Some((Json::Array(items), "-")) => items.push(value),
        Some((Json::Array(items), step)) => {
            let at = index(step).ok_or_else(|| missing(step, "add"))?;
            if at > items.len() {
                return Err(out_of_bounds(step));
            }
            items.insert(at, value);
        }
        Some((Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_), step)) => {
            return Err(missing(step, "add"));
        }
    }
    Ok(())
}

fn remove(patient: &mut Json, path: &Pointer) -> Result<(), Failure> {
    // The step that is missing is, for people, what they wanted to remove.
    let last = path.steps().last().map_or("", String::as_str);
    let parent = path.parent(patient).map_err(|astray| match astray {
        Astray::OutOfBounds(_) => lost(path, astray, "remove"),
        Astray::Missing(_) => missing(last, "remove"),
    })?;
    match parent {
        Some((Json::Object(members), name)) => {
            let at = members.iter().position(|(known, _)| known == name);
            members.remove(at.ok_or_else(|| missing(name, "remove"))?);
        }
        Some((Json::Array(items), step)) => {
            let at = index(step).ok_or_else(|| missing(step, "remove"))?;
            if at >= items.len() {
                return Err(out_of_bounds(step));
            }
            items.remove(at);
        }
        None => return Err(PDS_23.update("patch", "Invalid patch - can't remove the whole resource")),
        Some((Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_), step)) => {
            return Err(missing(step, "remove"));
        }
    }
    Ok(())
}

fn find<'a>(patient: &'a mut Json, path: &Pointer, verb: &str) -> Result<&'a mut Json, Failure> {
    path.find(patient).map_err(|astray| lost(path, astray, verb))
}

fn lost(path: &Pointer, astray: Astray, verb: &str) -> Failure {
    let step = |place: usize| path.steps().get(place).map_or("", String::as_str);
    match astray {
        Astray::OutOfBounds(place) => out_of_bounds(step(place)),
        Astray::Missing(place) => missing(step(place), verb),
    }
}

fn missing(step: &str, verb: &str) -> Failure {
    let step = shown(step);
    PDS_23.update(
        "patch",
        format!("Invalid patch - can't {verb} non-existent object '{step}'"),
    )
}

pub(super) fn out_of_bounds(step: &str) -> Failure {
    let step = shown(step);
    PDS_23.update(
        "patch",
        format!("Invalid patch - index '{step}' is out of bounds"),
    )
}
