//! Raising the level of real groups, and a program that does not know it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use spine_node::version::{Release, Version};
use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1::{
    InvalidateRequest, RegisterRequest, RetrieveRequest, SearchParameter, SearchRequest, SearchResponse,
};
use spine_services::{ErrorKind, SpineError};
use spine_statemachine::Rule;

use crate::nodes::{Machine, begin, cluster, leader, principal, until};

pub(crate) const META: u32 = 0;
const SHARD: u32 = 1;
pub(crate) const LEVEL: u32 = 2;

/// Asks until the leader has an answer that is about the levels: one that has just heard of a start knows some node
/// only by its silence, and the leader of one group may know more of it than that of another.
pub(crate) async fn raise(machines: &[Machine], shard: u32, level: u32) -> Result<bool, String> {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        match raise_once(machines, shard, level).await {
            Err(passing)
                if ["does not answer", "not the leader"]
                    .iter()
                    .any(|part| passing.contains(part))
                    && Instant::now() < limit =>
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            answered => return answered,
        }
    }
}

/// Asks every node until the one that leads has done it.
async fn raise_once(machines: &[Machine], shard: u32, level: u32) -> Result<bool, String> {
    loop {
        for machine in machines.iter().filter(|machine| machine.node.is_some()) {
            match machine.inner().raise_level(shard, level).await {
                Ok(raised) => {
                    assert_eq!(raised.level, LEVEL);
                    return Ok(!raised.already);
                }
                Err(error) if error.kind == ErrorKind::NotLeader => {}
                Err(error) => return Err(format!("{}: {}", error.reason, error.message)),
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn levels(machine: &Machine) -> Vec<u32> {
    let shards = machine.inner().host.all();
    shards
        .iter()
        .map(|shard| shard.group.store().status().level)
        .collect()
}

/// Whether a feature of level 2 may be used in a shard, as a leader asks.
fn follows(machine: &Machine, shard: u32) -> bool {
    let shard = machine.inner().host.shard(shard).unwrap();
    let asked = shard
        .group
        .store()
        .read(|view| view.system().follows(Rule::LEVEL_IN_A_ROW));
    asked.unwrap()
}

fn previous() -> Release {
    Release::previous()
}

async fn cluster_of_the_previous_release() -> Vec<Machine> {
    let mut machines = Machine::several(3);
    for machine in &mut machines {
        machine.release = previous();
    }
    begin(&mut machines).await;
    machines
}

/// One after the other.
async fn restart_as(machines: &mut [Machine], count: usize, release: &Release) {
    for at in 0..count {
        machines[at].stop().await;
        machines[at].release = release.clone();
        machines[at].start().await.unwrap();
        until("it leads", || leader(machines).is_some()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_begins_at_the_highest_level_that_all_of_its_nodes_know() {
    let mut machines = cluster(3).await;
    until("all have applied it", || {
        machines.iter().all(|machine| levels(machine) == [LEVEL, LEVEL])
    })
    .await;
    for machine in &mut machines {
        machine.stop().await;
    }
    let mut machines = Machine::several(3);
    machines[2].release = previous();
    begin(&mut machines).await;
    until("all have applied it", || {
        machines.iter().all(|machine| levels(machine) == [1, 1])
    })
    .await;
    for machine in &mut machines {
        machine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_rises_in_order_on_all_replicas_and_an_older_program_runs_none_of_them() {
    let mut machines = cluster_of_the_previous_release().await;
    restart_as(&mut machines, 3, &Release::this()).await;
    until("all are at the level of the release before", || {
        machines.iter().all(|machine| levels(machine) == [1, 1])
    })
    .await;
    // Not while a node runs something else, not beyond what all know, and not before the meta group.
    let unknown = raise(&machines, META, LEVEL + 1).await.unwrap_err();
    assert!(
        unknown.starts_with("LEVEL_NOT_POSSIBLE: node 1 runs release"),
        "{unknown}"
    );
    assert!(unknown.ends_with("knows levels 0 to 2, not 3"), "{unknown}");
    let early = raise(&machines, SHARD, LEVEL).await.unwrap_err();
    assert!(early.contains("the meta group is at level 1"), "{early}");
    machines[2].stop().await;
    machines[2].release = previous();
    machines[2].start().await.unwrap();
    until("it leads", || leader(&machines).is_some()).await;
    let mixed = raise(&machines, META, LEVEL).await.unwrap_err();
    assert!(mixed.contains("which knows levels 0 to 1, not 2"), "{mixed}");
    machines[2].stop().await;
    machines[2].release = Release::this();
    machines[2].start().await.unwrap();
    until("it leads", || leader(&machines).is_some()).await;
    raise(&machines, META, LEVEL).await.unwrap();
    assert!(!machines.iter().any(|machine| follows(machine, SHARD)));
    assert!(raise(&machines, SHARD, LEVEL).await.unwrap());
    assert!(
        !raise(&machines, SHARD, LEVEL).await.unwrap(),
        "again is harmless"
    );
    until("all have applied it", || {
        machines.iter().all(|machine| levels(machine) == [LEVEL, LEVEL])
    })
    .await;
    assert!(machines.iter().all(|machine| follows(machine, SHARD)));
    let status = machines[0].inner().cluster_status().await;
    assert_eq!((status.level, status.level_of_all), (LEVEL, LEVEL));
    // An operator starts the wrong program all the same.
    machines[1].stop().await;
    machines[1].release = previous();
    machines[1].start().await.unwrap();
    let said = machines[1].inner().node_status();
    assert_eq!(said.level_max, Version::from(&previous()).level_max);
    let why = "level 2 is in force and this program knows 0 to 1; install a release that does";
    until("it says why", || {
        machines[1]
            .inner()
            .reasons()
            .iter()
            .any(|reason| reason.contains(why))
    })
    .await;
    assert!(
        machines[1].inner().stopped_replicas() == 2,
        "{:?}",
        machines[1].inner().reasons()
    );
    until("the others serve", || {
        leader(&machines[..1]).is_some() || leader(&machines[2..]).is_some()
    })
    .await;
    // The right one again, and it is as before.
    machines[1].stop().await;
    machines[1].release = Release::this();
    machines[1].start().await.unwrap();
    until("it runs again", || levels(&machines[1]) == [LEVEL, LEVEL]).await;
    until("it leads", || leader(&machines).is_some()).await;
    for machine in &mut machines {
        machine.stop().await;
    }
}

const PATIENT: &str = "9990000018";

/// Asks the first machine, whoever leads, and again where nothing is known of it.
async fn ask(machines: &[Machine], operation: &str, request: &impl Message) -> Result<Bytes, SpineError> {
    let dispatcher = Arc::clone(&machines[0].inner().running().unwrap().dispatcher);
    let limit = tokio::time::Instant::now() + Duration::from_secs(30);
    let request: Bytes = request.encode_to_vec().into();
    loop {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let answer = dispatcher
            .call(operation, request.clone(), &principal().into(), deadline)
            .await;
        match answer {
            Err(error) if error.kind != ErrorKind::Unsupported && error.kind.is_transient() => {
                assert!(tokio::time::Instant::now() < limit, "{error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            answer => return Ok(answer?.body),
        }
    }
}

fn smith(nhs_number: &str, birth_date: &str) -> RegisterRequest {
    RegisterRequest {
        fhir_json: format!(
            "{{\"resourceType\":\"Patient\",\"id\":\"{nhs_number}\",\"name\":[{{\"use\":\"usual\",\
             \"family\":\"Smith\"}}],\"gender\":\"female\",\"birthDate\":\"{birth_date}\"}}"
        )
        .into(),
        request_id: format!("register {nhs_number}"),
        ..RegisterRequest::default()
    }
}

/// Finds the patient.
fn search() -> SearchRequest {
    search_born("1980-02-03")
}

fn search_born(birth_date: &str) -> SearchRequest {
    let parameters = [("family", "Smith"), ("birthdate", birth_date)].map(|(name, value)| SearchParameter {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    SearchRequest {
        parameters: parameters.into(),
    }
}

async fn marks(machines: &[Machine], id: &str) -> [Option<String>; 2] {
    let invalidate = InvalidateRequest {
        nhs_number: PATIENT.to_owned(),
        request_id: id.to_owned(),
        ..InvalidateRequest::default()
    };
    let reason = |answer: Result<Bytes, SpineError>| answer.err().map(|error| error.reason.into_owned());
    [
        reason(ask(machines, "pds.search", &search()).await),
        reason(ask(machines, "pds.invalidate", &invalidate).await),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_releases_nothing_is_written_that_the_older_one_would_misread() {
    let too_low = || Some("LEVEL_TOO_LOW".to_owned());
    let mut machines = cluster_of_the_previous_release().await;
    let register = smith(PATIENT, "1980-02-03");
    ask(&machines, "pds.register", &register).await.unwrap();
    restart_as(&mut machines, 1, &Release::this()).await;
    assert_eq!(marks(&machines, "mixed").await, [too_low(), too_low()]);
    // All of them are new, and any may still go back.
    restart_as(&mut machines, 3, &Release::this()).await;
    assert_eq!(marks(&machines, "new").await, [too_low(), too_low()]);
    let read = RetrieveRequest {
        nhs_number: PATIENT.to_owned(),
    };
    ask(&machines, "pds.retrieve", &read).await.unwrap();
    for shard in [META, SHARD] {
        raise(&machines, shard, LEVEL).await.unwrap();
    }
    // Asked again until everybody from before the level has tokens.
    let found = ask(&machines, "pds.search", &search()).await.unwrap();
    let found = SearchResponse::decode(found).unwrap().matches.pop().unwrap();
    assert_eq!(found.patient.unwrap().nhs_number, PATIENT);
    assert_eq!(marks(&machines, "finalized").await, [None, None]);
    let gone = ask(&machines, "pds.retrieve", &read).await.unwrap_err();
    assert_eq!(gone.reason, "INVALIDATED_RESOURCE");
    for machine in &mut machines {
        machine.stop().await;
    }
}

/// More than are worked off by one entry, and the leader changes meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_from_before_the_level_is_found_behind_it() {
    let mut machines = cluster_of_the_previous_release().await;
    let days: Vec<String> = (0..150)
        .map(|day| format!("1980-{:02}-{:02}", day / 28 + 1, day % 28 + 1))
        .collect();
    let mut numbers = (999_000_000..).filter_map(NhsNumber::from_stem);
    for day in &days {
        let register = smith(&numbers.next().unwrap().expose(), day);
        ask(&machines, "pds.register", &register).await.unwrap();
    }
    restart_as(&mut machines, 3, &Release::this()).await;
    for shard in [META, SHARD] {
        raise(&machines, shard, LEVEL).await.unwrap();
    }
    for machine in &machines {
        let group = &machine.inner().host.shard(SHARD).unwrap().group;
        if group.status().leading {
            let other = machines
                .iter()
                .find(|other| !std::ptr::eq(*other, machine))
                .unwrap();
            let other = other.inner().host.shard(SHARD).unwrap();
            let _ = group.transfer_to(other.group.identity().replica_id).await;
        }
    }
    for day in &days {
        let found = ask(&machines, "pds.search", &search_born(day)).await.unwrap();
        assert_eq!(
            SearchResponse::decode(found).unwrap().matches.len(),
            1,
            "born {day}"
        );
    }
    for machine in &mut machines {
        machine.stop().await;
    }
}
