//! Contact points and emergency contacts.

use serde_json::json;

use super::{accepted, add, refused, whole};

const INVALID: &str = "Invalid update with error - ";

#[test]
fn pds_39_there_is_one_contact_point_of_each_system_and_use() {
    let words = format!("{INVALID}multiple contact points of one system and use cannot be added");
    let mobile = json!({ "system": "phone", "use": "mobile", "value": "07700900001" });
    refused(&add("telecom", &mobile), "PDS-39", &words);
    let words = format!("{INVALID}a contact point needs a system and a use");
    for bad in [
        json!({ "value": "1" }),
        json!({ "system": "pager", "use": "home", "value": "1" }),
    ] {
        refused(&add("telecom", &bad), "PDS-39", &words);
    }
    let words = format!("{INVALID}the system and the use of a contact point cannot be changed");
    refused(
        &whole("telecom", 0, |point| point["use"] = json!("work")),
        "PDS-39",
        &words,
    );
    let words = format!("{INVALID}a contact point needs a value");
    refused(
        &whole("telecom", 0, |point| point["value"] = json!(" ")),
        "PDS-39",
        &words,
    );
    let other = json!({ "system": "other", "use": "home", "value": "textphone" });
    let twice = json!([
        { "op": "add", "path": "/telecom/-", "value": other },
        { "op": "add", "path": "/telecom/-", "value": other },
        { "op": "add", "path": "/telecom/-", "value": { "system": "phone", "use": "home", "value": "01632960000" } },
    ]);
    assert_eq!(accepted(&twice)["telecom"].as_array().unwrap().len(), 5);
}

#[test]
fn pds_40_an_email_address_is_one() {
    let words = format!("{INVALID}the value is not an email address");
    let long = format!("{}@example.com", "a".repeat(78));
    for bad in [
        "jane",
        "j@x.yz",
        "@example.com",
        "jane@",
        "jane@example",
        "jane@.com",
        "a b@example.com",
        "a@b@example.com",
        &long,
    ] {
        refused(
            &whole("telecom", 1, |point| point["value"] = json!(bad)),
            "PDS-40",
            &words,
        );
    }
    let changed = accepted(&whole("telecom", 1, |point| {
        point["value"] = json!("jane.smith@mail.example.com");
    }));
    assert_eq!(changed["telecom"][1]["value"], "jane.smith@mail.example.com");
}

#[test]
fn pds_41_a_contact_is_for_emergencies() {
    let contact = |code: &str, point: &serde_json::Value| {
        add(
            "contact",
            &json!({ "relationship": [{ "coding": [{ "code": code }] }], "telecom": [point] }),
        )
    };
    let phone = json!({ "system": "phone", "value": "01632960000" });
    accepted(&contact("C", &phone));
    let words = format!("{INVALID}the relationship of a contact is C, emergency contact");
    refused(&contact("N", &phone), "PDS-41", &words);
    refused(&add("contact", &json!({})), "PDS-41", &words);
    let fax = json!({ "system": "fax", "value": "01632960000" });
    refused(
        &contact("C", &fax),
        "PDS-41",
        &format!("{INVALID}a contact has no fax"),
    );
    let used = json!({ "system": "phone", "use": "home", "value": "01632960000" });
    let words =
        format!("{INVALID}a contact point of a contact has no use, and its period is that of the contact");
    refused(&contact("C", &used), "PDS-41", &words);
}
