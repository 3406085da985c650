//! Names, gender, birth and death.

use serde_json::{Value, json};

use super::{UK_CORE, accepted, add, patched_in, patient, refused, shard, whole, with};

const INVALID: &str = "Invalid update with error - ";
const FORBIDDEN: &str = "Forbidden update with error - ";

#[test]
fn pds_26_one_name_is_the_usual_one_and_stays() {
    let usual = json!({ "use": "usual", "family": "Jones" });
    refused(
        &add("name", &usual),
        "PDS-26",
        &format!("{FORBIDDEN}multiple usual names cannot be added"),
    );
    let removal = json!([
        { "op": "test", "path": "/name/0/id", "value": "n1" },
        { "op": "remove", "path": "/name/0" },
    ]);
    refused(
        &removal,
        "PDS-26",
        &format!("{FORBIDDEN}not permitted to remove usual name"),
    );
    let changed = accepted(&whole("name", 0, |name| name["family"] = json!("Jones")));
    assert_eq!(changed["name"][0]["family"], "Jones");
}

#[test]
fn pds_27_there_is_at_most_one_nickname() {
    let nickname = json!({ "use": "nickname", "given": ["Jen"] });
    refused(
        &add("name", &nickname),
        "PDS-27",
        &format!("{INVALID}multiple nicknames cannot be added"),
    );
    let old = json!({ "use": "old", "family": "Brown" });
    let twice = json!([
        { "op": "add", "path": "/name/-", "value": old },
        { "op": "add", "path": "/name/-", "value": old },
    ]);
    assert_eq!(
        accepted(&twice)["name"].as_array().unwrap().len(),
        4,
        "others are not counted"
    );
}

#[test]
fn pds_28_the_use_of_a_name_does_not_change() {
    let changed = whole("name", 1, |name| name["use"] = json!("old"));
    refused(
        &changed,
        "PDS-28",
        &format!("{INVALID}the use of a name cannot be changed"),
    );
}

#[test]
fn pds_29_names_are_written_in_these_characters() {
    for good in ["O'Neill-Smith Jr. 3", "Ñandú", "Łukasiewicz"] {
        let changed = accepted(&whole("name", 0, |name| name["family"] = json!(good)));
        assert_eq!(changed["name"][0]["family"], good);
    }
    for bad in ["Smith,", "Smith\u{d7}", "\u{3b1}", "a\nb"] {
        let changed = whole("name", 0, |name| name["family"] = json!(bad));
        refused(
            &changed,
            "PDS-29",
            &format!("{INVALID}a character of 'family' is not allowed in names"),
        );
    }
    let given = whole("name", 0, |name| name["given"] = json!(["Jane", 7]));
    refused(
        &given,
        "PDS-29",
        &format!("{INVALID}a character of 'given' is not allowed in names"),
    );
}

#[test]
fn pds_30_a_suffix_begins_with_a_capital_letter() {
    let words = format!("{INVALID}a suffix must begin with a letter from A to Z");
    for bad in ["", "phD", "1st"] {
        refused(
            &whole("name", 0, |name| name["suffix"] = json!([bad])),
            "PDS-30",
            &words,
        );
    }
    let changed = accepted(&whole("name", 0, |name| name["suffix"] = json!(["PhD"])));
    assert_eq!(changed["name"][0]["suffix"], json!(["PhD"]));
}

#[test]
fn pds_35_gender_and_birth_date_stay() {
    for member in ["gender", "birthDate"] {
        let removal = json!([{ "op": "remove", "path": format!("/{member}") }]);
        refused(
            &removal,
            "PDS-35",
            &format!("{FORBIDDEN}source not permitted to remove '{member}'"),
        );
    }
}

#[test]
fn pds_36_a_gender_that_is_set_is_one_of_three() {
    for (gender, good) in [("male", true), ("unknown", true), ("other", false), ("x", false)] {
        let patches = json!([{ "op": "replace", "path": "/gender", "value": gender }]);
        if good {
            assert_eq!(accepted(&patches)["gender"], gender);
        } else {
            refused(
                &patches,
                "PDS-36",
                &format!("{INVALID}gender can be set to male, female or unknown"),
            );
        }
    }
}

fn notification(code: &str) -> Value {
    json!({
        "url": format!("{UK_CORE}DeathNotificationStatus"),
        "extension": [{ "url": "deathNotificationStatus", "valueCodeableConcept": { "coding": [{ "code": code }] } }],
    })
}

fn death(time: &str, code: &str) -> Value {
    json!([
        { "op": "add", "path": "/deceasedDateTime", "value": time },
        { "op": "add", "path": "/extension/-", "value": notification(code) },
    ])
}

#[test]
fn pds_37_a_death_comes_with_a_notification() {
    let together = accepted(&death("2020-10-22T00:00:00+00:00", "1"));
    assert_eq!(together["deceasedDateTime"], "2020-10-22T00:00:00+00:00");
    let alone = json!([{ "op": "add", "path": "/deceasedDateTime", "value": "2020-10-22" }]);
    let words = format!("{INVALID}a time of death and a death notification status go together");
    refused(&alone, "PDS-37", &words);
    refused(&add("extension", &notification("1")), "PDS-37", &words);
    let local = death("2020-07-22T00:00:00+01:00", "1");
    refused(
        &local,
        "PDS-37",
        &format!("{INVALID}the time of death is of UTC, +00:00"),
    );
}

#[test]
fn pds_38_what_is_known_formally_stays() {
    let formal = death("2020-10-22T00:00:00+00:00", "2");
    refused(
        &formal,
        "PDS-38",
        &format!("{FORBIDDEN}source not permitted to notify a death formally"),
    );
    let mut registrar = shard();
    registrar
        .principal
        .permissions
        .push("pds.death.formal".to_owned());
    patched_in(&mut registrar, &formal).unwrap();

    let mut dead = patient();
    dead["deceasedDateTime"] = json!("2020-10-22T00:00:00+00:00");
    dead["extension"].as_array_mut().unwrap().push(notification("2"));
    let change =
        json!([{ "op": "replace", "path": "/deceasedDateTime", "value": "2020-10-23T00:00:00+00:00" }]);
    let error = patched_in(&mut with(&dead), &change).unwrap_err();
    assert_eq!((&*error.rule, &*error.reason), ("PDS-38", "FORBIDDEN_UPDATE"));
    // So does since when it is known.
    let mut later = notification("2");
    let since = json!({ "url": "systemEffectiveDate", "valueDateTime": "2020-10-24T00:00:00+00:00" });
    later["extension"].as_array_mut().unwrap().push(since);
    let change = json!([{ "op": "replace", "path": "/extension/2", "value": later }]);
    let error = patched_in(&mut with(&dead), &change).unwrap_err();
    assert_eq!((&*error.rule, &*error.reason), ("PDS-38", "FORBIDDEN_UPDATE"));
    // All else can be put right after a death.
    let gender = json!([{ "op": "replace", "path": "/gender", "value": "male" }]);
    assert_eq!(patched_in(&mut with(&dead), &gender).unwrap()["gender"], "male");
}
