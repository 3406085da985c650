//! What the service itself adds to a change: ids of new items, the start of a period that none is named for, and the
//! few corrections that the national service makes.

use std::collections::BTreeSet;

use super::changes::{Changes, items};
use crate::context::Context;
use crate::date;
use crate::json::Json;

/// Lists whose items have a period.
const WITH_PERIOD: [&str; 4] = ["name", "address", "telecom", "contact"];
/// Lists whose items have an id.
const WITH_ID: [&str; 5] = ["name", "address", "telecom", "contact", "generalPractitioner"];

/// Completes what differs from `before`.
pub(super) fn complete(before: &Json, after: &mut Json, context: &Context) {
    let today = date::day_of(context.now_ms);
    let mut ids = Ids::new(context.entropy);
    for list in WITH_ID {
        let changed: Vec<usize> = Changes::between(before, after)
            .items(list)
            .into_iter()
            .map(|changed| changed.at)
            .collect();
        if changed.is_empty() {
            continue;
        }
        ids.know(after, list);
        let Some(Json::Array(items)) = after.member_mut(list) else {
            continue;
        };
        for at in changed {
            if let Some(Json::Object(item)) = items.get_mut(at) {
                complete_item(list, item, &today, &mut ids);
            }
        }
    }
}

fn complete_item(list: &str, item: &mut Vec<(String, Json)>, today: &str, ids: &mut Ids) {
    let has = |item: &[(String, Json)], name: &str| item.iter().any(|(known, _)| known == name);
    if !has(item, "id") {
        item.insert(0, ("id".to_owned(), Json::String(ids.next())));
    }
    if WITH_PERIOD.contains(&list) && !has(item, "period") {
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

/// Ids that no item of a list has: eight digits of hexadecimal.
struct Ids {
    next: u32,
    known: BTreeSet<String>,
}

impl Ids {
    fn new(entropy: [u8; 32]) -> Self {
        let [a, b, c, d, ..] = entropy;
        Self {
            next: u32::from_be_bytes([a, b, c, d]),
            known: BTreeSet::new(),
        }
    }

    /// The ids of this list are taken.
    fn know(&mut self, patient: &Json, list: &str) {
        let taken = items(patient, list).iter();
        let taken = taken.filter_map(|item| item.member("id")?.as_str());
        self.known = taken.map(str::to_owned).collect();
    }

    fn next(&mut self) -> String {
        loop {
            let id = format!("{:08X}", self.next);
            // An odd step reaches every number before it comes back.
            self.next = self.next.wrapping_add(0x9E37_79B1);
            if self.known.insert(id.clone()) {
                return id;
            }
        }
    }
}
