//! A request id and its body take effect once, whatever comes between.

use spine_proto::pds::v1::{RegisterRequest, RegisterResponse, UpdateRequest, UpdateResponse};
use spine_services::{ErrorKind, catalogue, submit};

use super::harness::Shard;
use super::pds_rules::least;

fn register(body: String, id: &str) -> RegisterRequest {
    RegisterRequest {
        fhir_json: body.into(),
        request_id: id.to_owned(),
        session: None,
        return_minimal: false,
    }
}

#[test]
fn a_repeated_change_changes_nothing_and_answers_the_same() {
    let mut shard = Shard::new();
    let first = register(least().to_string(), "a");
    let done: RegisterResponse = shard.call("pds.register", &first).unwrap();
    for version in 1..6 {
        let request = UpdateRequest {
            nhs_number: "9990000018".to_owned(),
            version_id: version,
            fhir_json: least().to_string().into(),
            request_id: format!("u{version}"),
            session: None,
            return_minimal: false,
            ..UpdateRequest::default()
        };
        let updated: UpdateResponse = shard.call("pds.update", &request).unwrap();
        let before = (shard.index, shard.state.clone());
        let again: UpdateResponse = shard.call("pds.update", &request).unwrap();
        assert!(again.replayed && !updated.replayed);
        assert!(again.patient == updated.patient);
        let registered: RegisterResponse = shard.call("pds.register", &first).unwrap();
        assert!(registered.replayed && registered.patient == done.patient);
        assert!(before == (shard.index, shard.state.clone()));
    }
}

#[test]
fn a_race_of_two_equal_requests_is_settled_where_it_is_applied() {
    // Both are planned before either is applied, as when a client asks two nodes.
    let mut shard = Shard::new();
    let spec = catalogue::find("pds.register").unwrap();
    let request = prost::Message::encode_to_vec(&register(least().to_string(), "a")).into();
    let plan = |shard: &Shard| {
        let mut view = spine_services::View::new(&shard.store);
        let plan = (spec.plan)(&mut view, &request, &shard.context()).unwrap();
        let identity = (spec.identify)(&request).unwrap();
        let subject_key = shard.context().subject_key;
        let key = submit::request_key(spec, &identity, &request, &shard.principal, &subject_key).unwrap();
        submit::sub_txn(plan, view.into_guards(), key).unwrap()
    };
    let (one, two) = (plan(&shard), plan(&shard));
    let first = shard.propose(one);
    let second = shard.propose(two);
    use spine_statemachine::apply::SubOutcome;
    let SubOutcome::Committed { revision } = first else {
        panic!("the first takes effect")
    };
    let SubOutcome::Replayed {
        revision: replayed,
        outcome,
    } = second
    else {
        panic!("the second is a replay")
    };
    assert_eq!((replayed, &outcome[..]), (revision, &[0, 0, 0, 1][..]));
}

#[test]
fn a_race_of_two_different_requests_has_one_winner() {
    let mut shard = Shard::new();
    let spec = catalogue::find("pds.register").unwrap();
    let plan = |shard: &Shard, id: &str| {
        let request = prost::Message::encode_to_vec(&register(least().to_string(), id)).into();
        let mut view = spine_services::View::new(&shard.store);
        let plan = (spec.plan)(&mut view, &request, &shard.context()).unwrap();
        let identity = (spec.identify)(&request).unwrap();
        let subject_key = shard.context().subject_key;
        let key = submit::request_key(spec, &identity, &request, &shard.principal, &subject_key).unwrap();
        submit::sub_txn(plan, view.into_guards(), key).unwrap()
    };
    let (one, two) = (plan(&shard, "a"), plan(&shard, "b"));
    use spine_statemachine::apply::SubOutcome;
    assert!(matches!(shard.propose(one), SubOutcome::Committed { .. }));
    assert!(matches!(shard.propose(two), SubOutcome::GuardFailed { guard: 0 }));
    // The leader plans again, and now the business says no.
    let again: Result<RegisterResponse, _> = shard.call("pds.register", &register(least().to_string(), "b"));
    assert_eq!(again.err().unwrap().kind, ErrorKind::AlreadyExists);
}
