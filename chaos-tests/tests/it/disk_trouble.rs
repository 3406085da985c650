//! Nodes whose disk stalls or fills: leadership leaves at once, nothing is lost, and they come back by themselves.

use std::time::Duration;

use spine_chaos_tests::sim::scripted::{Scene, run};
use spine_chaos_tests::sim::{SimOptions, SimReport};
use spine_node::fitness::Trouble;

use crate::alone::alone;

const SHARDS: u32 = 3;
/// The limit after which a stall is noticed, and the time in which leadership then goes.
const NOTICED: Duration = Duration::from_millis(1_200);
const GIVEN_UP: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);

fn play(seed: u64, script: spine_chaos_tests::sim::scripted::Script) -> SimReport {
    let options = SimOptions {
        shards: SHARDS,
        ..SimOptions::of(seed)
    };
    let report = run(&options, script);
    assert!(report.passed(), "{report}");
    report
}

/// The node that leads the most shards.
fn busiest(scene: &Scene<'_>) -> usize {
    let leads = |node: usize| {
        (1..=SHARDS)
            .filter(|shard| scene.leader_of(*shard) == Some(node))
            .count()
    };
    (0..3).max_by_key(|node| leads(*node)).unwrap_or(0)
}

fn others_lead(scene: &mut Scene<'_>, node: usize) -> Result<Duration, String> {
    scene.until(GIVEN_UP, "others lead every shard", |cluster| {
        (0..=SHARDS).all(|shard| cluster.leader_of(shard).is_some_and(|leader| leader != node))
    })
}

fn healthy(scene: &mut Scene<'_>, node: usize) -> Result<Duration, String> {
    scene.until(10 * SECOND, "the disk is healthy again", |cluster| {
        cluster.trouble(node).is_none()
    })
}

fn progress(scene: &mut Scene<'_>, time: Duration) -> Result<(), String> {
    let before = scene.acknowledged();
    scene.pass(time)?;
    let calls = scene.acknowledged() - before;
    if calls < 20 {
        return Err(format!("only {calls} calls succeeded in {} s", time.as_secs()));
    }
    Ok(())
}

#[test]
fn a_leader_whose_disk_stalls_gives_up_leadership_and_returns_when_healthy() {
    alone(|| {
        for seed in 1..=2 {
            play(seed, |scene| {
                let node = busiest(scene);
                scene.disk(node).stall(true);
                scene.until(NOTICED + SECOND, "the stall is noticed", |cluster| {
                    cluster.trouble(node) == Some(Trouble::DiskStalled)
                })?;
                others_lead(scene, node)?;
                progress(scene, 3 * SECOND)?;
                scene.disk(node).stall(false);
                let healed = healthy(scene, node)?;
                if healed < 2 * SECOND {
                    return Err(format!("trusted after {} ms", healed.as_millis()));
                }
                scene.until(20 * SECOND, "it leads its share again", |cluster| {
                    (0..=SHARDS).any(|shard| cluster.leader_of(shard) == Some(node))
                })?;
                Ok(())
            });
        }
    });
}

#[test]
fn a_follower_whose_disk_stalls_is_not_elected_and_harms_nobody() {
    alone(|| {
        play(4, |scene| {
            let node = (busiest(scene) + 1) % 3;
            scene.disk(node).stall(true);
            scene.until(NOTICED + SECOND, "the stall is noticed", |cluster| {
                cluster.trouble(node) == Some(Trouble::DiskStalled)
            })?;
            others_lead(scene, node)?;
            progress(scene, 3 * SECOND)?;
            scene.disk(node).stall(false);
            healthy(scene, node).map(|_| ())
        });
    });
}

#[test]
fn a_disk_below_the_watermark_hands_over_serves_on_and_recovers_by_itself() {
    alone(|| {
        play(5, |scene| {
            let node = busiest(scene);
            let disk = scene.disk(node);
            disk.fill(Some(disk.used_bytes() + (64 << 10)));
            scene.until(SECOND, "the full disk is noticed", |cluster| {
                cluster.trouble(node) == Some(Trouble::DiskFull)
            })?;
            others_lead(scene, node)?;
            progress(scene, 5 * SECOND)?;
            if scene.leader_of(1) == Some(node) {
                return Err("it leads again".to_owned());
            }
            disk.fill(None);
            healthy(scene, node).map(|_| ())
        });
    });
}

/// No warning at all: the first thing that is noticed is a write without room.
#[test]
fn a_disk_without_any_room_loses_nothing_and_recovers_by_itself() {
    alone(|| {
        for seed in 8..=9 {
            play(seed, |scene| {
                let node = busiest(scene);
                let disk = scene.disk(node);
                disk.fill(Some(disk.used_bytes()));
                scene.until(SECOND, "the full disk is noticed", |cluster| {
                    cluster.trouble(node) == Some(Trouble::DiskFull)
                })?;
                others_lead(scene, node)?;
                progress(scene, 5 * SECOND)?;
                disk.fill(None);
                healthy(scene, node).map(|_| ())
            });
        }
    });
}

#[test]
fn writes_on_full_disks_are_refused_with_their_reason_and_reads_go_on() {
    alone(|| {
        play(11, |scene| {
            for node in 0..3 {
                let disk = scene.disk(node);
                disk.fill(Some(disk.used_bytes() + (100 << 10)));
            }
            scene.until(SECOND, "all are full", |cluster| {
                (0..3).all(|node| cluster.trouble(node) == Some(Trouble::DiskFull))
            })?;
            let before = scene.acknowledged();
            scene.pass(20 * SECOND)?;
            let (reads, refused) = (scene.acknowledged() - before, scene.failed_for("DISK_FULL"));
            if reads < 4 || refused < 4 {
                return Err(format!(
                    "{reads} reads succeeded, {refused} writes were told DISK_FULL"
                ));
            }
            for node in 0..3 {
                scene.disk(node).fill(None);
            }
            for node in 0..3 {
                healthy(scene, node)?;
            }
            Ok(())
        });
    });
}

/// Disks that are one behind the scenes stall together. Once they move again nobody is better than anybody, so that to
/// rest until a disk has proved itself would help no one.
#[test]
fn disks_that_stall_together_cost_no_longer_than_they_stall() {
    alone(|| {
        for seed in 21..=24 {
            play(seed, |scene| {
                let stall = |scene: &mut Scene<'_>, on| {
                    for node in 0..3 {
                        scene.disk(node).stall(on);
                    }
                };
                for _ in 0..5 {
                    stall(scene, true);
                    scene.pass(NOTICED)?;
                    stall(scene, false);
                    // Shorter than a disk that stalled is doubted.
                    progress(scene, SECOND)?;
                }
                progress(scene, 3 * SECOND)
            });
        }
    });
}
