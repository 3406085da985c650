//! Merge patch (RFC 7396).

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::json::Json;
use crate::pds::rules::PDS_18;

/// Members of the patch replace those of the patient, and `null` removes one.
///
/// # Errors
/// `PDS-18` where the patch is not an object.
pub(super) fn merge(patient: &mut Json, patch: Json) -> Result<(), Failure> {
    match patch {
        Json::Object(_) => {
            into(patient, patch);
            Ok(())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Err(PDS_18.update("patch", "the merge patch is not an object"))
        }
    }
}

// Recursion is as deep as the patch, which its parser has bounded.
fn into(target: &mut Json, patch: Json) {
    let Json::Object(changes) = patch else {
        *target = patch;
        return;
    };
    if target.as_object().is_none() {
        *target = Json::Object(Vec::new());
    }
    let Json::Object(members) = target else { return };
    // By name: each of very many looked for among all of them would take minutes.
    let changes = changes.into_iter().enumerate();
    let mut changes: BTreeMap<String, (usize, Json)> =
        changes.map(|(at, (name, change))| (name, (at, change))).collect();
    members.retain_mut(|(name, value)| match changes.remove(name.as_str()) {
        None => true,
        Some((_, Json::Null)) => false,
        Some((_, change)) => {
            into(value, change);
            true
        }
    });
    let mut added: Vec<(usize, String, Json)> = changes
        .into_iter()
        .filter(|(_, (_, change))| *change != Json::Null)
        .map(|(name, (at, change))| (at, name, change))
        .collect();
    added.sort_unstable_by_key(|(at, ..)| *at);
    for (_, name, change) in added {
        let mut value = Json::Null;
        into(&mut value, change);
        members.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::merge;
    use crate::json::parse;

    /// The examples of RFC 7396, appendix A, whose patch is an object.
    #[test]
    fn as_in_the_standard() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let mut merged = parse(target.as_bytes(), 8).unwrap();
            merge(&mut merged, parse(patch.as_bytes(), 8).unwrap()).unwrap();
            assert_eq!(
                String::from_utf8(merged.to_bytes()).unwrap(),
                result,
                "{target} {patch}"
            );
        }
        assert!(merge(&mut parse(b"{}", 8).unwrap(), parse(b"[]", 8).unwrap()).is_err());
    }
}
