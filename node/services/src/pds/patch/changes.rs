//! What a patient's next version changes: rules look at nothing else, so that what a record has held for long never
//! stands in the way of a change of something else.

use std::collections::{BTreeMap, VecDeque};

use super::structure::key_of;
use crate::json::{Json, same};

/// Items of one key, or of none, that an item is compared with. Only a list that was made for it has more, and what is
/// not compared counts as changed, so that more is asked of it and not less.
pub(super) const CANDIDATES_MAX: usize = 64;

/// The patient before and after.
pub(super) struct Changes<'a> {
    pub(super) before: &'a Json,
    pub(super) after: &'a Json,
    /// Somebody new, in plain FHIR: what is usual there, and in the way of no later change, is not refused.
    pub(super) of_plain_newcomer: bool,
}

/// An item of a list that is new, or not what it was.
pub(super) struct Changed<'a> {
    /// Its place in the list now.
    pub(super) at: usize,
    /// The item that had its id or url; `None` for a new one, and for a copy of one that is still there.
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
        Self {
            before,
            after,
            of_plain_newcomer: false,
        }
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
        self.matched(list).0
    }

    /// Items that are not there any more.
    pub(super) fn removed(&self, list: &str) -> Vec<&'a Json> {
        self.matched(list).1
    }

    /// What is new or changed, and what is gone. Each item of before is what became of one item of now at most: else a
    /// copy of an item would be no change.
    fn matched(&self, list: &str) -> (Vec<Changed<'a>>, Vec<&'a Json>) {
        if !self.of(list) {
            return (Vec::new(), Vec::new());
        }
        let mut left = Left::of(self.before, list);
        let after = items(self.after, list);
        // First all that stayed, so that no copy takes the place of what it is a copy of.
        let stayed: Vec<bool> = after.iter().map(|item| left.take_same(item)).collect();
        let others = after.iter().enumerate().zip(stayed).filter(|(_, stayed)| !stayed);
        let changed = others.map(|((at, after), _)| Changed {
            at,
            before: left.take(after),
            after,
        });
        let changed: Vec<Changed<'a>> = changed.collect();
        (changed, left.rest())
    }
}

/// The items of before that nothing of now was found to be yet, by id or url.
struct Left<'a> {
    key: &'static str,
    items: BTreeMap<Option<&'a str>, VecDeque<&'a Json>>,
}

impl<'a> Left<'a> {
    fn of(patient: &'a Json, list: &str) -> Self {
        let key = key_of(list);
        let mut left: BTreeMap<Option<&'a str>, VecDeque<&'a Json>> = BTreeMap::new();
        for item in items(patient, list) {
            left.entry(text(item, key)).or_default().push_back(item);
        }
        Self { key, items: left }
    }

    /// Takes an item that is the same; false where there is none.
    fn take_same(&mut self, item: &'a Json) -> bool {
        let Some(candidates) = self.items.get_mut(&text(item, self.key)) else {
            return false;
        };
        let at = candidates
            .iter()
            .take(CANDIDATES_MAX)
            .position(|candidate| same(candidate, item));
        at.is_some_and(|at| candidates.remove(at).is_some())
    }

    /// Takes an item of the same id or url.
    fn take(&mut self, item: &'a Json) -> Option<&'a Json> {
        let key = text(item, self.key)?;
        self.items.get_mut(&Some(key))?.pop_front()
    }

    fn rest(self) -> Vec<&'a Json> {
        self.items.into_values().flatten().collect()
    }
}
