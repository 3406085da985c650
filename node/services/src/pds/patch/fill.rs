//! What the service itself adds to a change: ids of new items, the start of a period that none is named for, and the
//! few corrections that the national service makes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::changes::{Changes, items, text};
use crate::date;
use crate::json::Json;

/// Lists whose items have a period.
const WITH_PERIOD: [&str; 4] = ["name", "address", "telecom", "contact"];
/// Lists whose items have an id.
pub(super) const WITH_ID: [&str; 5] = ["name", "address", "telecom", "contact", "generalPractitioner"];

/// Completes what differs from `before`; new ids are made of `entropy`.
pub(super) fn complete(before: &Json, after: &mut Json, now_ms: i64, entropy: [u8; 32]) {
    let today = date::day_of(now_ms);
    let mut ids = Ids::new(entropy);
    for list in WITH_ID {
        let changed: Vec<(usize, bool)> = Changes::between(before, after)
            .items(list)
            .into_iter()
            .map(|changed| (changed.at, changed.before.is_none()))
            .collect();
        if changed.is_empty() {
            continue;
        }
        ids.know(after, list);
        let Some(Json::Array(items)) = after.member_mut(list) else {
            continue;
        };
        for (at, is_new) in changed {
            if let Some(Json::Object(item)) = items.get_mut(at) {
                identify(item, is_new, &mut ids);
                complete_item(list, item, &today);
            }
        }
    }
}

/// Gives an item an id where it has none, and where a new one has that of another.
fn identify(item: &mut Vec<(String, Json)>, is_new: bool, ids: &mut Ids) {
    match item.iter_mut().find(|(name, _)| name == "id") {
        None => item.insert(0, ("id".to_owned(), Json::String(ids.next()))),
        Some((_, Json::String(id))) => {
            if is_new && ids.give_up(id) {
                *id = ids.next();
            }
        }
        // What is no text is refused by the rules of fields.
        Some(_) => {}
    }
}

fn complete_item(list: &str, item: &mut Vec<(String, Json)>, today: &str) {
    if WITH_PERIOD.contains(&list) && !item.iter().any(|(name, _)| name == "period") {
        let start = ("start".to_owned(), Json::String(today.to_owned()));
        item.push(("period".to_owned(), Json::Object(vec![start])));
    }
    for (name, value) in item.iter_mut() {
        match (list, name.as_str(), value) {
            ("address", "line", Json::Array(lines)) => {
                lines.retain(|line| line.as_str().is_none_or(|line| !line.trim().is_empty()));
            }
            ("name", "prefix", Json::Array(prefixes)) => prefixes.iter_mut().for_each(without_full_stop),
            _ => {}
        }
    }
}

fn without_full_stop(prefix: &mut Json) {
    if let Json::String(text) = prefix
        && text.ends_with('.')
    {
        text.pop();
    }
}

/// The ids of a list, and new ones: eight digits of hexadecimal.
struct Ids {
    next: u32,
    /// How many items have each.
    known: BTreeMap<String, usize>,
}

impl Ids {
    fn new(entropy: [u8; 32]) -> Self {
        let [a, b, c, d, ..] = entropy;
        Self {
            next: u32::from_be_bytes([a, b, c, d]),
            known: BTreeMap::new(),
        }
    }

    /// The ids of this list are taken.
    fn know(&mut self, patient: &Json, list: &str) {
        self.known.clear();
        for id in items(patient, list).iter().filter_map(|item| text(item, "id")) {
            *self.known.entry(id.to_owned()).or_default() += 1;
        }
    }

    /// Whether another item has this id as well; then it is that one's alone.
    fn give_up(&mut self, id: &str) -> bool {
        match self.known.get_mut(id) {
            Some(count) if *count > 1 => {
                *count -= 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// An id that no item has.
    fn next(&mut self) -> String {
        loop {
            let id = format!("{:08X}", self.next);
            // An odd step reaches every number before it comes back.
            self.next = self.next.wrapping_add(0x9E37_79B1);
            if let Entry::Vacant(free) = self.known.entry(id.clone()) {
                free.insert(1);
                return id;
            }
        }
    }
}
