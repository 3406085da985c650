//! One person, one number: whoever asks at the same time, and wherever one of them dies.

use std::collections::BTreeSet;
use std::task::Poll;

use serde_json::{Value, json};
use spine_proto::pds::v1::{
    AllocateRequest, AllocateResponse, InvalidateRequest, InvalidateResponse, UpdateRequest, UpdateResponse,
};
use spine_services::SpineError;
use spine_statemachine::key::Family;

use super::{Cluster, die_after, finish, interleave, newcomer, number, request, step};

/// Steps of an allocation that nobody disturbs: search, claim, search, create, release, and the end.
const STEPS: usize = 6;
/// Kind of the rows of void numbers.
const VOID: u8 = 5;

/// Who was found instead, or the number that was given.
fn found(answer: Result<AllocateResponse, SpineError>) -> String {
    let mut answer = answer.unwrap();
    match answer.alike.len() {
        0 => answer.patient.unwrap().nhs_number,
        1 => answer.alike.remove(0),
        _ => panic!("two records of one person"),
    }
}

/// Somebody else of the same day: a claim that outlived its patient is given up for them.
fn twin_is_created(cluster: &Cluster) -> String {
    let mut twin = newcomer();
    twin["name"][0]["given"] = json!(["Philippa"]);
    let given = number(cluster.allocate(&request(&twin, "twin")));
    assert_eq!((cluster.patients(), cluster.claims()), (2, 0));
    given
}

#[test]
fn a_new_patient_has_a_number_and_is_found_by_it() {
    let cluster = Cluster::new();
    let asked = request(&newcomer(), "a");
    let given = number(cluster.allocate(&asked));
    let patient = super::json_of(&cluster.read(&given).unwrap());
    assert_eq!(patient["id"], given.as_str());
    assert_eq!(patient["identifier"][0]["value"], given.as_str());
    assert_eq!(patient["meta"]["versionId"], "1");
    assert_eq!(patient["meta"]["security"][0]["code"], "U");
    assert!(patient["name"][0]["id"].is_string(), "items have ids");
    assert_eq!(
        patient["address"][0]["line"].as_array().unwrap().len(),
        3,
        "blank lines go"
    );
    assert_eq!(
        (
            cluster.patients(),
            cluster.claims(),
            cluster.count(Family::Pds, VOID)
        ),
        (1, 0, 0)
    );
}

#[test]
fn the_same_request_is_answered_with_the_same_number_for_ever() {
    let cluster = Cluster::new();
    let asked = request(&newcomer(), "a");
    let given = number(cluster.allocate(&asked));
    // Longer than request ids are remembered.
    cluster.shard(|shard| shard.now_ms += 3_600_000);
    let again = cluster.allocate(&asked).unwrap();
    assert!(again.replayed);
    assert_eq!(number(Ok(again)), given);
    // Another request of the same person is told who has it; the same id with another body is refused.
    let other = cluster.allocate(&request(&newcomer(), "b")).unwrap();
    assert_eq!(other.alike, [given]);
    let mut changed = newcomer();
    changed["telecom"] =
        json!([{ "system": "phone", "use": "home", "value": "0" , "period": { "start": "2020-01-01" } }]);
    let reused = cluster.allocate(&request(&changed, "a"));
    assert_eq!(reused.err().unwrap().reason, "REQUEST_ID_REUSED");
    assert_eq!(cluster.patients(), 1);
}

#[test]
fn a_request_is_answered_with_its_number_whatever_became_of_the_patient() {
    let cluster = Cluster::new();
    let asked = request(&newcomer(), "a");
    let given = number(cluster.allocate(&asked));
    let mut corrected = newcomer();
    corrected["id"] = json!(given);
    corrected["birthDate"] = json!("1931-07-08");
    let update = UpdateRequest {
        nhs_number: given.clone(),
        fhir_json: corrected.to_string().into(),
        version_id: 1,
        request_id: "correct".to_owned(),
        ..UpdateRequest::default()
    };
    let _: UpdateResponse = cluster.shard(|shard| shard.call("pds.update", &update)).unwrap();
    // Longer than request ids are remembered.
    cluster.shard(|shard| shard.now_ms += 3_600_000);
    assert_eq!(number(cluster.allocate(&asked)), given);
    let invalidate = InvalidateRequest {
        nhs_number: given,
        request_id: "invalid".to_owned(),
        ..InvalidateRequest::default()
    };
    let _: InvalidateResponse = cluster
        .shard(|shard| shard.call("pds.invalidate", &invalidate))
        .unwrap();
    cluster.shard(|shard| shard.now_ms += 3_600_000);
    let gone = cluster.allocate(&asked).err().unwrap();
    assert_eq!(gone.reason, "INVALIDATED_RESOURCE");
    assert_eq!(cluster.patients(), 1);
}

#[test]
fn whoever_asks_at_the_same_time_there_is_one_record() {
    for seed in 0..100 {
        let cluster = Cluster::new();
        let asked: Vec<AllocateRequest> = (0..2 + seed % 4)
            .map(|id| request(&newcomer(), &format!("{id}")))
            .collect();
        let running = asked.iter().map(|asked| cluster.allocating(asked));
        let answers = interleave(running, seed);
        let created = answers.iter().flatten().filter(|answer| answer.alike.is_empty());
        assert_eq!(created.count(), 1, "seed {seed}");
        let numbers: BTreeSet<String> = answers.into_iter().map(found).collect();
        assert_eq!(numbers.len(), 1, "seed {seed}");
        assert_eq!((cluster.patients(), cluster.claims()), (1, 0), "seed {seed}");
    }
}

#[test]
fn the_same_request_at_two_nodes_is_one() {
    for seed in 0..60 {
        let cluster = Cluster::new();
        let asked = request(&newcomer(), "a");
        let running = (0..3).map(|_| cluster.allocating(&asked));
        let answers = interleave(running, seed);
        let numbers: BTreeSet<String> = answers.into_iter().map(number).collect();
        assert_eq!((numbers.len(), cluster.patients()), (1, 1), "seed {seed}");
    }
}

#[test]
fn whoever_dies_at_whatever_step_is_given_up_or_finished_by_the_next() {
    for died_after in 0..STEPS {
        let cluster = Cluster::new();
        let (first, second) = (request(&newcomer(), "a"), request(&newcomer(), "b"));
        assert!(die_after(cluster.allocating(&first), died_after));
        let next = found(cluster.allocate(&second));
        // The caller of the first one asks again, as it is told to.
        let again = found(cluster.allocate(&first));
        assert_eq!(
            (next == again, cluster.patients()),
            (true, 1),
            "died after {died_after} steps"
        );
        assert_eq!(found(cluster.allocate(&second)), next);
        twin_is_created(&cluster);
    }
}

#[test]
fn a_request_that_died_is_finished_by_its_own_repetition_under_the_same_number() {
    for died_after in 0..STEPS {
        let cluster = Cluster::new();
        let asked = request(&newcomer(), "a");
        assert!(die_after(cluster.allocating(&asked), died_after));
        let claimed = cluster.claims() + cluster.patients() > 0;
        let given = number(cluster.allocate(&asked));
        assert_eq!(cluster.patients(), 1);
        assert_eq!(
            cluster.count(Family::Pds, VOID),
            0,
            "no number was wasted after {died_after} steps"
        );
        // Only a claim that outlived its patient may be left, and the next comer removes it.
        assert!(cluster.claims() == 0 || claimed);
        assert_ne!(twin_is_created(&cluster), given);
    }
}

#[test]
fn two_who_die_leave_one_record_to_the_third() {
    for (one, other) in (0..STEPS).flat_map(|one| (0..40).step_by(3).map(move |other| (one, other))) {
        let cluster = Cluster::new();
        let asked: Vec<AllocateRequest> = ["a", "b", "c"].map(|id| request(&newcomer(), id)).into();
        assert!(die_after(cluster.allocating(&asked[0]), one));
        // It may have come to its end.
        die_after(cluster.allocating(&asked[1]), other);
        let numbers: BTreeSet<String> = asked
            .iter()
            .rev()
            .map(|asked| found(cluster.allocate(asked)))
            .collect();
        assert_eq!((numbers.len(), cluster.patients()), (1, 1), "{one}, {other}");
        twin_is_created(&cluster);
    }
}

#[test]
fn whoever_was_only_slow_and_is_given_up_changes_nothing_any_more() {
    for slept_after in 0..STEPS {
        let cluster = Cluster::new();
        let (slow, quick) = (request(&newcomer(), "a"), request(&newcomer(), "b"));
        let mut sleeping = Box::pin(cluster.allocating(&slow));
        for _ in 0..slept_after {
            assert!(step(sleeping.as_mut()).is_pending());
        }
        let next = found(cluster.allocate(&quick));
        assert_eq!(found(finish(sleeping)), next, "slept after {slept_after} steps");
        assert_eq!(
            (cluster.patients(), cluster.claims()),
            (1, 0),
            "slept after {slept_after} steps"
        );
    }
}

#[test]
fn a_late_release_does_not_release_the_claim_of_another() {
    let mut twin = newcomer();
    twin["name"][0]["given"] = json!(["Philippa"]);
    // Enough for the second to give the first up and to have the claim.
    for steps in 0..60 {
        let cluster = Cluster::new();
        let asked = [
            request(&newcomer(), "a"),
            request(&twin, "b"),
            request(&twin, "c"),
        ];
        let mut late = Box::pin(cluster.allocating(&asked[0]));
        for _ in 1..STEPS {
            assert!(step(late.as_mut()).is_pending());
        }
        let mut second = Box::pin(cluster.allocating(&asked[1]));
        let ended = (0..steps).find_map(|_| match step(second.as_mut()) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        });
        let _ = finish(late);
        let third = found(cluster.allocate(&asked[2]));
        let second = found(ended.unwrap_or_else(|| finish(second)));
        assert_eq!(
            (second == third, cluster.patients(), cluster.claims()),
            (true, 2, 0),
            "{steps}"
        );
    }
}

#[test]
fn a_number_that_is_taken_or_void_is_drawn_again() {
    let cluster = Cluster::new();
    let mut numbers = BTreeSet::new();
    let names = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        .chars()
        .flat_map(|one| "OPQRSTU".chars().map(move |two| (one, two)));
    let mut count = 0;
    for (at, (one, two)) in names.enumerate() {
        let mut patient = newcomer();
        patient["birthDate"] = json!(format!("1982-07-{:02}", 1 + at % 28));
        patient["name"][0]["given"] = json!([format!("{one}{two}{one}{two}{one}")]);
        // The same draws again and again: nearly every number is taken.
        cluster.shard(|shard| shard.entropy = [u8::try_from(at % 3).unwrap(); 32]);
        numbers.insert(number(cluster.allocate(&request(&patient, &format!("{at}")))));
        count += 1;
        if count == 12 {
            break;
        }
    }
    assert_eq!((numbers.len(), cluster.patients(), cluster.claims()), (12, 12, 0));
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut patient = newcomer();
    change(&mut patient);
    patient
}

#[test]
fn who_counts_as_alike() {
    // The rule is tested where rules are; here, who counts as alike.
    let cases = [
        (true, with(|_| {})),
        (
            true,
            with(|patient| patient["name"][0]["family"] = json!("Edwardes")),
        ),
        (
            true,
            with(|patient| patient["name"][0]["family"] = json!("EDWARDS")),
        ),
        (
            true,
            with(|patient| patient["name"][0]["given"] = json!(["Jame"])),
        ),
        (true, with(|patient| patient["gender"] = json!("unknown"))),
        (
            true,
            with(|patient| {
                patient["name"][0]["given"] = json!(["Edwards"]);
                patient["name"][0]["family"] = json!("Jane");
            }),
        ),
        (
            false,
            with(|patient| patient["name"][0]["given"] = json!(["Joanna"])),
        ),
        (false, with(|patient| patient["gender"] = json!("male"))),
        (false, with(|patient| patient["birthDate"] = json!("1982-07-11"))),
        (
            false,
            with(|patient| patient["name"][0]["family"] = json!("Mitchell")),
        ),
    ];
    for (alike, other) in cases {
        let cluster = Cluster::new();
        let first = number(cluster.allocate(&request(&newcomer(), "a")));
        let answer = cluster.allocate(&request(&other, "b")).unwrap();
        let expected: &[String] = if alike { &[first] } else { &[] };
        assert!(answer.alike == expected, "{other}");
        assert_eq!(cluster.patients(), if alike { 1 } else { 2 }, "{other}");
    }
}
