//! What `/metadata` lists works, and what works is listed.

use std::collections::BTreeSet;

use serde_json::Value;
use spine_node::gateway::http::openapi;

use super::http::{ask, get};
use super::{PDS, PLAIN, at, id, put, three};

/// Method and path of each interaction, its resource and its code.
const INTERACTIONS: &[(&str, &str, &str, &str)] = &[
    ("get", "/Patient/{id}", "Patient", "read"),
    ("put", "/Patient/{id}", "Patient", "update"),
    ("patch", "/Patient/{id}", "Patient", "patch"),
    ("delete", "/Patient/{id}", "Patient", "delete"),
    ("get", "/Patient/{id}/_history", "Patient", "history-instance"),
    ("get", "/Patient/{id}/_history/{version}", "Patient", "vread"),
    ("get", "/Patient", "Patient", "search-type"),
    ("post", "/Patient/_search", "Patient", "search-type"),
    ("post", "/Patient", "Patient", "create"),
    (
        "get",
        "/Patient/{id}/RelatedPerson",
        "RelatedPerson",
        "search-type",
    ),
    ("get", "/RelatedPerson", "RelatedPerson", "search-type"),
    ("post", "/RelatedPerson", "RelatedPerson", "create"),
    ("get", "/RelatedPerson/{id}", "RelatedPerson", "read"),
    ("put", "/RelatedPerson/{id}", "RelatedPerson", "update"),
    ("delete", "/RelatedPerson/{id}", "RelatedPerson", "delete"),
    (
        "get",
        "/RelatedPerson/{id}/_history/{version}",
        "RelatedPerson",
        "vread",
    ),
];
/// What is no interaction with a resource. The merge is listed as an operation.
const OTHERS: [&str; 5] = ["/metadata", "/_ping", "/_status", "/_feed", "/Patient/$merge"];
/// What a search of FHIR, or of the national service, may name, whether it is taken here or not.
const PARAMETERS: &[&str] = &[
    "_content",
    "_exact-match",
    "_fuzzy-match",
    "_has",
    "_history",
    "_id",
    "_lastUpdated",
    "_list",
    "_max-results",
    "_profile",
    "_security",
    "_tag",
    "_text",
    "active",
    "address",
    "address-city",
    "address-country",
    "address-postalcode",
    "address-postcode",
    "address-state",
    "address-use",
    "birthdate",
    "death-date",
    "deceased",
    "email",
    "family",
    "gender",
    "general-practitioner",
    "given",
    "identifier",
    "language",
    "link",
    "managing-organization",
    "name",
    "organization",
    "phone",
    "phonetic",
    "telecom",
];

type Pairs = BTreeSet<(String, String)>;

fn pair(one: &str, other: &str) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

/// Methods and paths of a dialect; a test of the document holds it against the routes.
fn documented(base: &str) -> Pairs {
    let document: Value = serde_json::from_str(openapi::document()).unwrap();
    let mut all = Pairs::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if let Some(path) = path.strip_prefix(base) {
            all.extend(
                methods
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(|method| pair(method, path)),
            );
        }
    }
    all
}

fn resources(statement: &Value) -> &[Value] {
    statement["rest"][0]["resource"].as_array().unwrap()
}

/// Resources and codes of the interactions that a statement lists.
fn listed(statement: &Value) -> Pairs {
    let mut all = Pairs::new();
    for resource in resources(statement) {
        let kind = resource["type"].as_str().unwrap();
        let interactions = resource["interaction"].as_array().unwrap().iter();
        all.extend(interactions.map(|one| pair(kind, one["code"].as_str().unwrap())));
    }
    all
}

/// The parameters that a statement lists of a resource.
fn parameters<'a>(statement: &'a Value, kind: &str) -> BTreeSet<&'a str> {
    let resource = resources(statement)
        .iter()
        .find(|one| one["type"] == kind)
        .unwrap();
    let parameters = resource["searchParam"].as_array().into_iter().flatten();
    parameters.map(|one| one["name"].as_str().unwrap()).collect()
}

/// Whether the parameter is one of this search, whatever else is wrong with it.
async fn is_taken(node: &str, search: &str) -> bool {
    let reply = ask(node, "GET", search, &[id(500)], "").await;
    assert_ne!(reply.status, 405, "{search}");
    !reply.text().contains("ADDITIONAL_PROPERTIES")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interactions_that_are_listed_work_and_those_that_work_are_listed() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let number = put(&nodes[0], 9).await;
    for base in [PLAIN, PDS] {
        let statement = get(node, &format!("{base}/metadata")).await.json();
        let mut works = Pairs::new();
        for (method, path) in documented(base) {
            if OTHERS.contains(&path.as_str()) {
                continue;
            }
            let known = INTERACTIONS
                .iter()
                .find(|one| (one.0, one.1) == (method.as_str(), path.as_str()));
            let (_, _, kind, code) = known.unwrap_or_else(|| panic!("{method} {path} is no interaction"));
            works.insert(pair(kind, code));
            let own = if path.starts_with("/RelatedPerson") {
                format!("{number}-1")
            } else {
                number.clone()
            };
            let url = format!("{base}{path}").replace("{id}", &own);
            let url = url.replace("{version}", "1");
            let reply = ask(node, &method.to_uppercase(), &url, &[id(501)], "").await;
            let text = reply.text();
            assert!(
                reply.status != 405 && !text.contains("ADDITIONAL_PROPERTIES"),
                "{method} {path}: {text}"
            );
        }
        assert_eq!(listed(&statement), works, "{base}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_that_are_listed_are_taken_and_those_that_are_taken_are_listed() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let number = put(&nodes[0], 10).await;
    for base in [PLAIN, PDS] {
        let statement = get(node, &format!("{base}/metadata")).await.json();
        let of_patients = parameters(&statement, "Patient");
        assert!(of_patients.iter().all(|name| PARAMETERS.contains(name)));
        for name in PARAMETERS {
            let taken = is_taken(node, &format!("{base}/Patient?{name}=1")).await;
            assert_eq!(taken, of_patients.contains(name), "{base} {name}");
        }
        for name in parameters(&statement, "RelatedPerson") {
            let found = get(node, &format!("{base}/RelatedPerson?{name}={number}")).await;
            assert_eq!(found.status, 200, "{base} {name}: {}", found.text());
        }
    }
}
