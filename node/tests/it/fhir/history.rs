//! Older versions in the dialect of the national service: what it asks of every request, and the answers of the plain one.

use serde_json::{Value, json};

use super::http::{Reply, ask, get};
use super::{LIST, PDS, PLAIN, at, code, diagnostics, id, patches, put, three};

/// Nobody has it.
const ABSENT: &str = "9990000018";

async fn read(node: &str, path: &str) -> Reply {
    ask(node, "GET", path, &[id(1)], "").await
}

fn link<'a>(bundle: &'a Value, relation: &str) -> Option<&'a str> {
    let links = bundle["link"].as_array().unwrap();
    let link = links.iter().find(|link| link["relation"] == relation)?;
    link["url"].as_str()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_stays_readable_in_the_national_dialect() {
    let nodes = three().await;
    let number = put(&nodes[0], 1).await;
    let path = format!("{PDS}/Patient/{number}");
    let headers = [
        id(2),
        ("if-match", "W/\"1\"".to_owned()),
        ("content-type", LIST.1.to_owned()),
    ];
    let gender = patches(&json!([{ "op": "replace", "path": "/gender", "value": "unknown" }]));
    let patched = ask(at(&nodes[1]), "PATCH", &path, &headers, gender).await;
    assert_eq!(patched.status, 200, "{}", patched.text());
    for node in &nodes {
        let node = at(node);
        let page = read(node, &format!("{path}/_history?_count=1")).await;
        assert_eq!(page.header("content-type"), Some("application/fhir+json"));
        assert_eq!(page.header("x-request-id"), Some(id(1).1.as_str()));
        let page = page.json();
        assert_eq!((&page["type"], &page["total"]), (&json!("history"), &json!(2)));
        assert_eq!(page["entry"][0]["resource"]["gender"], "unknown");
        assert_eq!(page["entry"][0]["fullUrl"], format!("http://{node}{path}"));
        let next = link(&page, "next").unwrap().to_owned();
        let next = next.strip_prefix(&format!("http://{node}")).unwrap();
        let page = read(node, next).await.json();
        let first = json!({ "status": "201", "etag": "W/\"1\"" });
        assert_eq!(page["entry"][0]["response"], first);
        assert_eq!(link(&page, "next"), None, "the last page");
        // The same as in the plain dialect.
        for version in ["1", "2"] {
            let told = read(node, &format!("{path}/_history/{version}")).await;
            let etag = format!("W/\"{version}\"");
            assert_eq!((told.status, told.header("etag")), (200, Some(etag.as_str())));
            let plain = get(node, &format!("{PLAIN}/Patient/{number}/_history/{version}")).await;
            assert_eq!(told.text(), plain.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_looked_at_in_the_order_of_the_national_service() {
    let nodes = three().await;
    let node = at(&nodes[1]);
    let number = put(&nodes[0], 2).await;
    for tail in ["_history", "_history/1"] {
        let path = format!("{PDS}/Patient/{number}/{tail}");
        // The request id comes first, whatever else is wrong; then the other headers.
        for wrong in [format!("{PDS}/Patient/1/{tail}"), format!("{path}?what=1")] {
            let reply = get(node, &wrong).await;
            assert_eq!(code(&reply), "400 MISSING_VALUE", "{wrong}");
            assert_eq!(
                diagnostics(&reply),
                "Invalid request with error - X-Request-ID header must be supplied to access this resource"
            );
        }
        let reply = ask(node, "GET", &path, &[("x-request-id", "1234")], "").await;
        assert_eq!(code(&reply), "400 INVALID_VALUE");
        for (name, value) in [
            ("nhsd-session-urid", "x1"),
            ("x-sync-wait", "60"),
            ("spine-access-mode", "king"),
        ] {
            let reply = ask(node, "GET", &path, &[id(3), (name, value.to_owned())], "").await;
            assert_eq!(code(&reply), "400 INVALID_VALUE", "{name}");
        }
        // Then the number, then who asks, then whether there is such a patient.
        for bad in ["1", "9990000019", "%ff", "99900000180", "abc"] {
            let reply = read(node, &format!("{PDS}/Patient/{bad}/{tail}?what=1")).await;
            assert_eq!(code(&reply), "400 INVALID_RESOURCE_ID", "{bad}");
        }
        let absent = read(node, &format!("{PDS}/Patient/{ABSENT}/{tail}")).await;
        assert_eq!(code(&absent), "404 RESOURCE_NOT_FOUND");
        let reply = ask(node, "POST", &path, &[id(4)], "").await;
        assert_eq!(code(&reply), "405 UNSUPPORTED_SERVICE");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_see_a_history_and_whether_it_is_there_come_before_what_is_wrong_with_a_page() {
    let nodes = three().await;
    let node = at(&nodes[2]);
    let number = put(&nodes[0], 3).await;
    let path = format!("{PDS}/Patient/{number}");
    let acting = |mode: &str, who: &str| {
        [
            id(5),
            ("spine-access-mode", mode.to_owned()),
            ("spine-principal", who.to_owned()),
        ]
    };
    for tail in [
        "_history",
        "_history/1",
        "_history?what=1",
        "_history?_count=0",
        "_history?_count=101",
    ] {
        let theirs = format!("{path}/{tail}");
        let other = ask(node, "GET", &theirs, &acting("patient", ABSENT), "").await;
        assert_eq!(code(&other), "403 ACCESS_DENIED", "{tail}");
        assert_eq!(diagnostics(&other), "Patient cannot perform this action");
        let absent = read(node, &format!("{PDS}/Patient/{ABSENT}/{tail}")).await;
        assert_eq!(code(&absent), "404 RESOURCE_NOT_FOUND", "{tail}");
    }
    for (mode, who) in [
        ("patient", number.as_str()),
        ("application-restricted", "app"),
        ("privileged-application", "app"),
    ] {
        for tail in ["_history", "_history/1"] {
            let own = ask(node, "GET", &format!("{path}/{tail}"), &acting(mode, who), "").await;
            assert_eq!(own.status, 200, "{mode} {tail}: {}", own.text());
        }
    }
    for (tail, expected) in [
        ("?what=1", "400 ADDITIONAL_PROPERTIES"),
        ("?_count=0", "400 INVALID_VALUE"),
        ("?_count=101", "400 INVALID_VALUE"),
        ("?_before=x", "400 INVALID_VALUE"),
        ("/2", "404 RESOURCE_NOT_FOUND"),
        ("/0", "404 RESOURCE_NOT_FOUND"),
        ("/x", "404 RESOURCE_NOT_FOUND"),
        ("/4294967295", "404 RESOURCE_NOT_FOUND"),
    ] {
        let reply = read(node, &format!("{path}/_history{tail}")).await;
        assert_eq!(code(&reply), expected, "{tail}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_marked_as_invalid_has_no_history_in_the_national_dialect() {
    let nodes = three().await;
    let number = put(&nodes[0], 4).await;
    let plain = format!("{PLAIN}/Patient/{number}");
    let deleted = ask(at(&nodes[1]), "DELETE", &plain, &[("accept", "*/*")], "").await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    for node in &nodes {
        let node = at(node);
        for tail in ["_history", "_history/1", "_history/2", "_history?_count=101"] {
            let told = read(node, &format!("{PDS}/Patient/{number}/{tail}")).await;
            assert_eq!(code(&told), "404 INVALIDATED_RESOURCE", "{tail}");
        }
        let versions = get(node, &format!("{plain}/_history")).await;
        assert_eq!((versions.status, &versions.json()["total"]), (200, &json!(2)));
    }
}
