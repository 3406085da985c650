//! Ids and periods of items whose sender leaves them out: a client of plain FHIR need not know any.

use std::collections::VecDeque;

use super::changes::{CANDIDATES_MAX, Changes};
use super::fill::WITH_ID;
use crate::json::{Json, same};

/// What the service adds to an item that comes without it.
const LEFT_OUT: [&str; 2] = ["id", "period"];

/// Gives each item that leaves out its id, or its period, those of the item that it is but for them, so that it counts as
/// the same.
pub(super) fn left_out(before: &Json, after: &mut Json) {
    for list in WITH_ID {
        let found = found(&Changes::between(before, after), list);
        let Some(Json::Array(items)) = after.member_mut(list) else {
            continue;
        };
        for (at, known) in found {
            if let Some(Json::Object(item)) = items.get_mut(at) {
                restore(item, &known);
            }
        }
    }
}

/// Places of items that leave something out, and the items that they are.
fn found(changes: &Changes<'_>, list: &str) -> Vec<(usize, Json)> {
    let mut gone: VecDeque<&Json> = changes.removed(list).into_iter().collect();
    let found = changes.items(list).into_iter().filter_map(|changed| {
        let sent = changed.after;
        if let Some(before) = changed.before {
            return is_but_for_what_is_left_out(before, sent).then(|| (changed.at, before.clone()));
        }
        if sent.member("id").is_some() {
            return None;
        }
        let mut candidates = gone.iter().take(CANDIDATES_MAX);
        let at = candidates.position(|known| is_but_for_what_is_left_out(known, sent))?;
        gone.remove(at).map(|known| (changed.at, known.clone()))
    });
    found.collect()
}

/// Whether what was sent is the known item, but for an id or a period that it leaves out.
fn is_but_for_what_is_left_out(known: &Json, sent: &Json) -> bool {
    let members = known.as_object().unwrap_or_default().iter();
    let is_kept = |name: &str| !LEFT_OUT.contains(&name) || sent.member(name).is_some();
    let kept = members.filter(|(name, _)| is_kept(name)).cloned().collect();
    same(&Json::Object(kept), sent)
}

fn restore(item: &mut Vec<(String, Json)>, known: &Json) {
    for name in LEFT_OUT {
        if let Some(value) = known.member(name)
            && !item.iter().any(|(sent, _)| sent == name)
        {
            let at = if name == "id" { 0 } else { item.len() };
            item.insert(at, (name.to_owned(), value.clone()));
        }
    }
}
