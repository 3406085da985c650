//! Records that are hidden, in part or whole, or superseded: rules and what is left.

use serde_json::{Value, json};
use spine_proto::pds::v1::{
    HistoryRequest, HistoryResponse, InvalidateRequest, InvalidateResponse, MergeRequest, PatchFormat,
    PatchRequest, PatchResponse, SearchParameter, SearchRequest, SearchResponse, Sensitivity,
    SetSensitivityRequest, SetSensitivityResponse, UpdateRequest, UpdateResponse,
};
use spine_services::SpineError;
use spine_services::pds::person::merge::merge;
use spine_services::pds::rules::{PDS_55, PDS_56, PDS_57, PDS_58, Rule};

use super::{Cluster, finish, json_of};

const A: &str = "9990000018";
const B: &str = "9990000026";

fn patient(id: &str) -> Value {
    json!({ "resourceType": "Patient", "id": id, "gender": "female", "birthDate": "1982-07-10",
        "name": [{ "id": "1", "use": "usual", "family": "Edwards", "given": ["Jane"] }],
        "address": [{ "id": "1", "use": "home", "line": ["1 High Street"], "postalCode": "LS1 6AE" }] })
}

fn cluster() -> Cluster {
    let cluster = Cluster::new();
    cluster.register(&patient(A));
    cluster.register(&patient(B));
    cluster
}

fn invalidate(cluster: &Cluster, number: &str, id: &str) -> Result<InvalidateResponse, SpineError> {
    let request = InvalidateRequest {
        nhs_number: number.to_owned(),
        request_id: id.to_owned(),
        ..InvalidateRequest::default()
    };
    cluster.shard(|shard| shard.call("pds.invalidate", &request))
}

fn update(cluster: &Cluster, resource: &Value, id: &str) -> Result<UpdateResponse, SpineError> {
    let request = UpdateRequest {
        nhs_number: resource["id"].as_str().unwrap().to_owned(),
        fhir_json: resource.to_string().into(),
        request_id: id.to_owned(),
        any_version: true,
        may_create: true,
        ..UpdateRequest::default()
    };
    cluster.shard(|shard| shard.call("pds.update", &request))
}

fn patch(cluster: &Cluster, number: &str, body: &Value, id: &str) -> Result<PatchResponse, SpineError> {
    let request = PatchRequest {
        nhs_number: number.to_owned(),
        patch: body.to_string().into(),
        format: PatchFormat::Merge.into(),
        request_id: id.to_owned(),
        ..PatchRequest::default()
    };
    cluster.shard(|shard| shard.call("pds.patch", &request))
}

fn restrict(cluster: &Cluster, number: &str, to: Sensitivity, id: &str) -> Result<Value, SpineError> {
    let request = SetSensitivityRequest {
        nhs_number: number.to_owned(),
        sensitivity: to.into(),
        request_id: id.to_owned(),
        ..SetSensitivityRequest::default()
    };
    let done: Result<SetSensitivityResponse, SpineError> =
        cluster.shard(|shard| shard.call("pds.set_sensitivity", &request));
    Ok(json_of(&done?.patient.unwrap()))
}

/// How many are found by name and birth date.
fn found(cluster: &Cluster, postcode: bool) -> usize {
    let mut parameters = vec![("family", "Edwards"), ("birthdate", "1982-07-10")];
    parameters.extend(postcode.then_some(("address-postalcode", "LS1 6AE")));
    let parameters = parameters.into_iter().map(|(name, value)| SearchParameter {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    let request = SearchRequest {
        parameters: parameters.collect(),
    };
    let found: SearchResponse = cluster.shard(|shard| shard.call("pds.search", &request).unwrap());
    found.matches.len()
}

fn versions(cluster: &Cluster, number: &str) -> usize {
    let request = HistoryRequest {
        nhs_number: number.to_owned(),
        ..HistoryRequest::default()
    };
    let history: HistoryResponse = cluster.shard(|shard| shard.call("pds.history", &request).unwrap());
    history.versions.len()
}

#[track_caller]
fn refuses<T>(rule: Rule, result: Result<T, SpineError>) {
    let error = result.err().expect("the rule should refuse this");
    assert_eq!(
        (&*error.rule, &*error.reason, error.kind),
        (rule.id, rule.reason, rule.kind),
        "{error}"
    );
}

fn merged(cluster: &Cluster, number: &str, survivor: &str) -> Result<(), SpineError> {
    let request = MergeRequest {
        nhs_number: number.to_owned(),
        survivor: survivor.to_owned(),
        request_id: format!("merge {number} {survivor}"),
        version_id: 0,
    };
    let principal = cluster.shard(|shard| shard.principal.clone());
    finish(merge(cluster, &request, &principal)).map(|_| ())
}

#[test]
fn pds_55_a_number_is_not_merged_with_itself() {
    refuses(PDS_55, merged(&cluster(), A, A));
}

#[test]
fn pds_56_a_superseded_number_is_not_changed() {
    let cluster = cluster();
    merged(&cluster, A, B).unwrap();
    refuses(PDS_56, update(&cluster, &patient(A), "u"));
    refuses(PDS_56, patch(&cluster, A, &json!({ "gender": "unknown" }), "p"));
    refuses(PDS_56, invalidate(&cluster, A, "i"));
    refuses(PDS_56, restrict(&cluster, A, Sensitivity::Restricted, "s"));
    refuses(PDS_56, merged(&cluster, B, A));
    assert_eq!(
        (
            found(&cluster, false),
            versions(&cluster, A),
            versions(&cluster, B)
        ),
        (1, 2, 2)
    );
}

#[test]
fn pds_57_an_invalid_record_is_neither_shown_nor_changed() {
    let cluster = cluster();
    assert_eq!(found(&cluster, false), 2);
    invalidate(&cluster, A, "i").unwrap();
    assert!(invalidate(&cluster, A, "i").unwrap().replayed);
    assert_eq!(cluster.read(A).err().unwrap(), "INVALIDATED_RESOURCE");
    refuses(PDS_57, update(&cluster, &patient(A), "u"));
    refuses(PDS_57, patch(&cluster, A, &json!({ "gender": "unknown" }), "p"));
    refuses(PDS_57, invalidate(&cluster, A, "j"));
    refuses(PDS_57, merged(&cluster, A, B));
    refuses(PDS_57, merged(&cluster, B, A));
    assert_eq!((found(&cluster, false), versions(&cluster, A)), (1, 2));
    assert_eq!(
        cluster.read(B).unwrap().version_id,
        1,
        "a merge that cannot be leaves nothing"
    );
}

#[test]
fn pds_58_confidentiality_is_not_part_of_an_update() {
    let cluster = cluster();
    let code = |patient: &Value| patient["meta"]["security"][0]["code"].clone();
    let restricted = restrict(&cluster, A, Sensitivity::Restricted, "s").unwrap();
    assert_eq!(
        (code(&restricted), &restricted["meta"]["versionId"]),
        (json!("R"), &json!("2"))
    );
    assert_eq!(found(&cluster, true), 1, "not found by where they live");
    assert_eq!(found(&cluster, false), 2);
    // Whoever says nothing of it leaves it; whoever says the same may; whoever says something else is refused.
    let mut silent = patient(A);
    silent.as_object_mut().unwrap().remove("address");
    let kept = update(&cluster, &silent, "u1").unwrap();
    assert_eq!(code(&json_of(&kept.patient.unwrap())), "R");
    assert!(update(&cluster, &restricted, "u2").is_ok());
    let mut open = restricted.clone();
    open["meta"]["security"][0]["code"] = json!("U");
    refuses(PDS_58, update(&cluster, &open, "u3"));
    let kept = patch(&cluster, A, &json!({ "meta": null }), "p1").unwrap();
    assert_eq!(code(&json_of(&kept.patient.unwrap())), "R");
    refuses(
        PDS_58,
        patch(
            &cluster,
            B,
            &json!({ "meta": { "security": restricted["meta"]["security"] } }),
            "p2",
        ),
    );
    let open = restrict(&cluster, A, Sensitivity::Unrestricted, "t").unwrap();
    assert_eq!(code(&open), "U");
    assert_eq!(versions(&cluster, A), 6);
}
