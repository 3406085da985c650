//! Where a sensitive patient is, is told on no transport: not to who reads, nor to who sends a change again, nor by the
//! feed.

use serde_json::{Value, json};
use spine_proto::pds::v1 as pb;
use spine_proto::pds::v1::pds_service_client::PdsServiceClient;
use spine_services::pds::restricted::{HIDDEN, HIDDEN_EXTENSIONS};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use super::http::{Connection, Reply, ask};
use super::people::{mother, newcomer};
use super::{FHIR, LIST, MERGE, PDS, PLAIN, at, code, id, patches, three};
use crate::nodes::{Machine, SOON};

/// Whereabouts, and what leads to them.
const PLACES: [&str; 4] = ["address", "telecom", "contact", "generalPractitioner"];
/// The urls of extensions that lead to them, too.
const EXTENSIONS: [&str; 4] = [
    "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NominatedPharmacy",
    "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-PreferredDispenserOrganization",
    "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-MedicalApplianceSupplier",
    "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
];

#[test]
fn what_is_hidden_is_what_these_tests_look_for() {
    assert_eq!(HIDDEN, PLACES);
    assert_eq!(HIDDEN_EXTENSIONS.len(), EXTENSIONS.len());
    for (url, end) in EXTENSIONS.iter().zip(HIDDEN_EXTENSIONS) {
        assert!(url.ends_with(end), "{url}");
    }
}

/// A patient with this number among the synthetic ones, with all that is hidden.
fn patient(index: u64) -> (String, Value) {
    let (number, mut resource) = super::patient(index);
    let start = json!({ "start": "2020-01-01" });
    let value = json!({ "value": "Y12345" });
    let points = [
        (
            "telecom",
            json!({ "id": "1", "system": "phone", "use": "home", "value": "0", "period": start }),
        ),
        (
            "contact",
            json!({ "id": "1", "relationship": [{ "coding": [{ "code": "C" }] }], "period": start }),
        ),
        (
            "generalPractitioner",
            json!({ "id": "1", "type": "Organization", "identifier": value }),
        ),
    ];
    for (place, item) in points {
        resource[place] = json!([item]);
    }
    let [dispensers @ .., born] = EXTENSIONS;
    let dispensers = dispensers.map(|url| json!({ "url": url, "valueReference": { "identifier": value } }));
    let mut extensions = dispensers.to_vec();
    extensions.push(json!({ "url": born, "valueAddress": { "city": "Leeds" } }));
    resource["extension"] = json!(extensions);
    (number, resource)
}

/// Puts that patient.
async fn put(machine: &Machine, index: u64) -> String {
    let (number, resource) = patient(index);
    let path = format!("{PLAIN}/Patient/{number}");
    let reply = ask(at(machine), "PUT", &path, &[FHIR], resource.to_string()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    tells(&reply.json());
    for url in EXTENSIONS {
        assert!(reply.text().contains(url), "{url}: {}", reply.text());
    }
    for place in PLACES {
        assert!(reply.json()[place].is_array(), "{place}: {}", reply.text());
    }
    number
}

#[track_caller]
fn hides(patient: &Value) {
    assert!(patient["name"].is_array(), "{patient}");
    for place in PLACES {
        assert!(patient.get(place).is_none(), "{place}: {patient}");
    }
    for url in EXTENSIONS {
        assert!(!patient.to_string().contains(url), "{url}: {patient}");
    }
}

#[track_caller]
fn tells(patient: &Value) {
    assert!(patient["address"].is_array(), "{patient}");
}

async fn grpc(machine: &Machine) -> PdsServiceClient<Channel> {
    let address = format!("http://{}", machine.config.listen.grpc);
    let endpoint = Endpoint::from_shared(address).unwrap();
    PdsServiceClient::new(endpoint.connect().await.unwrap())
}

fn resource(patient: Option<pb::Patient>) -> Value {
    serde_json::from_slice(&patient.unwrap().fhir_json).unwrap()
}

/// No route over HTTP says so.
async fn mark(machine: &Machine, number: &str, sensitivity: pb::Sensitivity) -> Value {
    let request = pb::SetSensitivityRequest {
        nhs_number: number.to_owned(),
        sensitivity: sensitivity.into(),
        request_id: format!("{} {number}", sensitivity.as_str_name()),
        ..pb::SetSensitivityRequest::default()
    };
    let done = grpc(machine).await.set_sensitivity(request).await.unwrap();
    resource(done.into_inner().patient)
}

/// A change that can be sent again.
struct Change {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Change {
    fn new(number: u32, method: &'static str, path: &str, kind: (&'static str, &str), body: String) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: vec![id(number), (kind.0, kind.1.to_owned())],
            body,
        }
    }

    async fn send(&self, machine: &Machine) -> Reply {
        let headers = self.headers.as_slice();
        ask(at(machine), self.method, &self.path, headers, &self.body).await
    }
}

/// Changes of each kind, in their order: of this patient, who is not there yet, and of two new ones.
fn changes(number: &str, resource: &Value) -> Vec<Change> {
    let plain = format!("{PLAIN}/Patient/{number}");
    let replace = |value: &str| json!([{ "op": "replace", "path": "/gender", "value": value }]);
    let national = format!("{PDS}/Patient/{number}");
    let patches = patches(&replace("unknown"));
    let mut national = Change::new(2, "PATCH", &national, LIST, patches);
    national.headers.push(("if-match", "W/\"1\"".to_owned()));
    let merge = json!({ "gender": "male" }).to_string();
    let list = replace("female").to_string();
    let whole = resource.to_string();
    let new = |number, base: &str, given: &str| {
        let path = format!("{base}/Patient");
        Change::new(number, "POST", &path, FHIR, newcomer(given).to_string())
    };
    vec![
        Change::new(1, "PUT", &plain, FHIR, whole.clone()),
        national,
        Change::new(3, "PATCH", &plain, MERGE, merge),
        Change::new(4, "PATCH", &plain, LIST, list),
        Change::new(5, "PUT", &plain, FHIR, whole),
        new(6, PDS, "Jane"),
        new(7, PLAIN, "Wilhelmina"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_sent_again_does_not_tell_where_a_sensitive_patient_was() {
    let nodes = three().await;
    let (number, mut resource) = patient(5);
    resource["gender"] = json!("male");
    let mut sent = Vec::new();
    for change in changes(&number, &resource) {
        let reply = change.send(&nodes[0]).await;
        let shown = reply.json();
        tells(&shown);
        assert!(matches!(reply.status, 200 | 201), "{shown}");
        sent.push((change, reply.status, shown["id"].as_str().unwrap().to_owned()));
    }
    for number in [&number, &sent[5].2, &sent[6].2] {
        hides(&mark(&nodes[1], number, pb::Sensitivity::Restricted).await);
    }
    for (change, status, number) in &sent {
        for node in &nodes {
            let again = change.send(node).await;
            let what = format!("{} {}: {}", change.method, change.path, again.text());
            assert_eq!(again.status, *status, "{what}");
            assert_eq!(again.header("spine-replayed"), Some("true"), "{what}");
            assert_eq!(again.json()["id"], number.as_str(), "{what}");
            hides(&again.json());
        }
    }
    // Once everybody may see it again, it is the answer of the first time.
    mark(&nodes[2], &number, pb::Sensitivity::Unrestricted).await;
    tells(&sent[1].0.send(&nodes[0]).await.json());
}

/// A reader of the feed, who begins at this cursor: `start` is with everybody there is, none is from now on.
async fn feed(machine: &Machine, cursor: &str) -> Connection {
    let mut feed = Connection::to(at(machine)).await.unwrap();
    // The events of an answer to HTTP/1.0 stand there as they are.
    let request = format!("GET {PLAIN}/_feed?cursor={cursor} HTTP/1.0\r\nhost: x\r\n\r\n");
    feed.send(request.as_bytes()).await.unwrap();
    assert_eq!(feed.reply().await.unwrap().status, 200);
    feed
}

/// Where somebody is who begins now.
async fn cursor(machine: &Machine) -> String {
    let mut feed = feed(machine, "").await;
    loop {
        let line = feed.line().await;
        if let Some(cursor) = line.strip_prefix("id: ") {
            return cursor.trim().to_owned();
        }
    }
}

/// The next version that is shown.
async fn version(feed: &mut Connection) -> Value {
    let version = async {
        loop {
            let line = feed.line().await;
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str::<Value>(data).unwrap();
            }
        }
    };
    timeout(SOON, version).await.expect("a version")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_does_not_tell_where_a_sensitive_patient_is() {
    let nodes = three().await;
    let hidden = put(&nodes[0], 5).await;
    put(&nodes[0], 6).await;
    mark(&nodes[0], &hidden, pb::Sensitivity::Restricted).await;
    let mut feeds = Vec::new();
    for node in &nodes {
        let mut feed = feed(node, "start").await;
        // Both of them, in any order, as they are now.
        for shown in [version(&mut feed).await, version(&mut feed).await] {
            if shown["id"] == hidden.as_str() {
                assert_eq!(shown["meta"]["versionId"], "2");
                hides(&shown);
            } else {
                tells(&shown);
            }
        }
        feeds.push(feed);
    }
    let merge = json!({ "gender": "unknown" }).to_string();
    let path = format!("{PLAIN}/Patient/{hidden}");
    let changed = ask(at(&nodes[1]), "PATCH", &path, &[MERGE], merge).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    for feed in &mut feeds {
        let shown = version(feed).await;
        assert_eq!(
            (&shown["id"], &shown["meta"]["versionId"]),
            (&json!(hidden), &json!("3"))
        );
        hides(&shown);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_from_before_the_mark_does_not_tell_where_a_sensitive_patient_was() {
    let nodes = three().await;
    let before = cursor(&nodes[0]).await;
    let number = put(&nodes[0], 5).await;
    // Whoever reads before that is told.
    let mut early = feed(&nodes[0], &before).await;
    tells(&version(&mut early).await);
    mark(&nodes[1], &number, pb::Sensitivity::Restricted).await;
    hides(&version(&mut early).await);
    for node in &nodes {
        // A replica knows of the mark once it shows it.
        let mut first = feed(node, &before).await;
        while version(&mut first).await["meta"]["versionId"] != "2" {}
        let mut late = feed(node, &before).await;
        let mut pds = grpc(node).await;
        let mut watch = watch(&mut pds, &before).await;
        for expected in ["1", "2"] {
            for shown in [version(&mut late).await, watched(&mut watch).await] {
                assert_eq!(shown["meta"]["versionId"], expected);
                hides(&shown);
            }
        }
    }
    mark(&nodes[2], &number, pb::Sensitivity::Unrestricted).await;
    let mut first = feed(&nodes[0], &before).await;
    while version(&mut first).await["meta"]["versionId"] != "3" {}
    let mut late = feed(&nodes[0], &before).await;
    tells(&version(&mut late).await);
    hides(&version(&mut late).await);
    tells(&version(&mut late).await);
}

fn patch(number: &str) -> pb::PatchRequest {
    pb::PatchRequest {
        nhs_number: number.to_owned(),
        patch: json!({ "gender": "unknown" }).to_string().into(),
        format: pb::PatchFormat::Merge.into(),
        request_id: "p".to_owned(),
        ..pb::PatchRequest::default()
    }
}

fn search(of: &Value) -> pb::SearchRequest {
    let parameters = [
        ("family", &of["name"][0]["family"]),
        ("birthdate", &of["birthDate"]),
    ];
    let parameters = parameters.map(|(name, value)| pb::SearchParameter {
        name: name.to_owned(),
        value: value.as_str().unwrap().to_owned(),
    });
    pb::SearchRequest {
        parameters: parameters.to_vec(),
    }
}

/// A watch of all patients.
async fn watch(pds: &mut PdsServiceClient<Channel>, cursor: &str) -> Streaming<pb::WatchResponse> {
    let request = pb::WatchRequest {
        cursor: cursor.to_owned(),
        ..pb::WatchRequest::default()
    };
    pds.watch(request).await.unwrap().into_inner()
}

/// The next version that it shows.
async fn watched(watch: &mut Streaming<pb::WatchResponse>) -> Value {
    loop {
        let next = timeout(SOON, watch.message()).await.expect("an answer");
        let message = next.unwrap().expect("it goes on");
        if message.patient.is_some() {
            return resource(message.patient);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_hides_what_http_hides() {
    let nodes = three().await;
    let number = put(&nodes[0], 5).await;
    let (_, stored) = patient(5);
    let all = format!("{PLAIN}/RelatedPerson");
    let related = ask(at(&nodes[0]), "POST", &all, &[FHIR], mother(&number).to_string()).await;
    assert_eq!(related.status, 201, "{}", related.text());
    let patched = grpc(&nodes[0]).await.patch(patch(&number)).await.unwrap();
    tells(&resource(patched.into_inner().patient));
    hides(&mark(&nodes[0], &number, pb::Sensitivity::Restricted).await);
    for node in &nodes {
        let mut pds = grpc(node).await;
        let nhs_number = number.clone();
        let read = pb::RetrieveRequest { nhs_number };
        let read = pds.retrieve(read).await.unwrap().into_inner();
        hides(&resource(read.patient));
        let history = pb::HistoryRequest {
            nhs_number: number.clone(),
            ..pb::HistoryRequest::default()
        };
        let history = pds.history(history).await.unwrap().into_inner();
        assert_eq!(history.versions.len(), 3);
        for version in history.versions {
            hides(&resource(Some(version)));
        }
        let again = pds.patch(patch(&number)).await.unwrap().into_inner();
        assert!(again.replayed);
        hides(&resource(again.patient));
        let found = pds.search(search(&stored)).await.unwrap().into_inner();
        assert_eq!(found.matches.len(), 1);
        hides(&resource(found.matches[0].patient.clone()));
        let related = pb::ListRelatedRequest {
            nhs_number: number.clone(),
            ..pb::ListRelatedRequest::default()
        };
        let related = pds.list_related(related).await.unwrap().into_inner();
        assert!(related.restricted && related.related.is_empty());
        hides(&watched(&mut watch(&mut pds, "start").await).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_back_what_grpc_has_shown_takes_nothing_away() {
    let nodes = three().await;
    let number = put(&nodes[0], 5).await;
    let (_, stored) = patient(5);
    mark(&nodes[0], &number, pb::Sensitivity::Restricted).await;
    let mut pds = grpc(&nodes[1]).await;
    let read = pb::RetrieveRequest {
        nhs_number: number.clone(),
    };
    let read = pds.retrieve(read).await.unwrap().into_inner();
    let update = pb::UpdateRequest {
        nhs_number: number.clone(),
        version_id: 2,
        fhir_json: read.patient.unwrap().fhir_json,
        request_id: "u".to_owned(),
        ..pb::UpdateRequest::default()
    };
    let updated = pds.update(update).await.unwrap().into_inner();
    hides(&resource(updated.patient));
    let open = mark(&nodes[2], &number, pb::Sensitivity::Unrestricted).await;
    for place in PLACES {
        assert_eq!(open.get(place), stored.get(place), "{place}");
    }
}

/// The related person of a number that was merged, over each transport: how many are shown.
async fn of_merged(machine: &Machine, number: &str) -> (String, usize) {
    let path = format!("{PLAIN}/RelatedPerson/{number}-1");
    let read = ask(at(machine), "GET", &path, &[id(9)], "").await;
    let told = match read.status {
        200 => "200".to_owned(),
        _ => code(&read),
    };
    let request = pb::ListRelatedRequest {
        nhs_number: number.to_owned(),
        number: 1,
        ..pb::ListRelatedRequest::default()
    };
    let listed = grpc(machine).await.list_related(request).await;
    (told, listed.map_or(0, |listed| listed.into_inner().related.len()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_number_that_was_merged_nobody_is_shown_who_leads_to_a_sensitive_survivor() {
    let nodes = three().await;
    let (source, target) = (put(&nodes[0], 5).await, put(&nodes[0], 6).await);
    let all = format!("{PLAIN}/RelatedPerson");
    let related = ask(at(&nodes[0]), "POST", &all, &[FHIR], mother(&source).to_string()).await;
    assert_eq!(related.status, 201, "{}", related.text());
    let merge = pb::MergeRequest {
        nhs_number: source.clone(),
        survivor: target.clone(),
        request_id: "merge".to_owned(),
        ..pb::MergeRequest::default()
    };
    grpc(&nodes[0]).await.merge(merge).await.unwrap();
    let shown = || ("200".to_owned(), 1);
    for node in &nodes {
        assert_eq!(of_merged(node, &source).await, shown());
    }
    mark(&nodes[1], &target, pb::Sensitivity::Restricted).await;
    for node in &nodes {
        let hidden = ("404 RESOURCE_NOT_FOUND".to_owned(), 0);
        assert_eq!(of_merged(node, &source).await, hidden);
    }
    mark(&nodes[2], &target, pb::Sensitivity::Unrestricted).await;
    assert_eq!(of_merged(&nodes[0], &source).await, shown());
    let path = format!("{PLAIN}/Patient/{target}");
    let deleted = ask(at(&nodes[0]), "DELETE", &path, &[id(10)], "").await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    let gone = ("410 INVALIDATED_RESOURCE".to_owned(), 0);
    assert_eq!(of_merged(&nodes[1], &source).await, gone);
}

/// Over HTTP as well as over gRPC, whoever is not shown the telephone numbers cannot add one to none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_replaces_what_they_were_not_shown() {
    let nodes = three().await;
    let number = put(&nodes[0], 5).await;
    let (_, stored) = patient(5);
    let mut shown = mark(&nodes[0], &number, pb::Sensitivity::Restricted).await;
    shown["telecom"] = json!([{ "system": "phone", "use": "mobile", "value": "07700900000" }]);
    let path = format!("{PLAIN}/Patient/{number}");
    let put = ask(at(&nodes[1]), "PUT", &path, &[FHIR], shown.to_string()).await;
    assert_eq!(code(&put), "403 FORBIDDEN_UPDATE");
    assert!(put.text().contains("PDS-64"), "{}", put.text());
    let update = pb::UpdateRequest {
        nhs_number: number.clone(),
        version_id: 2,
        fhir_json: shown.to_string().into(),
        request_id: "u".to_owned(),
        ..pb::UpdateRequest::default()
    };
    let refused = grpc(&nodes[1]).await.update(update).await.err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let open = mark(&nodes[2], &number, pb::Sensitivity::Unrestricted).await;
    assert_eq!(open["telecom"], stored["telecom"]);
    assert_eq!(open["meta"]["versionId"], "3");
}
