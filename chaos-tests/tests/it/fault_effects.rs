//! What the faults of a scenario do to whole clusters: a fault that does nothing finds nothing.

use std::time::Duration;

use spine_chaos_tests::scenario::{Fault, Step};
use spine_chaos_tests::sim::scripted::{Scene, Script, run as play};
use spine_chaos_tests::sim::{SimOptions, SimReport, run};
use spine_node::events::EventKind;
use spine_node::fitness::Trouble;

use crate::alone::alone;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);

fn passed(seed: u64, script: Script) {
    let report = play(&SimOptions::of(seed), script);
    assert!(report.passed(), "{report}");
}

fn leader(scene: &Scene<'_>) -> Result<usize, String> {
    scene.leader_of(1).ok_or_else(|| "nobody leads".to_owned())
}

fn moves(scene: &mut Scene<'_>, from: usize) -> Result<(), String> {
    let moved = scene.until(LIMIT, "another leads", |cluster| {
        cluster.leader_of(1).is_some_and(|leader| leader != from)
    });
    moved.map(|_| ())
}

#[test]
fn a_stalled_and_a_full_disk_are_noticed_and_forgotten() {
    alone(|| {
        passed(1, |scene| {
            let node = leader(scene)?;
            for (fault, trouble) in [
                (Fault::DiskStall(node), Trouble::DiskStalled),
                (Fault::DiskFull(node), Trouble::DiskFull),
            ] {
                scene.begin(fault.clone());
                scene.until(3 * SECOND, "it is noticed", |cluster| {
                    cluster.trouble(node) == Some(trouble)
                })?;
                moves(scene, node)?;
                scene.end(fault);
                scene.until(LIMIT, "it is over", |cluster| cluster.trouble(node).is_none())?;
            }
            Ok(())
        });
    });
}

#[test]
fn a_paused_leader_loses_its_place() {
    alone(|| {
        passed(2, |scene| {
            let node = leader(scene)?;
            scene.begin(Fault::Pause(vec![node]));
            // It cannot know; the others do.
            scene.pass(2 * SECOND)?;
            if leader(scene)? == node {
                return Err("it leads on".to_owned());
            }
            scene.end(Fault::Pause(vec![node]));
            Ok(())
        });
    });
}

#[test]
fn a_forged_leader_loses_its_place() {
    alone(|| {
        passed(3, |scene| {
            let node = leader(scene)?;
            scene.begin(Fault::Forge(node));
            moves(scene, node)?;
            scene.end(Fault::Forge(node));
            Ok(())
        });
    });
}

#[test]
fn a_node_whose_sync_fails_ends_and_is_started_again() {
    alone(|| {
        passed(4, |scene| {
            let node = leader(scene)?;
            scene.begin(Fault::FsyncFails(node));
            scene.until(LIMIT, "it has ended", |cluster| cluster.node(node).is_none())?;
            scene.pass(SECOND)?;
            if scene.node(node).is_some() {
                return Err("it runs again before its disk is whole".to_owned());
            }
            scene.end(Fault::FsyncFails(node));
            scene.until(LIMIT, "it runs again", |cluster| cluster.starts(node) == 2)?;
            Ok(())
        });
    });
}

#[test]
fn a_node_that_ends_without_a_reason_fails_the_run() {
    alone(|| {
        let report = play(&SimOptions::of(5), |scene| {
            let node = leader(scene)?;
            scene.disk(node).fail_next_sync(None);
            scene.pass(10 * SECOND)
        });
        let problem = report.problem.unwrap_or_default();
        assert!(problem.contains("ended:"), "{problem}");
    });
}

#[test]
fn damaged_state_is_noticed_and_built_anew() {
    alone(|| {
        for seed in 6..9 {
            passed(seed, |scene| {
                scene.pass(2 * SECOND)?;
                scene.compact()?;
                scene.begin(Fault::CorruptState(1));
                scene.pass(SECOND)?;
                scene.end(Fault::CorruptState(1));
                scene.until(LIMIT, "a replica is built anew", |cluster| {
                    let events = cluster.node(1).map(|inner| inner.events.all());
                    let repaired =
                        |event: &spine_node::events::Event| event.kind == EventKind::ReplicaRepaired;
                    events.is_some_and(|events| events.iter().any(repaired))
                })?;
                Ok(())
            });
        }
    });
}

fn with(fault: Fault) -> SimReport {
    let report = run(&SimOptions {
        script: Some(vec![Step::of(100, 3_000, fault)]),
        ..SimOptions::of(9)
    });
    assert!(
        report.passed() && report.skipped.is_empty(),
        "{report} {:?}",
        report.skipped
    );
    report
}

#[test]
fn a_storm_of_clients_calls_more() {
    alone(|| {
        let calls = |report: SimReport| report.report.map_or(0, |report| report.operations);
        let (calm, storm) = (
            calls(with(Fault::Reset(0, 1))),
            calls(with(Fault::ClientStorm(12))),
        );
        assert!(storm > 2 * calm, "{storm} calls with a storm, {calm} without");
    });
}

#[test]
fn what_cannot_be_simulated_is_told() {
    alone(|| {
        let report = run(&SimOptions {
            script: Some(vec![Step::of(100, 200, Fault::Narrow(0, 1_000))]),
            ..SimOptions::of(10)
        });
        assert_eq!((report.faults, report.skipped.len()), (0, 1));
        assert!(report.skipped[0].starts_with("skipped at 100 for 200: narrow n1 1000 bytes/s: "));
    });
}
