//! Who is there for a patient.

use serde_json::{Value, json};
use spine_proto::pds::v1::{
    ListRelatedRequest, ListRelatedResponse, MergeRequest, PutRelatedRequest, PutRelatedResponse,
    RelatedPerson,
};
use spine_services::pds::person::merge::merge;
use spine_services::pds::related::{RELATED_BYTES_MAX, RELATED_MAX, national, patient_of};
use spine_services::pds::rules::{PDS_12, PDS_56, PDS_61, PDS_62, PDS_63, Rule};
use spine_services::{ErrorKind, SpineError};

use super::{Cluster, finish};

const A: &str = "9990000018";
const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";

fn cluster() -> Cluster {
    let cluster = Cluster::new();
    cluster.register(
        &json!({ "resourceType": "Patient", "id": A, "gender": "female", "birthDate": "1982-07-10",
        "name": [{ "id": "1", "use": "usual", "family": "Edwards", "given": ["Jane"] }] }),
    );
    cluster
}

fn mother() -> Value {
    json!({
        "resourceType": "RelatedPerson",
        "patient": { "reference": format!("Patient/{A}") },
        "relationship": [{ "coding": [{ "code": "MTH" }] }],
        "name": [{ "family": "Edwards", "given": ["Mary"] }],
        "address": [{ "line": ["1 High Street"] }],
        "telecom": [{ "system": "phone", "value": "0" }],
    })
}

fn put(
    cluster: &Cluster,
    number: u32,
    version_id: u32,
    resource: Option<&Value>,
) -> Result<RelatedPerson, SpineError> {
    let request = PutRelatedRequest {
        nhs_number: A.to_owned(),
        number,
        version_id,
        remove: resource.is_none(),
        fhir_json: resource
            .map(|resource| resource.to_string().into())
            .unwrap_or_default(),
        request_id: cluster.shard(|shard| shard.index.to_string()),
        ..PutRelatedRequest::default()
    };
    let done: Result<PutRelatedResponse, SpineError> =
        cluster.shard(|shard| shard.call("pds.put_related", &request));
    Ok(done?.related.unwrap())
}

fn list(cluster: &Cluster, number: u32, version_id: u32) -> Result<Vec<RelatedPerson>, SpineError> {
    let request = ListRelatedRequest {
        nhs_number: A.to_owned(),
        number,
        version_id,
    };
    let found: Result<ListRelatedResponse, SpineError> =
        cluster.shard(|shard| shard.call("pds.list_related", &request));
    Ok(found?.related)
}

#[track_caller]
fn refuses<T>(rule: Rule, result: Result<T, SpineError>) {
    let error = result.err().expect("the rule should refuse this");
    assert_eq!((&*error.rule, &*error.reason), (rule.id, rule.reason), "{error}");
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut person = mother();
    change(&mut person);
    person
}

#[test]
fn a_related_person_is_added_changed_removed_and_remembered() {
    let cluster = cluster();
    let first = put(&cluster, 0, 0, Some(&mother())).unwrap();
    let stored: Value = serde_json::from_slice(&first.fhir_json).unwrap();
    assert_eq!(
        (&stored["id"], &stored["meta"]["versionId"]),
        (&json!("9990000018-1"), &json!("1"))
    );
    let second = put(&cluster, 0, 0, Some(&mother())).unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    refuses(PDS_12, put(&cluster, 1, 7, Some(&mother())));
    let changed = put(
        &cluster,
        1,
        1,
        Some(&with(|person| person["active"] = json!(false))),
    )
    .unwrap();
    assert_eq!(changed.version_id, 2);
    let gone = put(&cluster, 2, 0, None).unwrap();
    assert!(gone.fhir_json.is_empty());
    let all = list(&cluster, 0, 0).unwrap();
    assert_eq!((all.len(), all[0].version_id), (1, 2));
    // Every version is still there.
    assert!(list(&cluster, 1, 1).unwrap()[0].fhir_json == first.fhir_json);
    assert!(list(&cluster, 2, 1).unwrap()[0].fhir_json == second.fhir_json);
    assert_eq!(list(&cluster, 1, 9).err().unwrap().reason, "VERSION_NOT_FOUND");
    assert_eq!(list(&cluster, 3, 0).err().unwrap().reason, "RELATED_NOT_FOUND");
    assert_eq!(
        put(&cluster, 2, 0, Some(&mother())).err().unwrap().reason,
        "RELATED_NOT_FOUND"
    );
    assert_eq!(
        put(&cluster, 0, 0, Some(&mother())).unwrap().number,
        3,
        "numbers are not used again"
    );
}

#[test]
fn a_merge_takes_nobody_over_and_loses_nobody() {
    const SURVIVOR: &str = "9990000026";
    let cluster = cluster();
    let mother = put(&cluster, 0, 0, Some(&mother())).unwrap();
    cluster.register(
        &json!({ "resourceType": "Patient", "id": SURVIVOR, "gender": "female", "birthDate": "1982-07-10",
        "name": [{ "id": "1", "use": "usual", "family": "Edwards", "given": ["Jane"] }] }),
    );
    let request = MergeRequest {
        nhs_number: A.to_owned(),
        survivor: SURVIVOR.to_owned(),
        request_id: "merge".to_owned(),
        version_id: 0,
    };
    let principal = cluster.shard(|shard| shard.principal.clone());
    finish(async { merge(&cluster, &request, &principal).await }).unwrap();
    let all = ListRelatedRequest {
        nhs_number: A.to_owned(),
        ..ListRelatedRequest::default()
    };
    let all: ListRelatedResponse = cluster
        .shard(|shard| shard.call("pds.list_related", &all))
        .unwrap();
    assert_eq!((all.superseded_by.as_str(), all.related.len()), (SURVIVOR, 0));
    for version_id in [0, 1] {
        let one = ListRelatedRequest {
            nhs_number: A.to_owned(),
            number: 1,
            version_id,
        };
        let still: ListRelatedResponse = cluster
            .shard(|shard| shard.call("pds.list_related", &one))
            .unwrap();
        // By whom it is decided whether anybody is shown.
        assert_eq!(still.superseded_by, SURVIVOR);
        let still = &still.related[0];
        assert!(still.fhir_json == mother.fhir_json && still.nhs_number == A);
    }
    refuses(PDS_56, put(&cluster, 1, 0, None));
}

/// All of a patient are one answer.
#[test]
fn a_related_person_has_at_most_64_kib() {
    let cluster = cluster();
    let of = |bytes| with(|person| person["extension"] = json!([{ "url": "x".repeat(bytes) }]));
    assert!(put(&cluster, 0, 0, Some(&of(RELATED_BYTES_MAX - 1_024))).is_ok());
    let error = put(&cluster, 0, 0, Some(&of(RELATED_BYTES_MAX))).err().unwrap();
    assert_eq!(
        (error.kind, &*error.reason, &*error.field),
        (ErrorKind::Invalid, "RECORD_TOO_LARGE", "fhir_json")
    );
    // What is stored has more than what was sent.
    let short = mother().to_string().len();
    let fits = of(RELATED_BYTES_MAX - short - 30);
    assert!(fits.to_string().len() <= RELATED_BYTES_MAX);
    let error = put(&cluster, 0, 0, Some(&fits)).err().unwrap();
    assert_eq!(error.reason, "RECORD_TOO_LARGE");
}

#[test]
fn whose_a_related_person_is_is_read_from_the_resource() {
    assert_eq!(patient_of(mother().to_string().as_bytes()).unwrap(), A);
    for (body, reason) in [
        ("", "MALFORMED_JSON"),
        ("{", "MALFORMED_JSON"),
        ("{}", "MISSING_VALUE"),
        (r#"{"patient":{"reference":7}}"#, "MISSING_VALUE"),
        (r#"{"patient":{},"patient":{}}"#, "DUPLICATE_MEMBER"),
    ] {
        let error = patient_of(body.as_bytes()).err().unwrap();
        assert_eq!(error.reason, reason, "{body}");
    }
}

#[test]
fn pds_61_a_related_person_says_who_they_are() {
    let cluster = cluster();
    for wrong in [
        with(|person| person["resourceType"] = json!("Patient")),
        with(|person| person["relationship"] = json!([])),
        with(|person| person["relationship"] = json!([{}, {}])),
        with(|person| drop(person.as_object_mut().unwrap().remove("name"))),
        with(|person| person["name"] = json!([{}, {}])),
        with(|person| person["telecom"] = json!([{}, {}, {}, {}, {}, {}])),
        with(|person| person["photo"] = json!([])),
        with(|person| person["identifier"] = json!([{ "system": NHS_NUMBER, "value": "123" }])),
        json!([]),
    ] {
        refuses(PDS_61, put(&cluster, 0, 0, Some(&wrong)));
    }
    let referenced = json!({
        "resourceType": "RelatedPerson",
        "relationship": [{ "coding": [{ "code": "MTH" }] }],
        "identifier": [{ "system": NHS_NUMBER, "value": "9990000026" }],
    });
    let stored = put(&cluster, 0, 0, Some(&referenced)).unwrap();
    // The national service has the own number of the related person where FHIR has the patient.
    let shown: Value = serde_json::from_slice(&national(&stored.fhir_json).unwrap()).unwrap();
    assert_eq!(shown["patient"]["identifier"]["value"], "9990000026");
    assert!(shown.get("identifier").is_none());
}

#[test]
fn pds_62_a_related_person_is_of_the_patient() {
    let cluster = cluster();
    let other = with(|person| person["patient"]["reference"] = json!("Patient/9990000026"));
    refuses(PDS_62, put(&cluster, 0, 0, Some(&other)));
    refuses(
        PDS_62,
        put(
            &cluster,
            0,
            0,
            Some(&with(|person| person["patient"] = json!({}))),
        ),
    );
}

#[test]
fn pds_63_a_patient_has_so_many_related_persons() {
    let cluster = cluster();
    for number in 1..=RELATED_MAX {
        assert_eq!(put(&cluster, 0, 0, Some(&mother())).unwrap().number, number);
    }
    refuses(PDS_63, put(&cluster, 0, 0, Some(&mother())));
    put(&cluster, 1, 0, None).unwrap();
    refuses(PDS_63, put(&cluster, 0, 0, Some(&mother())));
}
