//! While leaders of an older release may still come, nothing is written that they would misread.

use prost::Message;
use serde_json::json;
use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1::{
    AbsorbRequest, ClaimRequest, CreateRequest, InvalidateRequest, NotifyDeathRequest, PutRelatedRequest,
    RegisterRequest, SearchParameter, SearchRequest, SearchResponse, SetSensitivityRequest, SupersedeRequest,
    UpdateRequest, UpdateResponse, VoidRequest,
};
use spine_services::pds::search::backlog;
use spine_services::{Plan, SpineError, View, catalogue, submit};
use spine_statemachine::apply::SubOutcome;
use spine_statemachine::key::{self, Family};
use spine_statemachine::{LevelRange, Rule, levels};

use super::{Cluster, newcomer, request};
use crate::harness::Shard;

const A: &str = "9990000018";
const B: &str = "9990000026";

fn at_level(level: u32) -> Cluster {
    let cluster = Cluster::new();
    cluster.shard(|shard| shard.begins_at(level));
    let mut patient = newcomer();
    for number in [A, B] {
        patient["id"] = json!(number);
        cluster.register(&patient);
    }
    cluster
}

fn reason(cluster: &Cluster, operation: &str, request: &impl Message) -> Option<String> {
    let request = request.encode_to_vec().into();
    let answer = cluster.shard(|shard| shard.call_bytes(operation, &request));
    answer.err().map(|error| error.reason.into_owned())
}

fn search() -> SearchRequest {
    let parameters = [("family", "Edwards"), ("birthdate", "1982-07-10")];
    let parameters = parameters.map(|(name, value)| SearchParameter {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    SearchRequest {
        parameters: parameters.into(),
    }
}

fn found(cluster: &Cluster) -> usize {
    let answer: Result<SearchResponse, SpineError> =
        cluster.shard(|shard| shard.call("pds.search", &search()));
    answer.unwrap().matches.len()
}

/// What each operation that is refused below the level says.
fn reasons(cluster: &Cluster) -> Vec<(&'static str, Option<String>)> {
    let id = || "1".to_owned();
    let (a, b) = (|| A.to_owned(), || B.to_owned());
    let hash = || vec![1; 16].into();
    let birth_date = || "1982-07-10".to_owned();
    let absorb = AbsorbRequest {
        nhs_number: a(),
        superseded: b(),
        undo: false,
        request_id: id(),
    };
    let supersede = SupersedeRequest {
        nhs_number: b(),
        version_id: 1,
        survivor: a(),
        request_id: id(),
    };
    let mark = SetSensitivityRequest {
        nhs_number: a(),
        sensitivity: 2,
        request_id: id(),
        ..Default::default()
    };
    let invalidate = InvalidateRequest {
        nhs_number: a(),
        request_id: id(),
        ..Default::default()
    };
    let claim = ClaimRequest {
        birth_date: birth_date(),
        holder: hash(),
        body: hash(),
        request_id: id(),
        ..Default::default()
    };
    let create = CreateRequest {
        nhs_number: "9990000034".to_owned(),
        holder: hash(),
        body: hash(),
        fhir_json: newcomer().to_string().into(),
        national: true,
        request_id: id(),
    };
    let void = VoidRequest {
        nhs_number: "9990000042".to_owned(),
        request_id: id(),
    };
    vec![
        ("pds.search", reason(cluster, "pds.search", &search())),
        ("pds.claim", reason(cluster, "pds.claim", &claim)),
        ("pds.create", reason(cluster, "pds.create", &create)),
        ("pds.void", reason(cluster, "pds.void", &void)),
        ("pds.absorb", reason(cluster, "pds.absorb", &absorb)),
        ("pds.supersede", reason(cluster, "pds.supersede", &supersede)),
        (
            "pds.set_sensitivity",
            reason(cluster, "pds.set_sensitivity", &mark),
        ),
        ("pds.invalidate", reason(cluster, "pds.invalidate", &invalidate)),
    ]
}

#[test]
fn what_an_older_leader_would_misread_waits_for_the_level() {
    let level = Rule::IDENTITIES.since();
    assert_eq!(level, Rule::SEARCH_TOKENS.since());
    let cluster = at_level(level - 1);
    for (operation, reason) in reasons(&cluster) {
        assert_eq!(reason.as_deref(), Some("LEVEL_TOO_LOW"), "{operation}");
    }
    let refused = cluster.allocate(&request(&newcomer(), "new")).err().unwrap();
    assert_eq!(refused.reason, "LEVEL_TOO_LOW");
    assert_eq!(
        refused.message,
        format!(
            "requires level {level}, and the shard is at level {}: the upgrade is not finalized",
            level - 1
        )
    );
    let written = [Family::PdsToken, Family::PdsClaim].map(|family| {
        let of = |key: &[u8]| Family::of(key) == Some(family);
        cluster.shard(|shard| shard.store.records().iter().filter(|(key, _)| of(key)).count())
    });
    assert_eq!((written, cluster.patients()), ([0, 0], 2));

    let cluster = at_level(LevelRange::RELEASE.max);
    for (operation, reason) in reasons(&cluster) {
        assert_eq!(reason, None, "{operation}");
    }
}

#[test]
fn a_death_and_a_relative_are_what_an_older_release_reads_right() {
    let cluster = at_level(1);
    let death = NotifyDeathRequest {
        nhs_number: A.to_owned(),
        status: 1,
        deceased: "2020-10-22T00:00:00+00:00".to_owned(),
        request_id: "1".to_owned(),
        ..Default::default()
    };
    assert_eq!(reason(&cluster, "pds.notify_death", &death), None);
    let relative = json!({
        "resourceType": "RelatedPerson",
        "patient": { "reference": format!("Patient/{A}") },
        "relationship": [{ "coding": [{ "code": "MTH" }] }],
        "name": [{ "family": "Edwards", "given": ["Mary"] }],
        "address": [{ "line": ["1 High Street"] }],
    });
    let relative = PutRelatedRequest {
        nhs_number: A.to_owned(),
        fhir_json: relative.to_string().into(),
        request_id: "2".to_owned(),
        ..Default::default()
    };
    assert_eq!(reason(&cluster, "pds.put_related", &relative), None);
}

/// What the leader writes for a patient of before the level; how many tokens.
fn work_off(cluster: &Cluster, number: &str) -> usize {
    cluster.shard(|shard| {
        let context = shard.context();
        let mut view = View::new(&shard.store).at_level(shard.state.level);
        let number = NhsNumber::parse(number).unwrap();
        let plan = backlog::missing(&mut view, &context, number).unwrap();
        let (tokens, guards) = (plan.mutations.len(), view.into_guards());
        if tokens > 0 {
            let sub = submit::sub_txn(plan, guards, None).unwrap();
            assert!(matches!(shard.propose(sub), SubOutcome::Committed { .. }));
        }
        tokens
    })
}

#[test]
fn nobody_is_searched_for_until_everybody_from_before_the_level_can_be_found() {
    let cluster = at_level(1);
    cluster.shard(|shard| shard.state.level = LevelRange::RELEASE.max);
    let not_ready = || Some("INDEX_NOT_READY".to_owned());
    assert_eq!(reason(&cluster, "pds.search", &search()), not_ready());
    let allocated = cluster.allocate(&request(&newcomer(), "new"));
    assert_eq!(allocated.err().unwrap().reason, "INDEX_NOT_READY");
    let mut patient = newcomer();
    patient["id"] = json!(A);
    let update = UpdateRequest {
        nhs_number: A.to_owned(),
        fhir_json: patient.to_string().into(),
        version_id: 1,
        request_id: "1".to_owned(),
        ..UpdateRequest::default()
    };
    let _: UpdateResponse = cluster.shard(|shard| shard.call("pds.update", &update)).unwrap();
    assert_eq!(reason(&cluster, "pds.search", &search()), not_ready());
    assert_eq!(work_off(&cluster, A), 0, "its change brought them");
    assert!(work_off(&cluster, B) > 0);
    assert_eq!(work_off(&cluster, B), 0);
    assert_eq!(work_off(&cluster, "9990000034"), 0, "nobody has that number");
    cluster.shard(|shard| shard.change(backlog::done()));
    assert_eq!(found(&cluster), 2);
}

#[test]
fn a_change_that_was_planned_below_the_level_does_not_get_behind_it_without_tokens() {
    let mut shard = Shard::new();
    shard.begins_at(1);
    let mut patient = newcomer();
    patient["id"] = json!(A);
    let register = RegisterRequest {
        fhir_json: patient.to_string().into(),
        request_id: "1".to_owned(),
        ..RegisterRequest::default()
    };
    let spec = catalogue::find("pds.register").unwrap();
    let mut view = View::new(&shard.store).at_level(1);
    let plan = (spec.plan)(&mut view, &register.encode_to_vec().into(), &shard.context()).unwrap();
    let late = submit::sub_txn(plan, view.into_guards(), None).unwrap();
    let mut raised = Plan::default();
    raised.put(key::level(), levels::value(2), levels::SCHEMA);
    shard.change(raised.mutations);
    assert!(matches!(shard.propose(late), SubOutcome::GuardFailed { .. }));
}
