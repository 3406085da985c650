//! A replica whose state is gone or damaged: its node starts, the others serve, and it is built anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use spine_chaos_tests::sim::scripted::{Cluster, Scene, Script, run};
use spine_chaos_tests::sim::{SimOptions, SimReport};
use spine_node::events::EventKind;
use spine_storage::Driver;
use spine_storage::disk::{Disk, SimDisk};
use spine_storage::wal::{Wal, WalOptions};

use crate::alone::alone;

const SHARDS: u32 = 3;
const SHARD: u32 = 2;
const NODE: usize = 1;
const SECOND: Duration = Duration::from_secs(1);

fn play(seed: u64, script: Script) -> SimReport {
    let options = SimOptions {
        shards: SHARDS,
        ..SimOptions::of(seed)
    };
    let report = run(&options, script);
    assert!(report.passed(), "{report}");
    report
}

/// Directory of the state of a shard's replica.
fn state_dir(scene: &Scene<'_>, node: usize, shard: u32) -> Result<PathBuf, String> {
    let inner = scene.node(node).ok_or("the node is down")?;
    let shard = inner.host.shard(shard).ok_or("not hosted")?;
    let replica = shard.group.identity().replica_id;
    Ok(Path::new("/data/replicas").join(replica.to_string()))
}

fn io<T>(result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn lose(disk: &SimDisk, dir: &Path) -> Result<(), String> {
    io(disk.remove_dir_all(dir))?;
    io(disk.sync_dir(Path::new("/data/replicas")))
}

/// Changes a byte in the mark of the generation in force.
fn spoil(disk: &SimDisk, dir: &Path) -> Result<(), String> {
    let names = io(disk.list(dir))?;
    let generation = names.iter().find(|name| name.starts_with("generation-"));
    let mark = dir.join(generation.ok_or("no generation")?).join("CHECKPOINT");
    io(disk.corrupt(&mark, 20, 1))
}

/// As a node leaves it whose engine looped: nothing in it is known to be wrong.
fn give_up(disk: &SimDisk, dir: &Path) -> Result<(), String> {
    io(disk.write_atomic(&dir.join("GIVEN-UP"), b""))
}

/// A write that went to the wrong place: the pointer of another replica of the node.
fn mistake(disk: &SimDisk, dir: &Path) -> Result<(), String> {
    let replicas = Path::new("/data/replicas");
    let names = io(disk.list(replicas))?;
    let mut all = names.iter().map(|name| replicas.join(name));
    let other = all.rfind(|other| other != dir);
    let current = io(disk.read(&other.ok_or("no other replica")?.join("CURRENT")))?;
    io(disk.write_atomic(&dir.join("CURRENT"), &current))
}

/// Takes a replica out of the log of a node that is down.
fn forget_log(disk: &SimDisk, replica: u64) -> std::io::Result<()> {
    let identity = spine_node::data_dir::read(disk, Path::new("/data")).map_err(std::io::Error::other)?;
    let uuid = identity.ok_or(std::io::ErrorKind::NotFound)?.store_uuid;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let options = WalOptions {
            segment_bytes: 256 << 10,
            ..WalOptions::default()
        };
        let wal = Wal::open(
            disk.shared(),
            Path::new("/data/wal"),
            uuid,
            options,
            Driver::Threads,
        )
        .await;
        let wal = wal.map_err(std::io::Error::other)?;
        wal.group(replica).remove().await?;
        wal.close().await
    })
}

fn is_repaired(cluster: &Cluster<'_>) -> bool {
    cluster.node(NODE).is_some_and(|inner| {
        let events = inner.events.all();
        let repaired = |event: &spine_node::events::Event| {
            event.kind == EventKind::ReplicaRepaired && event.shard == Some(SHARD)
        };
        events.iter().any(repaired) && inner.host.absent().is_empty() && inner.host.shard(SHARD).is_some()
    })
}

fn break_and_repair(
    scene: &mut Scene<'_>,
    purge: bool,
    harm: fn(&SimDisk, &Path) -> Result<(), String>,
) -> Result<(), String> {
    scene.pass(2 * SECOND)?;
    if purge {
        scene.compact()?;
    }
    scene.pass(SECOND)?;
    let dir = state_dir(scene, NODE, SHARD)?;
    scene.kill(NODE);
    harm(&scene.disk(NODE), &dir)?;
    scene.restart(NODE);
    scene.until(15 * SECOND, "the replica is built anew", is_repaired)?;
    scene.pass(2 * SECOND)
}

#[test]
fn lost_state_is_built_anew_from_the_log() {
    alone(|| {
        play(1, |scene| break_and_repair(scene, false, lose));
    });
}

#[test]
fn lost_state_is_built_anew_from_a_peer() {
    alone(|| {
        for seed in 2..=3 {
            play(seed, |scene| break_and_repair(scene, true, lose));
        }
    });
}

#[test]
fn damaged_state_is_built_anew_from_a_peer() {
    alone(|| {
        play(5, |scene| break_and_repair(scene, true, spoil));
    });
}

#[test]
fn state_that_was_given_up_is_built_anew() {
    alone(|| {
        play(6, |scene| break_and_repair(scene, false, give_up));
        play(6, |scene| break_and_repair(scene, true, give_up));
    });
}

#[test]
fn state_that_says_it_is_of_another_replica_is_built_anew() {
    alone(|| {
        play(8, |scene| break_and_repair(scene, true, mistake));
    });
}

#[test]
fn a_replica_that_finds_its_own_damage_is_built_anew_without_a_restart() {
    alone(|| {
        play(7, |scene| {
            scene.pass(2 * SECOND)?;
            scene.compact()?;
            let inner = scene.node(NODE).ok_or("the node is down")?;
            let shard = inner.host.shard(SHARD).ok_or("not hosted")?;
            shard.group.store().halt_as_damaged("a test says so");
            drop((inner, shard));
            scene.until(15 * SECOND, "the replica is built anew", is_repaired)?;
            scene.pass(2 * SECOND)
        });
    });
}

/// Two of three lose the same shard: the third cannot lead it, and still gives its state away.
#[test]
fn two_of_three_are_built_anew_from_the_third() {
    alone(|| {
        play(8, |scene| {
            scene.pass(2 * SECOND)?;
            scene.compact()?;
            for node in [0, NODE] {
                let dir = state_dir(scene, node, SHARD)?;
                scene.kill(node);
                lose(&scene.disk(node), &dir)?;
            }
            scene.restart(0);
            scene.restart(NODE);
            scene.until(15 * SECOND, "the replica is built anew", is_repaired)?;
            scene.pass(2 * SECOND)
        });
    });
}

#[test]
fn a_replica_whose_log_is_gone_never_runs_again_and_another_one_comes() {
    alone(|| {
        let options = SimOptions {
            shards: SHARDS,
            ..SimOptions::of(9)
        };
        let report = run(&options, |scene| {
            scene.pass(SECOND)?;
            let inner = scene.node(NODE).ok_or("the node is down")?;
            let shard = inner.host.shard(SHARD).ok_or("not hosted")?;
            let replica = shard.group.identity().replica_id;
            drop((inner, shard));
            scene.kill(NODE);
            io(forget_log(&scene.disk(NODE), replica))?;
            scene.restart(NODE);
            scene.until(20 * SECOND, "another replica runs in its place", move |cluster| {
                let inner = cluster.node(NODE);
                let shard = inner.and_then(|inner| inner.host.shard(SHARD));
                shard.is_some_and(|shard| shard.group.identity().replica_id != replica)
            })?;
            Ok(())
        });
        assert!(report.passed(), "{report}");
    });
}

#[test]
fn a_damaged_log_is_set_aside_and_other_replicas_come() {
    alone(|| {
        let options = SimOptions {
            shards: SHARDS,
            ..SimOptions::of(10)
        };
        let report = run(&options, |scene| {
            scene.pass(2 * SECOND)?;
            let inner = scene.node(NODE).ok_or("the node is down")?;
            let ids = |inner: &spine_node::node::Inner| -> Vec<u64> {
                let hosted = inner.host.all();
                hosted
                    .iter()
                    .map(|shard| shard.group.identity().replica_id)
                    .collect()
            };
            let before = ids(&inner);
            drop(inner);
            scene.kill(NODE);
            let (disk, wal) = (scene.disk(NODE), Path::new("/data/wal"));
            let names = io(disk.list(wal))?;
            let first = names.iter().filter(|name| name.ends_with(".seg")).min();
            // A byte of an early record: good ones follow.
            io(disk.corrupt(&wal.join(first.ok_or("no segment")?), 4_096 + 40, 1))?;
            scene.restart(NODE);
            scene.until(30 * SECOND, "other replicas run in their place", move |cluster| {
                cluster.node(NODE).is_some_and(|inner| {
                    let now = ids(&inner);
                    now.len() == before.len() && now.iter().all(|id| !before.contains(id))
                })
            })?;
            let inner = scene.node(NODE).ok_or("the node is down")?;
            let said = inner.events.all();
            if !said.iter().any(|event| event.kind == EventKind::LogReplaced) {
                return Err("nobody was told".to_owned());
            }
            io(disk.exists(Path::new("/data/wal.damaged")))?
                .then_some(())
                .ok_or_else(|| "the damaged log is gone".to_owned())
        });
        assert!(report.passed(), "{report}");
    });
}

/// Small enough that a run of seconds verifies several times.
const VERIFY_EVERY: u64 = 16;

fn has_event(cluster: &Cluster<'_>, node: usize, kind: EventKind) -> bool {
    cluster.node(node).is_some_and(|inner| {
        let events = inner.events.all();
        events
            .iter()
            .any(|event| event.kind == kind && event.shard == Some(SHARD))
    })
}

/// The replica of one node is altered, leader or not: it alone is convicted, and serves again with what the others have.
fn alter_and_heal(scene: &mut Scene<'_>, leads: bool) -> Result<(), String> {
    scene.pass(2 * SECOND)?;
    let leader = scene.leader_of(SHARD).ok_or("nobody leads")?;
    let odd = if leads { leader } else { (leader + 1) % 3 };
    scene.alter(odd, SHARD)?;
    let convicted = move |cluster: &Cluster<'_>| has_event(cluster, odd, EventKind::ReplicaDiverged);
    scene.until(10 * SECOND, "the altered replica is convicted", convicted)?;
    scene.until(15 * SECOND, "it is built anew", move |cluster| {
        has_event(cluster, odd, EventKind::ReplicaRepaired)
            && cluster
                .node(odd)
                .is_some_and(|inner| inner.host.shard(SHARD).is_some())
    })?;
    scene.until(5 * SECOND, "it is where the others are", move |cluster| {
        let applied = |node: usize| {
            let shard = cluster.node(node)?.host.shard(SHARD)?;
            shard.group.store().applied().map(|id| id.index)
        };
        applied(odd) >= applied((odd + 1) % 3)
    })?;
    scene.trust(odd, SHARD);
    for other in (0..3).filter(|node| *node != odd) {
        let inner = scene.node(other).ok_or("the node is down")?;
        let events = inner.events.all();
        if events
            .iter()
            .any(|event| event.kind == EventKind::ReplicaDiverged)
        {
            return Err(format!("n{} is right and was convicted", other + 1));
        }
    }
    scene.pass(2 * SECOND)
}

#[test]
fn a_replica_that_came_to_differ_is_judged_by_the_majority_and_built_anew() {
    alone(|| {
        let options = SimOptions {
            shards: SHARDS,
            verify_every: Some(VERIFY_EVERY),
            ..SimOptions::of(11)
        };
        for script in [(|scene| alter_and_heal(scene, false)) as Script, |scene| {
            alter_and_heal(scene, true)
        }] {
            let report = run(&options, script);
            assert!(report.passed(), "{report}");
        }
    });
}
