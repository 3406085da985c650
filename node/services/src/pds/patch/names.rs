//! What a list of patches calls the items that it changes, and whether they are called so when their turn comes: every
//! removal changes the places of those behind it.

use std::collections::{BTreeMap, BTreeSet};

use super::carry_out::out_of_bounds;
use super::changes::{items, text};
use super::list::{Op, Patch, shown};
use super::structure::{item_of, key_of};
use crate::failure::Failure;
use crate::json::{Json, index};
use crate::pds::rules::PDS_23;

/// Ids or urls that patches say of an item, by its list and the step of the path that leads to it.
pub(super) struct Names(BTreeMap<(String, String), BTreeSet<String>>);

impl Names {
    pub(super) fn of(patches: &[Patch]) -> Self {
        let mut all: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for patch in patches {
            let Some((list, item, rest)) = item_of(&patch.path) else {
                continue;
            };
            if let Some(name) = said(list, rest, patch) {
                let names = all.entry((list.to_owned(), item.to_owned())).or_default();
                names.insert(name.to_owned());
            }
        }
        Self(all)
    }

    fn get(&self, list: &str, item: &str) -> Option<&BTreeSet<String>> {
        self.0.get(&(list.to_owned(), item.to_owned()))
    }

    /// Whether some patch says what the item is called.
    pub(super) fn has(&self, list: &str, item: &str) -> bool {
        self.get(list, item).is_some()
    }

    /// Looks, at the turn of a patch, whether the item that its path leads to is the one that is meant; true where to say
    /// so is all that the patch does.
    ///
    /// # Errors
    /// `PDS-23` where another item stands there, or none.
    pub(super) fn hold(&self, patient: &Json, patch: &mut Patch) -> Result<bool, Failure> {
        let Patch { op, path, value } = patch;
        let Some((list, item, rest)) = item_of(path) else {
            return Ok(false);
        };
        let found = index(item).and_then(|at| items(patient, list).get(at));
        match (*op, rest, found) {
            (Op::Add | Op::Replace | Op::Test, [named], _) if named == key_of(list) => {
                let found = found.ok_or_else(|| out_of_bounds(item))?;
                check_name(list, value.as_str(), found).map(|()| true)
            }
            // A removal has its test right before it, and what is added has no place yet. Of a path that leads nowhere
            // it is told what is wrong where it is carried out.
            (Op::Test, _, _) | (Op::Add | Op::Remove, [], _) | (_, _, None) => Ok(false),
            (Op::Replace, [], Some(found)) => self.keep(list, item, found, value).map(|()| false),
            (_, _, Some(found)) => self.check(list, item, found).map(|()| false),
        }
    }

    /// What replaces a whole item has its id or url; where another patch says it, it is put there.
    fn keep(&self, list: &str, item: &str, found: &Json, value: &mut Json) -> Result<(), Failure> {
        let key = key_of(list);
        if value.member(key).is_some() {
            return check_name(list, text(value, key), found);
        }
        self.check(list, item, found)?;
        if let (Json::Object(members), Some(name)) = (value, text(found, key)) {
            members.insert(0, (key.to_owned(), Json::String(name.to_owned())));
        }
        Ok(())
    }

    /// Whether the item is called what some patch says.
    fn check(&self, list: &str, item: &str, found: &Json) -> Result<(), Failure> {
        let names = self.get(list, item);
        if let (Some(names), Some(name)) = (names, text(found, key_of(list)))
            && names.contains(name)
        {
            return Ok(());
        }
        let name = names.and_then(BTreeSet::first).map_or("", String::as_str);
        Err(not_there(list, name))
    }
}

/// What a patch says that an item is called, where it says nothing else, or tests the whole item.
fn said<'a>(list: &str, rest: &[String], patch: &'a Patch) -> Option<&'a str> {
    match (patch.op, rest) {
        (Op::Test, []) => text(&patch.value, key_of(list)),
        (Op::Add | Op::Replace | Op::Test, [key]) if key == key_of(list) => patch.value.as_str(),
        (Op::Add | Op::Replace | Op::Remove | Op::Test, _) => None,
    }
}

fn check_name(list: &str, name: Option<&str>, found: &Json) -> Result<(), Failure> {
    if name.is_some() && name == text(found, key_of(list)) {
        return Ok(());
    }
    Err(not_there(list, name.unwrap_or_default()))
}

fn not_there(list: &str, name: &str) -> Failure {
    let (key, name) = (key_of(list), shown(name));
    PDS_23.update(
        "patch",
        format!("no '{list}' resources with object {key} '{name}'"),
    )
}
