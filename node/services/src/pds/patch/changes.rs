//! What a patch has changed: rules look at nothing else, so that what a record has held for long never stands in the
//! way of a change of something else.

use std::collections::BTreeMap;

use super::structure::key_of;
use crate::json::{Json, same};

/// The patient before and after.
pub(super) struct Changes<'a> {
    pub(super) before: &'a Json,
    pub(super) after: &'a Json,
}

/// An item of a list that is new, or not what it was.
pub(super) struct Changed<'a> {
    /// Its place in the list now.
    pub(super) at: usize,
    /// The item that had its id or url; `None` for a new one.
    pub(super) before: Option<&'a Json>,
    pub(super) after: &'a Json,
}

/// The items of a list of the patient.
pub(super) fn items<'a>(patient: &'a Json, list: &str) -> &'a [Json] {
    patient.member(list).and_then(Json::as_array).unwrap_or_default()
}

/// The text of a member.
pub(super) fn text<'a>(item: &'a Json, name: &str) -> Option<&'a str> {
    item.member(name).and_then(Json::as_str)
}

impl<'a> Changes<'a> {
    pub(super) fn between(before: &'a Json, after: &'a Json) -> Self {
        Self { before, after }
    }

    /// Whether a member is not what it was.
    pub(super) fn of(&self, name: &str) -> bool {
        match (self.before.member(name), self.after.member(name)) {
            (Some(before), Some(after)) => !same(before, after),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        }
    }

    /// Items that are new or changed, in their order.
    pub(super) fn items(&self, list: &str) -> Vec<Changed<'a>> {
        if !self.of(list) {
            return Vec::new();
        }
        let known = by_key(self.before, list);
        let after = items(self.after, list).iter().enumerate();
        let changed = after.filter_map(|(at, after)| {
            let before = text(after, key_of(list)).and_then(|key| known.get(key).copied());
            let changed = before.is_none_or(|before| !same(before, after));
            changed.then_some(Changed { at, before, after })
        });
        changed.collect()
    }

    /// Items whose id or url is not there any more.
    pub(super) fn removed(&self, list: &str) -> Vec<&'a Json> {
        let kept = by_key(self.after, list);
        let before = items(self.before, list).iter();
        let gone = before.filter(|item| text(item, key_of(list)).is_none_or(|key| !kept.contains_key(key)));
        gone.collect()
    }
}

/// The items of a list by id or url; of several with one key, the first.
pub(super) fn by_key<'a>(patient: &'a Json, list: &str) -> BTreeMap<&'a str, &'a Json> {
    let mut known = BTreeMap::new();
    for item in items(patient, list) {
        if let Some(key) = text(item, key_of(list)) {
            known.entry(key).or_insert(item);
        }
    }
    known
}
