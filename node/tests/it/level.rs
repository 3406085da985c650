//! Raising the level of real groups, and a program that does not know it.

use std::time::{Duration, Instant};

use spine_node::version::{Release, Version};
use spine_services::ErrorKind;
use spine_statemachine::Rule;

use crate::nodes::{Machine, cluster, leader, until};

pub(crate) const META: u32 = 0;
const SHARD: u32 = 1;
pub(crate) const LEVEL: u32 = 2;

/// Asks until the leader has an answer that is about the levels: one that has just heard of a start knows some node
/// only by its silence, and the leader of one group may know more of it than that of another.
pub(crate) async fn raise(machines: &[Machine], shard: u32, level: u32) -> Result<bool, String> {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        match raise_once(machines, shard, level).await {
            Err(passing) if passing.contains("does not answer") && Instant::now() < limit => {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_rises_in_order_on_all_replicas_and_an_older_program_runs_none_of_them() {
    let mut machines = cluster(3).await;
    assert!(machines.iter().all(|machine| levels(machine) == [0, 0]));
    // Not while a node runs something else, not beyond what all know, and not before the meta group.
    let unknown = raise(&machines, META, LEVEL + 1).await.unwrap_err();
    assert!(
        unknown.starts_with("LEVEL_NOT_POSSIBLE: node 1 runs release"),
        "{unknown}"
    );
    assert!(unknown.ends_with("knows levels 0 to 2, not 3"), "{unknown}");
    let early = raise(&machines, SHARD, LEVEL).await.unwrap_err();
    assert!(early.contains("the meta group is at level 0"), "{early}");
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
