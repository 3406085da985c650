//! Two numbers of one person, and never a ring of numbers that answer for each other.

use serde_json::json;
use spine_proto::pds::v1::{MergeRequest, MergeResponse};
use spine_services::SpineError;
use spine_services::pds::person::merge::merge;

use super::{Cluster, die_after, finish, interleave};

const A: &str = "9990000018";
const B: &str = "9990000026";
const C: &str = "9990000034";

fn cluster() -> Cluster {
    let cluster = Cluster::new();
    for id in [A, B, C] {
        cluster.register(
            &json!({ "resourceType": "Patient", "id": id, "gender": "female", "birthDate": "1982-07-10",
            "name": [{ "use": "usual", "family": "Edwards", "given": ["Jane"] }] }),
        );
    }
    cluster
}

fn into(nhs_number: &str, survivor: &str, id: &str) -> MergeRequest {
    MergeRequest {
        nhs_number: nhs_number.to_owned(),
        survivor: survivor.to_owned(),
        request_id: id.to_owned(),
        version_id: 0,
    }
}

fn merging<'a>(
    cluster: &'a Cluster,
    request: &'a MergeRequest,
) -> impl Future<Output = Result<MergeResponse, SpineError>> + 'a {
    let principal = cluster.shard(|shard| shard.principal.clone());
    async move { merge(cluster, request, &principal).await }
}

/// Who answers for a number in the end.
fn answers_for(cluster: &Cluster, nhs_number: &str) -> String {
    let mut at = nhs_number.to_owned();
    for _ in 0..4 {
        match cluster.read(&at) {
            Ok(patient) => return patient.nhs_number,
            Err(next) => at = next,
        }
    }
    panic!("numbers answer for each other in a ring")
}

#[test]
fn a_number_that_was_merged_is_answered_with_the_survivor() {
    let cluster = cluster();
    let done = finish(merging(&cluster, &into(A, B, "1"))).unwrap();
    let survivor = done.patient.unwrap();
    assert_eq!(
        (survivor.nhs_number.as_str(), &survivor.replaces[..]),
        (B, &[A.to_owned()][..])
    );
    assert_eq!(answers_for(&cluster, A), B);
    // Again, and by another: nothing more happens.
    let again = finish(merging(&cluster, &into(A, B, "1"))).unwrap();
    assert!(again.replayed && again.patient.unwrap().version_id == survivor.version_id);
    let elsewhere = finish(merging(&cluster, &into(A, C, "2")));
    assert_eq!(elsewhere.err().unwrap().reason, "PATIENT_SUPERSEDED");
    // The survivor may be merged itself.
    finish(merging(&cluster, &into(B, C, "3"))).unwrap();
    assert_eq!(answers_for(&cluster, A), C);
    let back = finish(merging(&cluster, &into(C, A, "4")));
    assert_eq!(back.err().unwrap().reason, "PATIENT_SUPERSEDED");
}

#[test]
fn a_merge_of_another_version_is_refused_and_leaves_the_survivor_as_it_was() {
    let cluster = cluster();
    let request = MergeRequest {
        version_id: 7,
        ..into(A, B, "1")
    };
    assert_eq!(
        finish(merging(&cluster, &request)).err().unwrap().reason,
        "VERSION_MISMATCH"
    );
    assert_eq!(cluster.read(B).unwrap().version_id, 1);
}

#[test]
fn whoever_dies_in_a_merge_is_finished_by_the_same_request() {
    for died_after in 0..5 {
        let cluster = cluster();
        let request = into(A, B, "1");
        die_after(merging(&cluster, &request), died_after);
        // Until then nothing is said that is not so.
        assert!([A, B].contains(&answers_for(&cluster, A).as_str()));
        finish(merging(&cluster, &request)).unwrap();
        assert_eq!(answers_for(&cluster, A), B, "died after {died_after} steps");
        assert_eq!(cluster.read(B).unwrap().replaces, [A]);
    }
}

#[test]
fn merges_against_each_other_never_make_a_ring() {
    for seed in 0..400 {
        let cluster = cluster();
        let ring = [
            into(A, B, "1"),
            into(B, C, "2"),
            into(C, A, "3"),
            into(B, A, "4"),
            into(A, B, "1"),
        ];
        let running = ring.iter().map(|request| merging(&cluster, request));
        let _ = interleave(running, seed);
        for number in [A, B, C] {
            answers_for(&cluster, number);
        }
        // And however they are sent again, alone and half way.
        for (at, request) in ring.iter().enumerate() {
            die_after(
                merging(&cluster, request),
                (usize::try_from(seed).unwrap() + at) % 5,
            );
            let _ = finish(merging(&cluster, request));
        }
        for number in [A, B, C] {
            answers_for(&cluster, number);
        }
    }
}
