//! Deaths: told by somebody, by the registrar, or taken back.

use serde_json::{Value, json};
use spine_proto::pds::v1::{DeathStatus, NotifyDeathRequest, NotifyDeathResponse};
use spine_services::SpineError;
use spine_services::pds::rules::{PDS_10, PDS_59, PDS_60, Rule};

use super::{Cluster, json_of};

const A: &str = "9990000018";
const DIED: &str = "2025-12-24T10:00:00+00:00";

fn cluster() -> Cluster {
    let cluster = Cluster::new();
    cluster.register(
        &json!({ "resourceType": "Patient", "id": A, "gender": "female", "birthDate": "1982-07-10",
        "name": [{ "id": "1", "use": "usual", "family": "Edwards", "given": ["Jane"] }] }),
    );
    cluster
}

fn tell(cluster: &Cluster, status: DeathStatus, deceased: &str) -> Result<Value, SpineError> {
    let request = NotifyDeathRequest {
        nhs_number: A.to_owned(),
        status: status.into(),
        deceased: deceased.to_owned(),
        request_id: format!("{} {deceased}", status.as_str_name()),
        ..NotifyDeathRequest::default()
    };
    let done: Result<NotifyDeathResponse, SpineError> =
        cluster.shard(|shard| shard.call("pds.notify_death", &request));
    Ok(json_of(&done?.patient.unwrap()))
}

#[track_caller]
fn refuses<T>(rule: Rule, result: Result<T, SpineError>) {
    let error = result.err().expect("the rule should refuse this");
    assert_eq!((&*error.rule, &*error.reason), (rule.id, rule.reason), "{error}");
}

fn code(patient: &Value) -> &Value {
    &patient["extension"][0]["extension"][0]["valueCodeableConcept"]["coding"][0]["code"]
}

#[test]
fn pds_59_a_death_that_the_registrar_has_told_is_not_told_informally() {
    let cluster = cluster();
    let informal = tell(&cluster, DeathStatus::Informal, DIED).unwrap();
    assert_eq!(
        (&informal["deceasedDateTime"], code(&informal)),
        (&json!(DIED), &json!("1"))
    );
    let formal = tell(&cluster, DeathStatus::Formal, "2025-12-23T10:00:00+00:00").unwrap();
    assert_eq!(
        (formal["extension"].as_array().unwrap().len(), code(&formal)),
        (1, &json!("2"))
    );
    refuses(
        PDS_59,
        tell(&cluster, DeathStatus::Informal, "2025-12-22T10:00:00+00:00"),
    );
    let alive = tell(&cluster, DeathStatus::Removed, "").unwrap();
    assert!(alive.get("deceasedDateTime").is_none() && alive.get("extension").is_none());
    assert_eq!(alive["meta"]["versionId"], "4");
    assert!(tell(&cluster, DeathStatus::Informal, "2025-12-21T10:00:00+00:00").is_ok());
}

#[test]
fn pds_60_a_death_is_told_with_its_time() {
    let cluster = cluster();
    for time in ["", "yesterday", "2025-12-24T10:00:00+01:00"] {
        refuses(PDS_60, tell(&cluster, DeathStatus::Informal, time));
    }
    refuses(PDS_60, tell(&cluster, DeathStatus::Removed, DIED));
    refuses(PDS_60, tell(&cluster, DeathStatus::Removed, ""));
    // In the future, and before birth.
    refuses(
        PDS_10,
        tell(&cluster, DeathStatus::Formal, "2027-01-01T00:00:00+00:00"),
    );
    refuses(PDS_10, tell(&cluster, DeathStatus::Formal, "1970-01-01"));
}
