//! Where a sensitive patient is, is told on no transport: not to who reads, nor to who sends a change again, nor by the
//! feed.

use serde_json::{Value, json};
use spine_proto::pds::v1 as pb;
use spine_proto::pds::v1::pds_service_client::PdsServiceClient;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::http::{Connection, Reply, ask};
use super::people::{mother, newcomer};
use super::{FHIR, LIST, MERGE, PDS, PLAIN, at, id, patches, patient, put, three};
use crate::nodes::{Machine, SOON};

/// Whereabouts, and what leads to them.
const PLACES: [&str; 4] = ["address", "telecom", "contact", "generalPractitioner"];

#[track_caller]
fn hides(patient: &Value) {
    assert!(patient["name"].is_array(), "{patient}");
    for place in PLACES {
        assert!(patient.get(place).is_none(), "{place}: {patient}");
    }
    for end in ["NominatedPharmacy", "birthPlace"] {
        assert!(!patient.to_string().contains(end), "{end}: {patient}");
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

/// A reader of the feed, who begins with everybody there is.
async fn feed(machine: &Machine) -> Connection {
    let mut feed = Connection::to(at(machine)).await.unwrap();
    // The events of an answer to HTTP/1.0 stand there as they are.
    let request = format!("GET {PLAIN}/_feed?cursor=start HTTP/1.0\r\nhost: x\r\n\r\n");
    feed.send(request.as_bytes()).await.unwrap();
    assert_eq!(feed.reply().await.unwrap().status, 200);
    feed
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
        let mut feed = feed(node).await;
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

/// The first version that a watch of all patients shows.
async fn watched(pds: &mut PdsServiceClient<Channel>) -> Value {
    let request = pb::WatchRequest {
        cursor: "start".to_owned(),
        ..pb::WatchRequest::default()
    };
    let mut watch = pds.watch(request).await.unwrap().into_inner();
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
        hides(&watched(&mut pds).await);
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
