//! New patients, merges, removals and related persons over HTTP.

use serde_json::{Value, json};
use spine_services::pds::related::RELATED_BYTES_MAX;

use super::http::{Reply, ask, get};
use super::{FHIR, PDS, PLAIN, at, code, diagnostics, id, three};

/// Digits of one case keep its people apart from those of others.
pub(super) fn newcomer(given: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "name": [{ "use": "usual", "given": [given], "family": "Edwards", "period": { "start": "1986-07-01" } }],
        "address": [{ "line": ["1 Trevelyan Square", "Leeds"], "period": { "start": "2020-01-01" }, "postalCode": "LS1 6AE", "use": "home" }],
        "gender": "female",
        "birthDate": "1982-07-10",
        "extension": [{
            "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-RegisteringAuthority",
            "extension": [{ "url": "organisationIdentifier", "valueString": "RGS" }],
        }],
    })
}

async fn post(node: &str, base: &str, number: u32, body: &Value, more: &[(&'static str, String)]) -> Reply {
    let mut headers = vec![("content-type", FHIR.1.to_owned()), id(number)];
    headers.extend_from_slice(more);
    ask(
        node,
        "POST",
        &format!("{base}/Patient"),
        headers.as_slice(),
        body.to_string(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_patient_gets_one_number_whoever_asks_and_however_often() {
    let nodes = three().await;
    // Every node is asked at once, by two callers each.
    let asked: Vec<_> = (0..6)
        .map(|caller| {
            let node = at(&nodes[caller % 3]).to_owned();
            tokio::spawn(async move {
                let number = 100 + u32::try_from(caller).unwrap();
                post(&node, PDS, number, &newcomer("Jane"), &[]).await
            })
        })
        .collect();
    let mut replies = Vec::new();
    for reply in asked {
        replies.push(reply.await.unwrap());
    }
    let created: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 201).collect();
    let texts: Vec<String> = replies.iter().map(Reply::text).collect();
    assert_eq!(created.len(), 1, "{texts:?}");
    let number = created[0].json()["id"].as_str().unwrap().to_owned();
    let location = format!("{PDS}/Patient/{number}");
    assert!(created[0].header("location").unwrap().ends_with(&location));
    assert_eq!(created[0].header("etag"), Some("W/\"1\""));
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_eq!(code(reply), "200 SINGLE_MATCH");
        assert!(diagnostics(reply).contains(&number));
    }
    // The request that created it is answered so again, elsewhere.
    let winner = replies.iter().position(|reply| reply.status == 201).unwrap();
    for node in &nodes {
        let again = post(
            at(node),
            PDS,
            100 + u32::try_from(winner).unwrap(),
            &newcomer("Jane"),
            &[],
        )
        .await;
        assert_eq!(
            (again.status, again.header("spine-replayed")),
            (201, Some("true"))
        );
        assert_eq!(again.json()["id"], number.as_str());
    }
    // In the plain dialect somebody alike is a conflict.
    let plain = post(at(&nodes[0]), PLAIN, 120, &newcomer("Jane"), &[]).await;
    assert_eq!(code(&plain), "409 SINGLE_MATCH");
    // What is missing, what is too much, and who may not.
    let mut missing = newcomer("Wilhelmina");
    missing.as_object_mut().unwrap().remove("gender");
    assert_eq!(
        code(&post(at(&nodes[0]), PDS, 121, &missing, &[]).await),
        "400 MISSING_VALUE"
    );
    let mut more = newcomer("Wilhelmina");
    more["pets"] = json!([]);
    assert_eq!(
        code(&post(at(&nodes[0]), PDS, 122, &more, &[]).await),
        "400 ADDITIONAL_PROPERTIES"
    );
    let mut two = newcomer("Wilhelmina");
    let names = two["name"].as_array_mut().unwrap();
    names.push(json!({ "use": "usual", "given": ["Mina"], "family": "Edwards" }));
    let refused = post(at(&nodes[0]), PLAIN, 124, &two, &[]).await;
    assert_eq!(code(&refused), "422 INVALID_CREATE");
    assert_eq!(
        diagnostics(&refused),
        "Invalid create with error - multiple usual names cannot be added"
    );
    assert!(refused.text().contains("PDS-26"), "{}", refused.text());
    let alone = [("spine-access-mode", "application-restricted".to_owned())];
    let refused = post(at(&nodes[0]), PDS, 123, &newcomer("Wilhelmina"), &alone).await;
    assert_eq!(code(&refused), "403 INVALID_METHOD");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_create_has_one_winner() {
    let nodes = three().await;
    let criteria = || {
        [(
            "if-none-exist",
            "family=Edwards&given=Ophelia&birthdate=1982-07-10".to_owned(),
        )]
    };
    let asked: Vec<_> = (0..6)
        .map(|caller| {
            let node = at(&nodes[caller % 3]).to_owned();
            tokio::spawn(async move {
                let number = 200 + u32::try_from(caller).unwrap();
                post(&node, PLAIN, number, &newcomer("Ophelia"), &criteria()).await
            })
        })
        .collect();
    let (mut statuses, mut ids) = (Vec::new(), std::collections::BTreeSet::new());
    for reply in asked {
        let reply = reply.await.unwrap();
        statuses.push(reply.status);
        ids.insert(reply.json()["id"].as_str().unwrap().to_owned());
    }
    statuses.sort_unstable();
    assert_eq!((statuses, ids.len()), (vec![200, 200, 200, 200, 200, 201], 1));
    // A second one who meets the same criteria is of nobody's making here: put under a number.
    let mut twin = newcomer("Ophelia");
    twin["id"] = json!("9990000018");
    let put = ask(
        at(&nodes[0]),
        "PUT",
        &format!("{PLAIN}/Patient/9990000018"),
        &[FHIR],
        twin.to_string(),
    )
    .await;
    assert_eq!(put.status, 201, "{}", put.text());
    let several = post(at(&nodes[1]), PLAIN, 210, &newcomer("Ophelia"), &criteria()).await;
    assert_eq!(code(&several), "412 PRECONDITION_FAILED");
    let other = [("if-none-exist", "family=Smith&birthdate=1982-07-10".to_owned())];
    let refused = post(at(&nodes[1]), PLAIN, 211, &newcomer("Ophelia"), &other).await;
    assert_eq!(code(&refused), "400 INVALID_SEARCH_DATA");
    // By the number: found, created once, found.
    let known = |number: &str| {
        let mut patient = newcomer("Beatrix");
        patient["identifier"] = json!([{ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": number }]);
        patient
    };
    let criteria = [(
        "if-none-exist",
        "identifier=https://fhir.nhs.uk/Id/nhs-number|9990000026".to_owned(),
    )];
    let created = post(at(&nodes[2]), PLAIN, 212, &known("9990000026"), &criteria).await;
    assert_eq!(
        (created.status, created.json()["id"].as_str()),
        (201, Some("9990000026"))
    );
    assert!(
        created
            .header("location")
            .unwrap()
            .ends_with("/Patient/9990000026/_history/1")
    );
    let found = post(at(&nodes[0]), PLAIN, 213, &known("9990000026"), &criteria).await;
    assert_eq!(found.status, 200);
    let exists = post(at(&nodes[0]), PLAIN, 214, &known("9990000026"), &[]).await;
    assert_eq!(exists.status, 409);
}

pub(super) fn mother(number: &str) -> Value {
    json!({
        "resourceType": "RelatedPerson",
        "patient": { "reference": format!("Patient/{number}") },
        "relationship": [{ "coding": [{ "code": "MTH" }] }],
        "name": [{ "family": "Edwards", "given": ["Mary"] }],
        "address": [{ "line": ["1 High Street"] }],
    })
}

async fn put_two(node: &str) -> [&'static str; 2] {
    let numbers = ["9990000018", "9990000026"];
    for number in numbers {
        let mut patient = newcomer("Jane");
        patient["id"] = json!(number);
        let path = format!("{PLAIN}/Patient/{number}");
        assert_eq!(
            ask(node, "PUT", &path, &[FHIR], patient.to_string()).await.status,
            201
        );
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_numbers_answer_with_the_survivor_and_removed_ones_with_nothing() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let [superseded, survivor] = put_two(node).await;
    let reference = |number: &str| json!({ "reference": format!("Patient/{number}") });
    let parameters = |source: &str, target: &str| {
        json!({ "resourceType": "Parameters", "parameter": [
            { "name": "source-patient", "valueReference": reference(source) },
            { "name": "target-patient", "valueReference": reference(target) },
        ] })
        .to_string()
    };
    let merge = format!("{PLAIN}/Patient/$merge");
    let headers = [("content-type", FHIR.1.to_owned()), id(300)];
    for (node, replayed) in nodes.iter().zip([None, Some("true"), Some("true")]) {
        let merged = ask(
            at(node),
            "POST",
            &merge,
            &headers,
            parameters(superseded, survivor),
        )
        .await;
        assert_eq!(
            (merged.status, merged.header("spine-replayed")),
            (200, replayed),
            "{}",
            merged.text()
        );
        assert_eq!(merged.json()["parameter"][1]["resource"]["id"], survivor);
    }
    for node in &nodes {
        for base in [PLAIN, PDS] {
            let read = ask(
                at(node),
                "GET",
                &format!("{base}/Patient/{superseded}"),
                &[id(301)],
                "",
            )
            .await;
            assert_eq!(
                (read.status, read.json()["id"].as_str()),
                (200, Some(survivor)),
                "{}",
                read.text()
            );
        }
    }
    let history = get(node, &format!("{PLAIN}/Patient/{superseded}/_history"))
        .await
        .json();
    assert_eq!(history["total"], 2);
    let back = ask(
        node,
        "POST",
        &merge,
        &[FHIR, ("x-request-id", id(302).1.as_str())],
        parameters(survivor, superseded),
    )
    .await;
    assert_eq!(back.status, 409);
    let same = ask(node, "POST", &merge, &[FHIR], parameters(survivor, survivor)).await;
    assert_eq!(code(&same), "400 INVALID_VALUE");

    // A record is marked as invalid: gone for plain clients, not found for those of the national service.
    let path = format!("{PLAIN}/Patient/{survivor}");
    for _ in 0..2 {
        let deleted = ask(node, "DELETE", &path, &[("accept", "*/*")], "").await;
        assert_eq!(deleted.status, 204);
    }
    for number in [superseded, survivor] {
        let plain = get(node, &format!("{PLAIN}/Patient/{number}")).await;
        assert_eq!(code(&plain), "410 INVALIDATED_RESOURCE");
        let pds = ask(node, "GET", &format!("{PDS}/Patient/{number}"), &[id(303)], "").await;
        assert_eq!(code(&pds), "404 INVALIDATED_RESOURCE");
    }
    let first = get(node, &format!("{path}/_history/1")).await;
    assert_eq!(first.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn related_persons_are_resources_of_their_own_and_parts_of_their_patient() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let [number, _] = put_two(node).await;
    let mother = mother(number);
    let all = format!("{PLAIN}/RelatedPerson");
    let created = ask(node, "POST", &all, &[FHIR], mother.to_string()).await;
    assert_eq!(
        (created.status, created.header("etag")),
        (201, Some("W/\"1\"")),
        "{}",
        created.text()
    );
    let one = format!("{all}/{}", created.json()["id"].as_str().unwrap());
    assert!(
        created
            .header("location")
            .unwrap()
            .ends_with(&format!("{one}/_history/1"))
    );
    let mut changed = mother.clone();
    changed["active"] = json!(false);
    let headers = [FHIR, ("if-match", "W/\"1\"")];
    assert_eq!(
        ask(node, "PUT", &one, &headers, changed.to_string()).await.status,
        200
    );
    assert_eq!(
        ask(node, "PUT", &one, &headers, changed.to_string()).await.status,
        412
    );
    for node in &nodes {
        assert_eq!(get(at(node), &one).await.json()["active"], false);
        assert!(
            get(at(node), &format!("{one}/_history/1"))
                .await
                .json()
                .get("active")
                .is_none()
        );
        for path in [
            format!("{all}?patient=Patient/{number}"),
            format!("{PLAIN}/Patient/{number}/RelatedPerson"),
            format!("{PDS}/Patient/{number}/RelatedPerson"),
        ] {
            let bundle = ask(at(node), "GET", &path, &[id(400)], "").await.json();
            assert_eq!(
                (&bundle["total"], &bundle["type"]),
                (&json!(1), &json!("searchset")),
                "{path}"
            );
            let resource = &bundle["entry"][0]["resource"];
            assert_eq!(resource["name"][0]["given"][0], "Mary");
            assert_eq!(
                resource["patient"].get("reference").is_some(),
                path.starts_with(PLAIN),
                "{path}"
            );
        }
    }
    assert_eq!(ask(node, "DELETE", &one, &[FHIR], "").await.status, 204);
    assert_eq!(get(node, &one).await.status, 410);
    let bundle = get(node, &format!("{all}?patient={number}")).await.json();
    assert_eq!(bundle["total"], 0);
    assert!(bundle.get("entry").is_none(), "FHIR has no empty arrays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_sensitive_patient_nobody_is_shown_who_is_related() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let (number, mut resource) = super::patient(5);
    resource["meta"]["security"][0]["code"] = json!("R");
    let path = format!("{PLAIN}/Patient/{number}");
    let put = ask(node, "PUT", &path, &[FHIR], resource.to_string()).await;
    assert_eq!(put.status, 201, "{}", put.text());
    let all = format!("{PLAIN}/RelatedPerson");
    let created = ask(node, "POST", &all, &[FHIR], mother(&number).to_string()).await;
    assert_eq!(created.status, 201, "{}", created.text());
    for node in &nodes {
        let plain = get(at(node), &format!("{path}/RelatedPerson")).await.json();
        assert_eq!(plain["total"], 0);
        let one = format!("{PLAIN}/RelatedPerson/{number}-1");
        for path in [&one, &format!("{one}/_history/1")] {
            assert_eq!(code(&get(at(node), path).await), "404 RESOURCE_NOT_FOUND");
        }
        let path = format!("{PDS}/Patient/{number}/RelatedPerson");
        let reply = ask(at(node), "GET", &path, &[id(402)], "").await;
        let bundle = reply.json();
        assert_eq!((reply.status, &bundle["total"]), (200, &json!(0)), "{bundle}");
        assert!(bundle.get("entry").is_none(), "{bundle}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_reads_their_own_record_by_a_number_that_was_merged() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let [superseded, survivor] = put_two(node).await;
    let all = format!("{PLAIN}/RelatedPerson");
    let created = ask(node, "POST", &all, &[FHIR], mother(survivor).to_string()).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let reference = |number: &str| json!({ "reference": format!("Patient/{number}") });
    let parameters = json!({ "resourceType": "Parameters", "parameter": [
        { "name": "source-patient", "valueReference": reference(superseded) },
        { "name": "target-patient", "valueReference": reference(survivor) },
    ] });
    let merge = format!("{PLAIN}/Patient/$merge");
    let merged = ask(node, "POST", &merge, &[FHIR], parameters.to_string()).await;
    assert_eq!(merged.status, 200, "{}", merged.text());
    let acting = |who: &str| {
        [
            id(310),
            ("spine-access-mode", "patient".to_owned()),
            ("spine-principal", who.to_owned()),
        ]
    };
    for node in &nodes {
        for base in [PLAIN, PDS] {
            let path = format!("{base}/Patient/{superseded}");
            let own = ask(at(node), "GET", &path, &acting(superseded), "").await;
            assert_eq!(
                (own.status, own.json()["id"].as_str()),
                (200, Some(survivor)),
                "{}",
                own.text()
            );
            let related = format!("{path}/RelatedPerson");
            let own = ask(at(node), "GET", &related, &acting(superseded), "").await;
            assert_eq!(
                (own.status, &own.json()["total"]),
                (200, &json!(1)),
                "{}",
                own.text()
            );
            // It is the number asked for that has to be theirs.
            for path in [&path, &related] {
                let other = ask(at(node), "GET", path, &acting("9990000034"), "").await;
                assert_eq!(code(&other), "403 ACCESS_DENIED", "{path}");
            }
            let path = format!("{base}/Patient/{survivor}");
            let other = ask(at(node), "GET", &path, &acting(superseded), "").await;
            assert_eq!(code(&other), "403 ACCESS_DENIED", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_related_person_is_told() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let [number, _] = put_two(node).await;
    let all = format!("{PLAIN}/RelatedPerson");
    let of_patient = json!({ "patient": { "reference": format!("Patient/{number}") } });
    let mut large = mother(number);
    large["extension"] = json!([{ "url": "x".repeat(RELATED_BYTES_MAX) }]);
    let nobody = ask(
        node,
        "GET",
        &format!("{PDS}/Patient/9990000034/RelatedPerson"),
        &[id(401)],
        "",
    )
    .await;
    assert_eq!(code(&nobody), "404 RESOURCE_NOT_FOUND");
    for (method, path, body, expected) in [
        (
            "GET",
            format!("{all}/{number}-9"),
            String::new(),
            "404 RESOURCE_NOT_FOUND",
        ),
        ("GET", format!("{all}/x"), String::new(), "404 RESOURCE_NOT_FOUND"),
        ("GET", all.clone(), String::new(), "400 INVALID_SEARCH_DATA"),
        ("POST", all.clone(), "{}".to_owned(), "400 MISSING_VALUE"),
        ("POST", all.clone(), of_patient.to_string(), "400 INVALID_VALUE"),
        ("POST", all.clone(), "{".to_owned(), "400 VALIDATION_ERROR"),
        ("POST", all.clone(), "[".repeat(1_000), "400 VALIDATION_ERROR"),
        ("POST", all.clone(), large.to_string(), "413 VALIDATION_ERROR"),
    ] {
        let reply = ask(node, method, &path, &[FHIR], body).await;
        assert_eq!(code(&reply), expected, "{method} {path}");
    }
}
