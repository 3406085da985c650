//! Clocks that are wrong: log time stands still where its leader's clock is apart, and all else goes on.

use std::time::Duration;

use spine_chaos_tests::sim::SimOptions;
use spine_chaos_tests::sim::scripted::{Scene, run};
use spine_node::events::EventKind;

use crate::alone::alone;

const SHARD: u32 = 1;
const YEAR_MS: i64 = 365 * 24 * 3_600_000;
const SECOND: Duration = Duration::from_secs(1);
/// Entries under way when the clock goes wrong.
const STILL_MS: i64 = 100;

fn log_time_ms(scene: &Scene<'_>, node: usize) -> Result<i64, String> {
    let inner = scene.node(node).ok_or("the node is down")?;
    let shard = inner.host.shard(SHARD).ok_or("not hosted")?;
    shard
        .group
        .store()
        .read(|view| view.system().log_time_ms)
        .map_err(|error| error.to_string())
}

fn happened(scene: &Scene<'_>, node: usize, kind: EventKind) -> bool {
    scene
        .node(node)
        .is_some_and(|inner| inner.events.all().iter().any(|event| event.kind == kind))
}

fn apart(scene: &mut Scene<'_>, error_ms: i64) -> Result<(), String> {
    // Until then leaders still move to where they belong.
    scene.pass(8 * SECOND)?;
    let leader = scene.leader_of(SHARD).ok_or("no leader")?;
    let before = log_time_ms(scene, leader)?;
    let acknowledged = scene.acknowledged();
    scene.set_clock_error(leader, error_ms);
    scene.pass(3 * SECOND)?;
    if scene.leader_of(SHARD) != Some(leader) {
        return Err("a wrong clock cost the leadership".to_owned());
    }
    let after = log_time_ms(scene, leader)?;
    if after - before > STILL_MS {
        return Err(format!("log time went from {before} to {after}"));
    }
    if scene.acknowledged() <= acknowledged {
        return Err("nothing was acknowledged meanwhile".to_owned());
    }
    if !happened(scene, leader, EventKind::ClockApart) || happened(scene, leader, EventKind::ClockAgreed) {
        return Err("operators were not told".to_owned());
    }
    scene.set_clock_error(leader, 0);
    scene.pass(3 * SECOND)?;
    if log_time_ms(scene, leader)? <= after + 1_000 {
        return Err("log time still stands".to_owned());
    }
    if happened(scene, leader, EventKind::ClockAgreed) {
        Ok(())
    } else {
        Err("operators were not told that it is over".to_owned())
    }
}

fn play(seed: u64, script: spine_chaos_tests::sim::scripted::Script) {
    let report = run(&SimOptions::of(seed), script);
    assert!(report.passed(), "{report}");
}

#[test]
fn log_time_does_not_follow_a_leader_that_is_years_ahead() {
    alone(|| {
        play(51, |scene| apart(scene, 30 * YEAR_MS));
    });
}

#[test]
fn log_time_does_not_follow_a_leader_that_is_years_behind() {
    alone(|| {
        play(52, |scene| apart(scene, -40 * YEAR_MS));
    });
}
