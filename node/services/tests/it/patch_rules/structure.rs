//! How lists are written.

use serde_json::{Value, json};

use super::{accepted, patched, patient, pharmacy, refused};

const INVALID: &str = "Invalid update with error - ";

#[test]
fn pds_18_a_list_has_1_to_256_well_formed_patches() {
    refused(&json!([]), "PDS-18", &format!("{INVALID}No patches found"));
    refused(&json!({}), "PDS-18", &format!("{INVALID}No patches found"));
    refused(
        &json!([1]),
        "PDS-18",
        &format!("{INVALID}patch 0 is not an object"),
    );
    refused(
        &json!([{ "op": "add", "path": "gender", "value": "male" }]),
        "PDS-18",
        &format!("{INVALID}the path of patch 0 is not a JSON pointer"),
    );
    refused(
        &json!([{ "op": "replace", "path": "/gender" }]),
        "PDS-18",
        &format!("{INVALID}patch 0 has no value"),
    );
    let one = json!({ "op": "replace", "path": "/gender", "value": "male" });
    assert_eq!(accepted(&json!(vec![one.clone(); 256]))["gender"], "male");
    refused(
        &json!(vec![one; 257]),
        "PDS-18",
        &format!("{INVALID}more than 256 patches"),
    );
}

#[test]
fn pds_19_a_patch_adds_replaces_removes_or_tests() {
    for (op, shown) in [
        (json!("move"), "move"),
        (json!("c~"), "?"),
        (json!(7), ""),
        (json!(null), ""),
    ] {
        let patches = json!([{ "op": op, "path": "/gender", "value": "male" }]);
        refused(
            &patches,
            "PDS-19",
            &format!("Invalid value - '{shown}' in field '0/op'"),
        );
    }
}

#[test]
fn pds_20_what_is_added_to_a_list_goes_to_its_end() {
    let name = json!({ "use": "old", "family": "Jones", "period": { "start": "2000-01-01" } });
    refused(
        &json!([{ "op": "add", "path": "/name/0", "value": name }]),
        "PDS-20",
        &format!("{INVALID}Invalid patch - additions to '/name' must use index '-'"),
    );
    let added = accepted(&json!([{ "op": "add", "path": "/name/-", "value": name }]));
    assert_eq!(added["name"][2]["family"], "Jones");
    // Within an item any place will do.
    let inserted = accepted(&json!([
        { "op": "add", "path": "/name/0/id", "value": "n1" },
        { "op": "add", "path": "/name/0/given/0", "value": "Rose" },
    ]));
    assert_eq!(inserted["name"][0]["given"], json!(["Rose", "Jane", "Anne"]));
}

#[test]
fn pds_21_a_change_of_an_item_names_it() {
    let line = json!({ "op": "replace", "path": "/address/0/line/0", "value": "2 High Street" });
    refused(
        &json!([line]),
        "PDS-21",
        &format!("{INVALID}no id or url found for path with root /address/0"),
    );
    for named in [
        json!({ "op": "replace", "path": "/address/0/id", "value": "a1" }),
        json!({ "op": "add", "path": "/address/0/id", "value": "a1" }),
        json!({ "op": "test", "path": "/address/0/id", "value": "a1" }),
    ] {
        let changed = accepted(&json!([named, line]));
        assert_eq!(changed["address"][0]["line"][0], "2 High Street");
        let changed = accepted(&json!([line, named]));
        assert_eq!(changed["address"][0]["id"], "a1", "in any order");
    }
    // A whole item names itself, an extension by its url.
    refused(
        &json!([{ "op": "replace", "path": "/extension/1", "value": { "valueInteger": 2 } }]),
        "PDS-21",
        &format!("{INVALID}no id or url found for path with root /extension/1"),
    );
    let changed = accepted(&json!([
        { "op": "replace", "path": "/extension/1", "value": { "url": "urn:other", "valueInteger": 2 } },
    ]));
    assert_eq!(changed["extension"][1]["valueInteger"], 2);
    // Nor is a whole list replaced.
    refused(
        &json!([{ "op": "replace", "path": "/name", "value": [] }]),
        "PDS-21",
        &format!("{INVALID}no id or url found for path with root /name"),
    );
}

#[test]
fn pds_22_a_removal_comes_right_after_a_test() {
    let removal = json!({ "op": "remove", "path": "/name/1" });
    let words = |instead: &str| {
        format!(
            "{INVALID}removal '/name/1' is not immediately preceded by equivalent test - instead {instead}"
        )
    };
    refused(&json!([removal]), "PDS-22", &words("it is the first item"));
    let test = json!({ "op": "test", "path": "/name/1/id", "value": "n2" });
    let other = json!({ "op": "test", "path": "/gender", "value": "female" });
    refused(
        &json!([test, other, removal]),
        "PDS-22",
        &words("it is preceded by another patch"),
    );
    let elsewhere = json!({ "op": "test", "path": "/name/0/id", "value": "n1" });
    refused(
        &json!([elsewhere, removal]),
        "PDS-22",
        &words("it is preceded by another patch"),
    );
    assert_eq!(
        accepted(&json!([test, removal]))["name"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let whole = json!({ "op": "test", "path": "/name/1", "value": patient()["name"][1] });
    assert_eq!(
        accepted(&json!([whole, removal]))["name"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let url = json!([
        { "op": "test", "path": "/extension/1/url", "value": "urn:other" },
        { "op": "remove", "path": "/extension/1" },
    ]);
    assert_eq!(accepted(&url)["extension"].as_array().unwrap().len(), 1);
}

#[test]
fn pds_23_a_path_leads_to_what_exists() {
    refused(
        &json!([
            { "op": "test", "path": "/name/7/id", "value": "n2" },
            { "op": "remove", "path": "/name/7" },
        ]),
        "PDS-23",
        &format!("{INVALID}Invalid patch - index '7' is out of bounds"),
    );
    let named = json!({ "op": "replace", "path": "/name/0/id", "value": "n1" });
    refused(
        &json!([named, { "op": "remove", "path": "/name/0/suffix/0" }]),
        "PDS-23",
        &format!("{INVALID}Invalid patch - can't remove non-existent object '0'"),
    );
    refused(
        &json!([named, { "op": "replace", "path": "/name/0/suffix", "value": ["PhD"] }]),
        "PDS-23",
        &format!("{INVALID}Invalid patch - can't replace non-existent object 'suffix'"),
    );
    refused(
        &json!([
            { "op": "replace", "path": "/address/0/id", "value": "123456" },
            { "op": "replace", "path": "/address/0/line/0", "value": "2" },
        ]),
        "PDS-23",
        &format!("{INVALID}no 'address' resources with object id '123456'"),
    );
    // What could be about a person is not repeated.
    refused(
        &json!([{ "op": "replace", "path": "/Jane Smith/0", "value": "x" }]),
        "PDS-23",
        &format!("{INVALID}Invalid patch - can't replace non-existent object '?'"),
    );
}

#[test]
fn pds_24_tests_hold() {
    refused(
        &json!([
            { "op": "test", "path": "/gender", "value": "male" },
            { "op": "replace", "path": "/gender", "value": "unknown" },
        ]),
        "PDS-24",
        &format!("{INVALID}a test does not hold"),
    );
    // A number is its value, an object its members in any order.
    let held = json!([
        { "op": "test", "path": "/extension/1", "value": { "valueInteger": 15e-1, "url": "urn:other" } },
        { "op": "replace", "path": "/gender", "value": "male" },
    ]);
    assert_eq!(accepted(&held)["gender"], "male");
}

#[test]
fn patches_see_what_the_ones_before_left_and_all_count_or_none() {
    let twice = json!([
        { "op": "test", "path": "/telecom/0/id", "value": "t1" },
        { "op": "remove", "path": "/telecom/0" },
        { "op": "test", "path": "/telecom/0/id", "value": "t2" },
        { "op": "remove", "path": "/telecom/0" },
    ]);
    assert_eq!(accepted(&twice).get("telecom"), None, "FHIR knows no empty lists");
    let half = json!([
        { "op": "replace", "path": "/gender", "value": "male" },
        { "op": "remove", "path": "/birthDate" },
    ]);
    assert!(patched(&half).is_err());
}

#[test]
fn a_list_that_does_not_exist_yet_is_added_to() {
    let contact = json!({ "relationship": [{ "coding": [{ "code": "C" }] }], "telecom": [{ "system": "phone", "value": "01632960000" }] });
    let added = accepted(&super::add("contact", &contact));
    assert_eq!(added["contact"][0]["relationship"], contact["relationship"]);
}

#[test]
fn a_whole_item_is_replaced_by_none_but_itself() {
    let replace = |path: &str, value: &Value| json!([{ "op": "replace", "path": path, "value": value }]);
    let unknown = json!({ "id": "n9", "use": "nickname", "given": ["Jen"] });
    refused(
        &replace("/name/1", &unknown),
        "PDS-23",
        &format!("{INVALID}no 'name' resources with object id 'n9'"),
    );
    refused(
        &replace("/telecom/0", &patient()["telecom"][1]),
        "PDS-23",
        &format!("{INVALID}no 'telecom' resources with object id 't2'"),
    );
    refused(
        &replace("/extension/1", &pharmacy("Y34567")),
        "PDS-23",
        &format!("{INVALID}no 'extension' resources with object url '?'"),
    );
    // Named beside it, it keeps its name, and with it its use.
    let named = |value: Value| {
        json!([
            { "op": "test", "path": "/name/1/id", "value": "n2" },
            { "op": "replace", "path": "/name/1", "value": value },
        ])
    };
    let changed = accepted(&named(json!({ "use": "nickname", "given": ["Jen"] })));
    assert_eq!(
        (&changed["name"][1]["id"], &changed["name"][1]["given"]),
        (&json!("n2"), &json!(["Jen"]))
    );
    refused(
        &named(json!({ "use": "old", "given": ["Jen"] })),
        "PDS-28",
        &format!("{INVALID}the use of a name cannot be changed"),
    );
}

#[test]
fn an_item_does_not_lose_its_name() {
    refused(
        &json!([
            { "op": "test", "path": "/name/1/id", "value": "n2" },
            { "op": "remove", "path": "/name/1/id" },
            { "op": "replace", "path": "/name/1/use", "value": "old" },
        ]),
        "PDS-21",
        &format!("{INVALID}the id of an item of '/name' cannot be removed"),
    );
    refused(
        &json!([
            { "op": "test", "path": "/extension/1/url", "value": "urn:other" },
            { "op": "remove", "path": "/extension/1/url" },
        ]),
        "PDS-21",
        &format!("{INVALID}the url of an item of '/extension' cannot be removed"),
    );
}

#[test]
fn no_path_leads_to_the_whole_resource() {
    let mut other = patient();
    other["name"].as_array_mut().unwrap().pop();
    for op in ["add", "replace", "test", "remove"] {
        refused(
            &json!([{ "op": op, "path": "", "value": other }]),
            "PDS-18",
            &format!("{INVALID}the path of patch 0 leads to the whole resource"),
        );
    }
}

#[test]
fn a_name_is_looked_at_when_its_turn_comes() {
    let test = json!({ "op": "test", "path": "/telecom/0/id", "value": "t1" });
    let removal = json!({ "op": "remove", "path": "/telecom/0" });
    let change = json!({ "op": "replace", "path": "/telecom/0/value", "value": "jane.smith@example.com" });
    refused(
        &json!([test, removal, change]),
        "PDS-23",
        &format!("{INVALID}no 'telecom' resources with object id 't1'"),
    );
    let named = json!({ "op": "test", "path": "/telecom/0/id", "value": "t2" });
    let changed = accepted(&json!([test, removal, named, change]));
    assert_eq!(changed["telecom"][0]["value"], "jane.smith@example.com");
}
