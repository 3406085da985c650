//! What the client library does to people, against real processes, one of which dies.

use std::time::Duration;

use serde_json::{Value, json};
use spine_client::local_cluster::{LocalCluster, Plan};
use spine_client::{AllocateOptions, Allocated, DeathStatus, ErrorKind, Pds};

const START: Duration = Duration::from_secs(60);

async fn cluster() -> LocalCluster {
    let common = ["storage.segment_bytes=8388608", "storage.min_free_bytes=67108864"];
    let plan = Plan {
        shards: 4,
        settings: common.iter().map(ToString::to_string).collect(),
        ..Plan::new(env!("CARGO_BIN_EXE_spine-node"))
    };
    LocalCluster::launch(plan, START).await.unwrap()
}

fn newcomer(given: &str) -> String {
    json!({
        "resourceType": "Patient",
        "name": [{ "use": "usual", "family": "Edwards", "given": [given] }],
        "gender": "female",
        "birthDate": "1982-07-10",
    })
    .to_string()
}

async fn given(pds: &Pds, name: &str) -> String {
    match pds
        .allocate(newcomer(name), AllocateOptions::default())
        .await
        .unwrap()
    {
        Allocated::New(new) => new.patient.nhs_number,
        other => panic!("no number was given: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_created_merged_hidden_and_told_dead_over_a_node_that_dies() {
    let mut cluster = cluster().await;
    let pds = cluster.client().pds();
    let one = given(&pds, "Jane").await;
    let again = pds
        .allocate(newcomer("Jane"), AllocateOptions::default())
        .await
        .unwrap();
    assert!(matches!(again, Allocated::Alike(alike) if alike[0].expose() == one));
    let other = given(&pds, "Philippa").await;
    cluster.kill(1).unwrap();

    let third = given(&pds.clone().with_request_id("third"), "Wilhelmina").await;
    assert_eq!(
        given(&pds.clone().with_request_id("third"), "Wilhelmina").await,
        third
    );
    let hidden = pds.set_sensitivity(&one, 1, true).await.unwrap();
    assert_eq!(hidden.patient.version_id, 2);
    let stale = pds.notify_death(&one, 1, DeathStatus::Formal, "2020-01-01").await;
    assert_eq!(stale.unwrap_err().kind, ErrorKind::Conflict);
    let dead = pds
        .notify_death(&one, 2, DeathStatus::Formal, "2020-01-01")
        .await
        .unwrap();
    let resource: Value = serde_json::from_slice(&dead.patient.fhir_json).unwrap();
    assert_eq!(resource["deceasedDateTime"], "2020-01-01");
    pds.notify_death(&one, 0, DeathStatus::Removed, "").await.unwrap();

    let mother =
        json!({ "resourceType": "RelatedPerson", "relationship": [{}], "name": [{}], "address": [{}] });
    let mother = mother.to_string().into_bytes();
    let related = pds.put_related(&other, 0, 0, Some(mother.into())).await.unwrap();
    assert_eq!((related.number, related.version_id), (1, 1));

    let merged = pds.merge(&one, 0, &other).await.unwrap();
    assert_eq!(merged.patient.nhs_number, other);
    assert_eq!(pds.retrieve(&one).await.unwrap().nhs_number, other);
    assert_eq!(pds.related(&one).await.unwrap().len(), 1, "of the survivor");
    pds.put_related(&other, 1, 1, None).await.unwrap();
    assert!(pds.related(&other).await.unwrap().is_empty());
    pds.invalidate(&other, 0).await.unwrap();
    let gone = pds.retrieve(&one).await.unwrap_err();
    assert_eq!(
        (gone.kind, &*gone.reason),
        (ErrorKind::NotFound, "INVALIDATED_RESOURCE")
    );
}
