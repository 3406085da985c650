//! FHIR knows no empty arrays: a list whose last item goes is not there any more.

use crate::json::{Json, same};

/// Drops the empty arrays of the members that differ from `before`; what nobody has touched stays as it was written.
pub(super) fn drop_arrays(before: &Json, after: &mut Json) {
    let Json::Object(members) = after else { return };
    members.retain_mut(|(name, value)| {
        let untouched = before.member(name).is_some_and(|before| same(before, value));
        untouched || !is_emptied(value)
    });
}

/// Whether a value is an empty array; it has none among its members any more.
// Recursion is as deep as a path and the value of a patch, which their parsers have bounded.
fn is_emptied(value: &mut Json) -> bool {
    match value {
        Json::Array(items) => {
            // One within another stays: what stands behind it would change its place, and no patient has such.
            for item in items.iter_mut() {
                is_emptied(item);
            }
            items.is_empty()
        }
        Json::Object(members) => {
            members.retain_mut(|(_, member)| !is_emptied(member));
            false
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}
