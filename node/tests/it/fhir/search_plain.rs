//! Search in the plain dialect: by number, and by what is known of somebody, page by page.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::http::{ask, get};
use super::{FHIR, PLAIN, at, code, patient, put, three};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const SYSTEM: &str = "https%3A%2F%2Ffhir.nhs.uk%2FId%2Fnhs-number%7C";

/// Puts patients of one name and birth date; their numbers.
pub(super) async fn alike(node: &str, indexes: std::ops::Range<u64>) -> BTreeSet<String> {
    let mut numbers = BTreeSet::new();
    for index in indexes {
        let (number, mut resource) = patient(index);
        resource["name"] = json!([{ "id": "1", "use": "usual", "given": ["Ada"], "family": "Zimmer" }]);
        resource["birthDate"] = json!("1980-02-03");
        let path = format!("{PLAIN}/Patient/{number}");
        let reply = ask(node, "PUT", &path, &[FHIR], resource.to_string()).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        numbers.insert(number);
    }
    numbers
}

/// Those of a bundle; where there is none it has no entries, for FHIR has no empty arrays.
pub(super) fn ids(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array();
    assert_eq!(
        entries.is_some_and(|entries| !entries.is_empty()),
        bundle["total"] != 0,
        "{bundle}"
    );
    let ids = entries
        .into_iter()
        .flatten()
        .map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned());
    ids.collect()
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().unwrap();
    let link = links.iter().find(|link| link["relation"] == relation)?;
    Some(link["url"].as_str().unwrap().to_owned())
}

/// An address as the server gives it, without the server.
fn path_of(url: &str) -> String {
    let at = url.find(PLAIN).unwrap();
    url[at..].to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patients_are_found_by_number_as_they_are_stored() {
    let nodes = three().await;
    let node = at(&nodes[1]);
    let (one, two) = (put(&nodes[0], 1).await, put(&nodes[0], 2).await);
    let path = |query: &str| format!("{PLAIN}/Patient?{query}");
    let found = get(node, &path(&format!("_id={one}"))).await.json();
    assert_eq!(
        (&found["total"], &found["type"]),
        (&json!(1), &json!("searchset"))
    );
    let read = get(node, &format!("{PLAIN}/Patient/{one}")).await.json();
    let entry = &found["entry"][0];
    assert_eq!(entry["resource"], read);
    assert_eq!(entry["search"], json!({ "mode": "match", "score": 1.0 }));
    assert_eq!(entry["fullUrl"], format!("http://{node}{PLAIN}/Patient/{one}"));
    for (query, expected) in [
        (format!("identifier={SYSTEM}{one}"), vec![&one]),
        (format!("_id={one}&identifier={SYSTEM}{two}"), vec![]),
        (
            format!("_id={one}&identifier={SYSTEM}{two},{SYSTEM}{one}"),
            vec![&one],
        ),
        ("_id=9990000018".to_owned(), vec![]),
        ("_id=nobody".to_owned(), vec![]),
    ] {
        let found = get(node, &path(&query)).await.json();
        assert_eq!(ids(&found).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let both = get(node, &path(&format!("_id={one},{two}"))).await.json();
    assert_eq!(both["total"], 2);
    // Who answers for a number that was merged stands for it, once; an invalid record is nobody's.
    let merge = json!({ "resourceType": "Parameters", "parameter": [
        { "name": "source-patient", "valueReference": { "reference": format!("Patient/{one}") } },
        { "name": "target-patient", "valueReference": { "reference": format!("Patient/{two}") } },
    ] });
    let path_of_merge = format!("{PLAIN}/Patient/$merge");
    assert_eq!(
        ask(node, "POST", &path_of_merge, &[FHIR], merge.to_string())
            .await
            .status,
        200
    );
    let merged = get(node, &path(&format!("_id={one},{two}"))).await.json();
    assert_eq!(ids(&merged), std::slice::from_ref(&two));
    let gone = ask(node, "DELETE", &format!("{PLAIN}/Patient/{two}"), &[FHIR], "").await;
    assert_eq!(gone.status, 204);
    assert_eq!(get(node, &path(&format!("_id={two}"))).await.json()["total"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_followed_to_the_end_at_any_node() {
    let nodes = three().await;
    let numbers = alike(at(&nodes[0]), 30..37).await;
    let query = "family=Zimmer&birthdate=1980-02-03&_count=3";
    let mut next = Some(format!("{PLAIN}/Patient?{query}"));
    let (mut shown, mut pages) = (Vec::new(), Vec::new());
    for node in nodes.iter().cycle() {
        let Some(path) = next.take() else { break };
        let page = get(at(node), &path).await.json();
        assert_eq!(page["total"], numbers.len(), "{page}");
        assert!(link(&page, "self").unwrap().contains("_count=3"));
        pages.push(ids(&page).len());
        shown.extend(ids(&page));
        next = link(&page, "next").map(|url| path_of(&url));
        let named = next
            .as_ref()
            .is_some_and(|next| numbers.iter().any(|number| next.contains(number)));
        assert!(!named, "no number stands in a link");
    }
    assert_eq!(pages, [3, 3, 1]);
    assert_eq!(shown.len(), numbers.len());
    assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), numbers);
    // The same with its parameters in a body.
    let posted = format!("{PLAIN}/Patient/_search");
    let page = ask(at(&nodes[1]), "POST", &posted, &[FORM], query).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let page = page.json();
    assert_eq!((ids(&page).len(), &page["total"]), (3, &json!(7)));
    let rest = get(at(&nodes[2]), &path_of(&link(&page, "next").unwrap()))
        .await
        .json();
    assert_eq!(ids(&rest).len(), 3);
    let wrong = ask(at(&nodes[0]), "POST", &posted, &[FHIR], query).await;
    assert_eq!(code(&wrong), "415 UNSUPPORTED_SERVICE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_search_is_told() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    alike(node, 40..43).await;
    let all = "family=Zimmer&birthdate=1980-02-03";
    let token = |page: &Value| {
        let next = link(page, "next").unwrap();
        next.split("_page=").nth(1).unwrap().to_owned()
    };
    let page = get(node, &format!("{PLAIN}/Patient?{all}&_count=1")).await.json();
    let good = token(&page);
    let other = format!(
        "{}{}",
        &good[..good.len() - 1],
        if good.ends_with('0') { '1' } else { '0' }
    );
    for (query, expected) in [
        (String::new(), "400 INVALID_SEARCH_DATA"),
        ("family=Zimmer".to_owned(), "400 INVALID_SEARCH_DATA"),
        (format!("{all}&name=x"), "400 ADDITIONAL_PROPERTIES"),
        (format!("{all}&_count=0"), "400 INVALID_VALUE"),
        (format!("{all}&_count=51"), "400 INVALID_VALUE"),
        (format!("{all}&_page="), "400 VALIDATION_ERROR"),
        (format!("{all}&_page=2"), "400 VALIDATION_ERROR"),
        (format!("{all}&_page={other}"), "400 VALIDATION_ERROR"),
        (
            format!("family=Jones&birthdate=1980-02-03&_page={good}"),
            "400 VALIDATION_ERROR",
        ),
        (format!("{all}&_max-results=2"), "400 TOO_MANY_MATCHES"),
        ("identifier=9990000018".to_owned(), "400 INVALID_SEARCH_DATA"),
        (format!("_id=9990000018&{all}"), "400 INVALID_SEARCH_DATA"),
    ] {
        let reply = get(node, &format!("{PLAIN}/Patient?{query}")).await;
        assert_eq!(code(&reply), expected, "{query}");
    }
    let reply = get(node, &format!("{PLAIN}/Patient?{all}&_page=2")).await.json();
    let codings = reply["issue"][0]["details"]["coding"].as_array().unwrap();
    assert!(
        codings
            .iter()
            .any(|coding| coding["code"] == "INVALID_PAGE_TOKEN"),
        "{reply}"
    );
    // The page size is not part of what a token is good for.
    let rest = get(node, &format!("{PLAIN}/Patient?{all}&_count=50&_page={good}"))
        .await
        .json();
    assert_eq!(ids(&rest).len(), 2);
    // What is said to work does.
    let statement = get(node, &format!("{PLAIN}/metadata")).await.json();
    let patient = &statement["rest"][0]["resource"][0];
    let names: Vec<&str> = patient["searchParam"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(
        ["_id", "identifier", "family"]
            .iter()
            .all(|name| names.contains(name)),
        "{names:?}"
    );
    let interactions = patient["interaction"].as_array().unwrap();
    assert!(interactions.contains(&json!({ "code": "search-type" })));
}
