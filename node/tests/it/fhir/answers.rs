//! What each interaction answers, in both dialects.

use serde_json::{Value, json};

use super::http::{ask, get};
use super::{FHIR, LIST, MERGE, PDS, PLAIN, at, code, diagnostics, id, patches, put, three};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_is_put_read_patched_and_remembered_at_every_node() {
    let nodes = three().await;
    let number = put(&nodes[0], 1).await;
    let path = format!("{PLAIN}/Patient/{number}");
    for node in &nodes {
        let reply = get(at(node), &path).await;
        assert_eq!((reply.status, reply.header("etag")), (200, Some("W/\"1\"")));
        assert_eq!(reply.header("content-type"), Some("application/fhir+json"));
        assert_eq!(reply.json()["meta"]["versionId"], "1");
    }
    // The same request at each node: it takes effect once.
    let merge = json!({ "gender": "unknown" }).to_string();
    let headers = [
        ("content-type", MERGE.1.to_owned()),
        ("if-match", "W/\"1\"".to_owned()),
        id(1),
    ];
    let mut first = None;
    for (turn, node) in nodes.iter().enumerate() {
        let reply = ask(at(node), "PATCH", &path, &headers, &merge).await;
        assert_eq!(
            (reply.status, reply.header("etag")),
            (200, Some("W/\"2\"")),
            "{}",
            reply.text()
        );
        assert_eq!(reply.header("spine-replayed"), (turn > 0).then_some("true"));
        assert_eq!(reply.header("x-request-id"), Some(id(1).1.as_str()));
        assert_eq!(*first.get_or_insert_with(|| reply.text()), reply.text());
    }
    let reused = ask(at(&nodes[1]), "PATCH", &path, &headers, "{}").await;
    assert_eq!(code(&reused), "422 INVALID_VALUE");
    // Every version stays readable, by pages.
    let page = get(at(&nodes[2]), &format!("{path}/_history?_count=1"))
        .await
        .json();
    assert_eq!((&page["type"], &page["total"]), (&json!("history"), &json!(2)));
    assert_eq!(page["entry"][0]["resource"]["gender"], "unknown");
    let next = page["link"]
        .as_array()
        .unwrap()
        .iter()
        .find(|link| link["relation"] == "next")
        .unwrap();
    let (_, next) = next["url"].as_str().unwrap().split_once(&number).unwrap();
    let page = get(at(&nodes[2]), &format!("{path}{next}")).await.json();
    assert_eq!(
        page["entry"][0]["response"],
        json!({ "status": "201", "etag": "W/\"1\"" })
    );
    assert_eq!(page["link"].as_array().unwrap().len(), 1, "the last page");
    let version = get(at(&nodes[0]), &format!("{path}/_history/1")).await;
    assert_eq!((version.status, version.header("etag")), (200, Some("W/\"1\"")));
    for absent in ["3", "0", "x", "4294967295"] {
        let reply = get(at(&nodes[0]), &format!("{path}/_history/{absent}")).await;
        assert_eq!(code(&reply), "404 RESOURCE_NOT_FOUND", "{absent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plain_dialect_answers_as_fhir_asks() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let number = put(&nodes[0], 2).await;
    let path = format!("{PLAIN}/Patient/{number}");
    let (_, mut resource) = super::patient(2);
    resource["gender"] = json!("unknown");
    let body = resource.to_string();
    // An update, an update of what has changed since, an update of whatever there is.
    let with = |version: &str| {
        [
            ("content-type", FHIR.1.to_owned()),
            ("if-match", version.to_owned()),
        ]
    };
    let reply = ask(node, "PUT", &path, &with("W/\"1\""), &body).await;
    assert_eq!(
        (reply.status, reply.header("etag"), reply.header("location")),
        (200, Some("W/\"2\""), None)
    );
    let reply = ask(node, "PUT", &path, &with("W/\"1\""), &body).await;
    assert_eq!(code(&reply), "412 RESOURCE_VERSION_MISMATCH");
    let coding = reply.json()["issue"][0]["details"]["coding"].clone();
    assert_eq!(
        (&coding[1]["code"], &coding[2]["code"]),
        (&json!("VERSION_MISMATCH"), &json!("PDS-12"))
    );
    assert_eq!(
        code(&ask(node, "PUT", &path, &with("2"), &body).await),
        "412 PRECONDITION_FAILED"
    );
    assert_eq!(
        ask(node, "PUT", &path, &[FHIR], &body).await.header("etag"),
        Some("W/\"3\"")
    );
    let absent = format!("{PLAIN}/Patient/9990000018");
    assert_eq!(
        code(&ask(node, "PUT", &absent, &[FHIR], &body).await),
        "400 INVALID_RESOURCE_ID"
    );
    assert_eq!(code(&get(node, &absent).await), "404 RESOURCE_NOT_FOUND");
    // A created one says where it is.
    let (other, resource) = super::patient(3);
    let reply = ask(
        node,
        "PUT",
        &format!("{PLAIN}/Patient/{other}"),
        &[FHIR],
        resource.to_string(),
    )
    .await;
    let location = format!("http://{node}{PLAIN}/Patient/{other}/_history/1");
    assert_eq!(
        (reply.status, reply.header("location")),
        (201, Some(location.as_str()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_plain_dialect_refuses_is_told_as_fhir_tells_it() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let number = put(&nodes[0], 6).await;
    let path = format!("{PLAIN}/Patient/{number}");
    // A list without If-Match is for whatever there is.
    let list = json!([{ "op": "replace", "path": "/gender", "value": "male" }]).to_string();
    assert_eq!(
        ask(node, "PATCH", &path, &[LIST], &list).await.json()["gender"],
        "male"
    );
    assert_eq!(
        code(&ask(node, "PATCH", &path, &[FHIR], &list).await),
        "415 UNSUPPORTED_SERVICE"
    );
    assert_eq!(
        code(&ask(node, "PATCH", &path, &[LIST], "[{}]").await),
        "400 INVALID_VALUE"
    );
    let lost = json!([{ "op": "remove", "path": "/x" }]).to_string();
    assert_eq!(
        code(&ask(node, "PATCH", &path, &[LIST], lost).await),
        "422 INVALID_UPDATE"
    );
    let broken = json!({ "name": null }).to_string();
    assert_eq!(
        code(&ask(node, "PATCH", &path, &[MERGE], broken).await),
        "422 VALIDATION_ERROR"
    );
    // What does not exist.
    assert_eq!(
        code(&get(node, &format!("{PLAIN}/Observation/1")).await),
        "404 UNSUPPORTED_SERVICE"
    );
    assert_eq!(code(&get(node, "/").await), "404 UNSUPPORTED_SERVICE");
    assert_eq!(
        code(&ask(node, "POST", &path, &[FHIR], "").await),
        "405 UNSUPPORTED_SERVICE"
    );
    assert_eq!(
        code(&get(node, &format!("{path}/_history?_since=2020")).await),
        "400 ADDITIONAL_PROPERTIES"
    );
    assert_eq!(
        code(&get(node, &format!("{path}/_history?_count=0")).await),
        "400 INVALID_VALUE"
    );
    assert_eq!(
        code(&get(node, &format!("{path}/_history?_count=101")).await),
        "400 INVALID_VALUE"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_national_dialect_looks_at_a_request_in_its_order() {
    let nodes = three().await;
    let node = at(&nodes[1]);
    let number = put(&nodes[0], 4).await;
    let path = format!("{PDS}/Patient/{number}");
    let absent = format!("{PDS}/Patient/9990000018");
    // The request id comes first, whatever else is wrong.
    let reply = ask(node, "PATCH", &format!("{PDS}/Patient/1"), &[LIST], "").await;
    assert_eq!(code(&reply), "400 MISSING_VALUE");
    assert_eq!(
        diagnostics(&reply),
        "Invalid request with error - X-Request-ID header must be supplied to access this resource"
    );
    let reply = ask(node, "GET", &path, &[("x-request-id", "1234")], "").await;
    assert_eq!(code(&reply), "400 INVALID_VALUE");
    assert_eq!(
        diagnostics(&reply),
        "Invalid value - '1234' in header 'X-Request-ID'"
    );
    for (name, value) in [
        ("nhsd-session-urid", "x1"),
        ("x-sync-wait", "60"),
        ("spine-access-mode", "king"),
    ] {
        let reply = ask(node, "GET", &path, &[id(1), (name, value.to_owned())], "").await;
        assert_eq!(code(&reply), "400 INVALID_VALUE", "{name}");
    }
    // Then the number, then whether there is such a patient, then the version, then the patches.
    for bad in ["1", "9990000019", "%ff", "99900000180", "abc"] {
        let reply = ask(node, "PATCH", &format!("{PDS}/Patient/{bad}"), &[id(2)], "").await;
        assert_eq!(code(&reply), "400 INVALID_RESOURCE_ID", "{bad}");
    }
    assert_eq!(
        code(&ask(node, "PATCH", &absent, &[id(3)], "").await),
        "404 RESOURCE_NOT_FOUND"
    );
    let reply = ask(node, "PATCH", &path, &[id(4)], "").await;
    assert_eq!(code(&reply), "412 PRECONDITION_FAILED");
    assert_eq!(
        diagnostics(&reply),
        "Invalid request with error - If-Match header must be supplied to update this resource"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_national_patch_is_checked_and_then_carried_out_once() {
    let nodes = three().await;
    let node = at(&nodes[1]);
    let number = put(&nodes[0], 7).await;
    let path = format!("{PDS}/Patient/{number}");
    let named = |number, version: &str, kind: &str| {
        [
            id(number),
            ("if-match", version.to_owned()),
            ("content-type", kind.to_owned()),
        ]
    };
    let gender = patches(&json!([{ "op": "replace", "path": "/gender", "value": "unknown" }]));
    let reply = ask(
        node,
        "PATCH",
        &path,
        &named(5, "W/\"1\"", "application/json"),
        &gender,
    )
    .await;
    assert_eq!(code(&reply), "400 UNSUPPORTED_SERVICE");
    let reply = ask(node, "PATCH", &path, &named(6, "W/\"9\"", LIST.1), "{}").await;
    assert_eq!(code(&reply), "409 RESOURCE_VERSION_MISMATCH");
    let reply = ask(node, "PATCH", &path, &named(7, "W/\"1\"", LIST.1), "{}").await;
    assert_eq!(code(&reply), "400 INVALID_UPDATE");
    assert_eq!(
        diagnostics(&reply),
        "Invalid update with error - No patches found"
    );
    let removal = patches(&json!([{ "op": "remove", "path": "/gender" }]));
    let reply = ask(node, "PATCH", &path, &named(8, "W/\"1\"", LIST.1), removal).await;
    assert_eq!(code(&reply), "403 FORBIDDEN_UPDATE");
    assert_eq!(reply.json()["issue"][0]["severity"], "information");
    assert_eq!(
        reply.json()["issue"][0]["details"]["coding"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // And then it is carried out.
    let reply = ask(node, "PATCH", &path, &named(9, "W/\"1\"", LIST.1), &gender).await;
    assert_eq!(
        (reply.status, reply.header("etag")),
        (200, Some("W/\"2\"")),
        "{}",
        reply.text()
    );
    assert_eq!(reply.json()["gender"], "unknown");
    let again = ask(node, "PATCH", &path, &named(9, "W/\"1\"", LIST.1), &gender).await;
    assert_eq!(
        (again.text(), again.header("spine-replayed")),
        (reply.text(), Some("true"))
    );
    let echoed = ask(
        node,
        "GET",
        &path,
        &[id(10), ("x-correlation-id", "my own".to_owned())],
        "",
    )
    .await;
    assert_eq!(echoed.header("x-correlation-id"), Some("my own"));
    assert_eq!(
        code(&ask(node, "GET", &format!("{PDS}/Patient"), &[id(11)], "").await),
        "400 UNSUPPORTED_SERVICE"
    );
    assert_eq!(
        code(&ask(node, "PUT", &path, &[id(12)], "").await),
        "405 UNSUPPORTED_SERVICE"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_modes_and_sensitive_records_are_those_of_the_national_service() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let (number, mut resource) = super::patient(5);
    resource["meta"]["security"][0]["code"] = json!("R");
    let plain = format!("{PLAIN}/Patient/{number}");
    assert_eq!(
        ask(node, "PUT", &plain, &[FHIR], resource.to_string())
            .await
            .status,
        201
    );
    let path = format!("{PDS}/Patient/{number}");
    let shown = ask(node, "GET", &path, &[id(1)], "").await.json();
    assert!(shown["name"].is_array() && shown.get("address").is_none() && shown.get("telecom").is_none());
    let hides = |shown: &Value| shown.get("address").is_none() && shown.get("telecom").is_none();
    let read = get(node, &plain).await.json();
    assert!(read["name"].is_array() && hides(&read), "{read}");
    // Nor where they were before they were sensitive, nor among those who are found.
    let versions = get(node, &format!("{plain}/_history")).await.json();
    assert!(hides(&versions["entry"][0]["resource"]), "{versions}");
    assert!(hides(&get(node, &format!("{plain}/_history/1")).await.json()));
    let found = get(node, &format!("{PLAIN}/Patient?_id={number}")).await.json();
    assert!(hides(&found["entry"][0]["resource"]), "{found}");
    // Whoever sends back what they were shown takes nothing away.
    let headers = [FHIR, ("if-match", "W/\"1\"")];
    assert_eq!(
        ask(node, "PUT", &plain, &headers, read.to_string()).await.status,
        200
    );
    let acting = |mode: &str, who: &str| {
        [
            id(2),
            ("spine-access-mode", mode.to_owned()),
            ("spine-principal", who.to_owned()),
        ]
    };
    let own = ask(node, "GET", &path, &acting("patient", &number), "").await;
    assert_eq!(own.status, 200);
    let other = ask(node, "GET", &path, &acting("patient", "9990000018"), "").await;
    assert_eq!(code(&other), "403 ACCESS_DENIED");
    assert_eq!(diagnostics(&other), "Patient cannot perform this action");
    let change = [
        id(3),
        ("spine-access-mode", "application-restricted".to_owned()),
        ("if-match", "W/\"2\"".to_owned()),
        ("content-type", LIST.1.to_owned()),
    ];
    let gender = patches(&json!([{ "op": "replace", "path": "/gender", "value": "unknown" }]));
    assert_eq!(
        code(&ask(node, "PATCH", &path, &change, gender).await),
        "403 INVALID_METHOD"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_what_it_can_do_and_how_it_is() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    for (base, interactions) in [(PLAIN, 8), (PDS, 6)] {
        let statement = get(node, &format!("{base}/metadata")).await.json();
        assert_eq!(statement["resourceType"], "CapabilityStatement");
        let listed = &statement["rest"][0]["resource"][0]["interaction"];
        assert_eq!(listed.as_array().unwrap().len(), interactions);
        assert_eq!(get(node, &format!("{base}/_ping")).await.json()["status"], "pass");
    }
    // A node knows its leaders a moment after it has one.
    let mut status = Value::Null;
    for _ in 0..100 {
        let reply = get(node, &format!("{PDS}/_status")).await;
        status = reply.json();
        if reply.status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(status["status"], "pass", "{status}");
    assert_eq!(status["checks"]["initialised"][0]["status"], "pass");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_match_is_read_as_each_dialect_writes_it() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let number = put(&nodes[0], 8).await;
    let path = format!("{PDS}/Patient/{number}");
    let gender = patches(&json!([{ "op": "replace", "path": "/gender", "value": "unknown" }]));
    for (turn, bad) in (20..).zip(["\"1\"", "1", "*", "W/1", "w/\"1\"", ""]) {
        let headers = [
            id(turn),
            ("if-match", bad.to_owned()),
            ("content-type", LIST.1.to_owned()),
        ];
        let reply = ask(node, "PATCH", &path, &headers, &gender).await;
        assert_eq!(code(&reply), "412 PRECONDITION_FAILED", "{bad}");
    }
    let path = format!("{PLAIN}/Patient/{number}");
    for (good, gender) in [("\"1\"", "unknown"), ("W/\"2\"", "male"), ("*", "unknown")] {
        let headers = [MERGE, ("if-match", good)];
        let body = json!({ "gender": gender }).to_string();
        let reply = ask(node, "PATCH", &path, &headers, body).await;
        assert_eq!(reply.status, 200, "{good}: {}", reply.text());
    }
    assert_eq!(get(node, &path).await.header("etag"), Some("W/\"4\""));
    // Of whatever there is, where there is something.
    let (other, resource) = super::patient(9);
    let path = format!("{PLAIN}/Patient/{other}");
    let headers = [FHIR, ("if-match", "*")];
    let absent = ask(node, "PUT", &path, &headers, resource.to_string()).await;
    assert_eq!(code(&absent), "404 RESOURCE_NOT_FOUND");
    put(&nodes[0], 9).await;
    let present = ask(node, "PUT", &path, &headers, resource.to_string()).await;
    assert_eq!((present.status, present.header("etag")), (200, Some("W/\"2\"")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_whom_an_application_calls_is_an_ods_code() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let number = put(&nodes[0], 10).await;
    let path = format!("{PDS}/Patient/{number}");
    for (mode, organisation, expected) in [
        ("application-restricted", "Y12345", 200),
        ("application-restricted", "y12345", 200),
        ("application-restricted", "Y1-2345", 400),
        ("privileged-application", "?", 400),
        ("healthcare-worker", "?", 200),
    ] {
        let headers = [
            id(30),
            ("spine-access-mode", mode.to_owned()),
            ("nhsd-end-user-organisation-ods", organisation.to_owned()),
        ];
        let reply = ask(node, "GET", &path, &headers, "").await;
        assert_eq!(reply.status, expected, "{mode} {organisation}: {}", reply.text());
        if expected == 400 {
            let told = format!("Invalid value - '{organisation}' in header 'NHSD-End-User-Organisation-ODS'");
            assert_eq!(
                (code(&reply), diagnostics(&reply)),
                ("400 INVALID_VALUE".to_owned(), told)
            );
        }
    }
}
