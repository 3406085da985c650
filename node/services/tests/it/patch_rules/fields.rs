//! Periods, addresses, practices, extensions.

use serde_json::{Value, json};

use super::{UK_CORE, accepted, add, patient, pharmacy, refused, whole};

const INVALID: &str = "Invalid update with error - ";

#[test]
fn pds_25_a_period_starts_and_does_not_end_before() {
    for (period, words) in [
        (json!({}), "a period needs a start"),
        (json!({ "start": "soon" }), "a period needs a start"),
        (
            json!({ "start": "2026-01-03" }),
            "a period cannot start in the future",
        ),
        (
            json!({ "start": "2020-01-02", "end": "2020-01-01" }),
            "a period cannot end before it starts",
        ),
        (
            json!({ "start": "2020-01-02", "end": 7 }),
            "the end of a period is not a date",
        ),
    ] {
        for (list, at) in [("name", 1), ("address", 0), ("telecom", 0)] {
            let patches = whole(list, at, |item| item["period"] = period.clone());
            refused(&patches, "PDS-25", &format!("{INVALID}{words}"));
        }
    }
    for (period, words) in [
        (json!({}), "a period needs a start"),
        (
            json!({ "start": "2026-01-03" }),
            "a period cannot start in the future",
        ),
    ] {
        let patches = whole("generalPractitioner", 0, |practice| {
            practice["identifier"]["period"] = period.clone();
        });
        refused(&patches, "PDS-25", &format!("{INVALID}{words}"));
    }
    let ended = json!({ "start": "2020-01-02", "end": "2020-01-02" });
    let changed = accepted(&whole("name", 1, |name| name["period"] = ended.clone()));
    assert_eq!(changed["name"][1]["period"], ended);
}

#[test]
fn a_period_that_nobody_names_begins_today_and_a_new_item_gets_an_id() {
    let changed = accepted(&add(
        "name",
        &json!({ "use": "old", "prefix": ["Dr."], "family": "Brown" }),
    ));
    let added = &changed["name"][2];
    assert_eq!(added["period"], json!({ "start": "2026-01-01" }));
    assert_eq!(
        added["prefix"],
        json!(["Dr"]),
        "the national service leaves out a last full stop"
    );
    let id = added["id"].as_str().unwrap();
    assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    // What is only changed in part keeps its period.
    let part = accepted(&json!([
        { "op": "replace", "path": "/name/0/id", "value": "n1" },
        { "op": "replace", "path": "/name/0/family", "value": "Jones" },
    ]));
    assert_eq!(part["name"][0]["period"], json!({ "start": "2001-01-01" }));
}

#[test]
fn pds_31_an_address_has_lines_and_a_postcode() {
    let lines = format!("{INVALID}an address has 1 to 5 lines");
    for bad in [
        json!([]),
        json!(["1", "2", "3", "4", "5", "6"]),
        json!("1"),
        json!([1]),
        json!(["", " "]),
    ] {
        refused(
            &whole("address", 0, |address| address["line"] = bad),
            "PDS-31",
            &lines,
        );
    }
    let postcode = format!("{INVALID}an address needs a postcode, or a key of the postcode address file");
    for bad in [
        json!(null),
        json!(""),
        json!("LS16AE"),
        json!("ls1 6ae"),
        json!("LS1 AAE"),
        json!("1S1 6AE"),
    ] {
        refused(
            &whole("address", 0, |address| address["postalCode"] = bad),
            "PDS-31",
            &postcode,
        );
    }
    let changed = accepted(&whole("address", 0, |address| {
        address["line"] = json!(["", "1 Low Street", " ", "Leeds", ""]);
        address["postalCode"] = json!("ZZ99 3VZ");
    }));
    assert_eq!(
        changed["address"][0]["line"],
        json!(["1 Low Street", "Leeds"]),
        "blank lines go"
    );
    let keyed = whole("address", 0, |address| {
        address.as_object_mut().unwrap().remove("postalCode");
        address["extension"] = json!([{ "url": format!("{UK_CORE}AddressKey") }]);
    });
    accepted(&keyed);
}

fn address(usage: &str, period: &Value) -> Value {
    json!({ "use": usage, "line": ["1 Side Street"], "postalCode": "LS1 6AE", "period": period })
}

#[test]
fn pds_32_there_is_one_address_of_each_use() {
    let short = json!({ "start": "2025-12-01", "end": "2025-12-31" });
    let words = format!("{INVALID}multiple addresses of use 'home' cannot be added");
    refused(&add("address", &address("home", &short)), "PDS-32", &words);
    let words = format!("{INVALID}an address is of use home, temp or billing");
    refused(&add("address", &address("work", &short)), "PDS-32", &words);
    for usage in ["temp", "billing"] {
        accepted(&add("address", &address(usage, &short)));
    }
}

#[test]
fn pds_33_a_temporary_address_ends() {
    for usage in ["temp", "billing"] {
        let endless = address(usage, &json!({ "start": "2025-12-01" }));
        refused(
            &add("address", &endless),
            "PDS-33",
            &format!("{INVALID}a temporary address needs an end"),
        );
        let long = address(usage, &json!({ "start": "2025-01-01", "end": "2026-01-03" }));
        let words = format!("{INVALID}a temporary address ends within 366 days");
        refused(&add("address", &long), "PDS-33", &words);
        accepted(&add(
            "address",
            &address(usage, &json!({ "start": "2025-01-01", "end": "2026-01-02" })),
        ));
    }
}

#[test]
fn pds_34_a_temporary_address_is_called_what_it_is() {
    let mut temporary = address("temp", &json!({ "start": "2025-12-01", "end": "2025-12-31" }));
    temporary["text"] = json!("Holiday Home");
    accepted(&add("address", &temporary));
    temporary["text"] = json!("Castle");
    let words = format!("{INVALID}the text of a temporary address is not of the list");
    refused(&add("address", &temporary), "PDS-34", &words);
}

#[test]
fn pds_42_there_is_one_general_practice() {
    let practice = patient()["generalPractitioner"][0].clone();
    let words = format!("{INVALID}multiple general practices cannot be added");
    let mut second = practice;
    second.as_object_mut().unwrap().remove("id");
    refused(&add("generalPractitioner", &second), "PDS-42", &words);
    for bad in ["", "y12345", "Y1", "Y123456789012"] {
        let changed = whole("generalPractitioner", 0, |practice| {
            practice["identifier"]["value"] = json!(bad);
        });
        refused(
            &changed,
            "PDS-42",
            &format!("{INVALID}a general practice has an ODS code"),
        );
    }
    let ended = whole("generalPractitioner", 0, |practice| {
        practice["identifier"]["period"]["end"] = json!("2030-01-01");
    });
    refused(
        &ended,
        "PDS-42",
        &format!("{INVALID}the period of a general practice has no end"),
    );
    let moved = accepted(&whole("generalPractitioner", 0, |practice| {
        practice["identifier"]["value"] = json!("A20047");
    }));
    assert_eq!(moved["generalPractitioner"][0]["identifier"]["value"], "A20047");
}

#[test]
fn pds_43_there_is_one_extension_of_each_url() {
    let words = format!("{INVALID}multiple extensions of one url cannot be added");
    refused(&add("extension", &pharmacy("Y34567")), "PDS-43", &words);
    let changed = json!([{ "op": "replace", "path": "/extension/0", "value": pharmacy("not a code") }]);
    refused(
        &changed,
        "PDS-43",
        &format!("{INVALID}a dispenser has an ODS code"),
    );
    refused(
        &add("extension", &json!({})),
        "PDS-43",
        &format!("{INVALID}an extension has a url"),
    );
    let changed = json!([{ "op": "replace", "path": "/extension/0", "value": pharmacy("Y34567") }]);
    accepted(&changed);
}

#[test]
fn pds_44_a_language_is_of_the_list() {
    let speaks = |code: &str| {
        json!({
            "url": format!("{UK_CORE}NHSCommunication"),
            "extension": [{ "url": "language", "valueCodeableConcept": { "coding": [{ "code": code }] } }],
        })
    };
    accepted(&add("extension", &speaks("pl")));
    refused(
        &add("extension", &speaks("en")),
        "PDS-44",
        &format!("{INVALID}English needs no entry"),
    );
    for bad in ["", "p", "polish"] {
        refused(
            &add("extension", &speaks(bad)),
            "PDS-44",
            &format!("{INVALID}a language is a code of ISO 639-1"),
        );
    }
}

#[test]
fn pds_45_a_birth_place_says_something() {
    let born = |place: Value| json!({ "url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace", "valueAddress": place });
    accepted(&add("extension", &born(json!({ "city": "Manchester" }))));
    let words = format!("{INVALID}a birth place has a city, a district or a country");
    for bad in [
        json!({}),
        json!({ "city": " " }),
        json!({ "text": "here" }),
        json!(null),
    ] {
        refused(&add("extension", &born(bad)), "PDS-45", &words);
    }
    for good in ["GBR", "1", "10"] {
        accepted(&add("extension", &born(json!({ "country": good }))));
    }
    let words = format!("{INVALID}the country of a birth place is a code of three letters, or one of the UK");
    for bad in [json!("Britain"), json!("gbr"), json!("5"), json!(7)] {
        let place = born(json!({ "city": "Manchester", "country": bad }));
        refused(&add("extension", &place), "PDS-45", &words);
    }
}
