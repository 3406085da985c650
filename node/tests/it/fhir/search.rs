//! Search over HTTP.

use serde_json::json;

use super::http::ask;
use super::{PDS, at, code, diagnostics, id, patient, put, three};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_answers_as_the_national_service_at_every_node() {
    let nodes = three().await;
    let number = put(&nodes[0], 20).await;
    put(&nodes[0], 21).await;
    let (_, resource) = patient(20);
    let family = resource["name"][0]["family"].as_str().unwrap();
    let birth = resource["birthDate"].as_str().unwrap();
    let path = |query: &str| format!("{PDS}/Patient{query}");
    for node in &nodes {
        let query = format!("?family={family}&birthdate=eq{birth}");
        let bundle = ask(at(node), "GET", &path(&query), &[id(1)], "").await.json();
        assert_eq!(
            (&bundle["type"], &bundle["total"]),
            (&json!("searchset"), &json!(1)),
            "{bundle}"
        );
        let entry = &bundle["entry"][0];
        assert_eq!(
            (&entry["resource"]["id"], &entry["search"]["score"]),
            (&json!(number), &json!(1.0))
        );
        let url = format!("http://{}{PDS}/Patient/{number}", at(node));
        assert_eq!(entry["fullUrl"], url);
    }
    let node = at(&nodes[1]);
    let nobody = ask(
        node,
        "GET",
        &path("?family=Xyz&birthdate=1990-01-01"),
        &[id(2)],
        "",
    )
    .await;
    assert_eq!((nobody.status, &nobody.json()["total"]), (200, &json!(0)));
    assert!(nobody.json().get("entry").is_none(), "FHIR has no empty arrays");
    // What is wrong with a search.
    for (query, expected) in [
        ("", "400 UNSUPPORTED_SERVICE"),
        ("?family=Smith", "400 INVALID_SEARCH_DATA"),
        ("?family=%20&birthdate=1990-01-01", "400 INVALID_SEARCH_DATA"),
        (
            "?family=Smith&birthdate=1990-01-01&name=x",
            "400 ADDITIONAL_PROPERTIES",
        ),
        ("?family=%ff&birthdate=1990-01-01", "200 Bundle"),
    ] {
        let reply = ask(node, "GET", &path(query), &[id(3)], "").await;
        let got = if reply.status == 200 {
            "200 Bundle".to_owned()
        } else {
            code(&reply)
        };
        assert_eq!(got, expected, "{query}");
    }
    let many = format!("?{}", "given=a&".repeat(40));
    assert_eq!(
        code(&ask(node, "GET", &path(&many), &[id(4)], "").await),
        "400 INVALID_SEARCH_DATA"
    );
    let alone = [id(5), ("spine-access-mode", "application-restricted".to_owned())];
    let reply = ask(
        node,
        "GET",
        &path("?family=Smith&birthdate=1990-01-01"),
        &alone,
        "",
    )
    .await;
    assert_eq!(
        (
            code(&reply).as_str(),
            diagnostics(&reply).contains("_max-results")
        ),
        ("403 INVALID_VALUE", true)
    );
    // More than were asked for.
    let mut twin = resource.clone();
    twin["id"] = json!("9990000018");
    twin.as_object_mut().unwrap().remove("identifier");
    let body = twin.to_string();
    assert_eq!(
        ask(node, "PUT", "/fhir/R4/Patient/9990000018", &[super::FHIR], body)
            .await
            .status,
        201
    );
    let query = format!("?family={family}&birthdate=eq{birth}&_max-results=1");
    let reply = ask(node, "GET", &path(&query), &[id(6)], "").await;
    assert_eq!(code(&reply), "200 TOO_MANY_MATCHES");
    assert_eq!(reply.json()["issue"][0]["code"], "multiple-matches");
}
