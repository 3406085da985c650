//! Merge patch (RFC 7396).

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
    for (name, change) in changes {
        let Json::Object(members) = target else { return };
        match (members.iter().position(|(known, _)| *known == name), change) {
            (Some(at), Json::Null) => drop(members.remove(at)),
            (None, Json::Null) => {}
            (Some(at), change) => into(&mut members[at].1, change),
            (None, change) => {
                let mut value = Json::Null;
                into(&mut value, change);
                members.push((name, value));
            }
        }
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
