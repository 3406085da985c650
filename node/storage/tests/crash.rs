//! Crashes of a real process: this test binary runs itself as a child that checkpoints in a loop and is killed.
//!
//! `chaos-tests/powercut/run.py` uses the same child and the same check around a cut of the file system's power.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use spine_storage::disk::RealDisk;
use spine_storage::engine::{EngineFactory, EngineWatch, MemoryFactory, factory_by_name};
use support::workload::{apply_to, contents, create, expected, open};

/// Set for the child: `engine:seed:directory`.
const CHILD: &str = "SPINE_CRASH_CHILD";
/// Set by the power-cut script: `engine:seed:last durable index:directory`.
const CHECK: &str = "SPINE_CRASH_CHECK";
const ROUNDS: u64 = 4;

fn factory(name: &str) -> Arc<dyn EngineFactory> {
    factory_by_name(name).unwrap_or_else(|| Arc::new(MemoryFactory::new(Arc::new(RealDisk))))
}

/// Not a test of its own: does nothing unless it is the child. Applies, checkpoints, says what is durable, for ever.
#[test]
fn child_checkpoints_in_a_loop() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let [name, seed, dir] = order
        .splitn(3, ':')
        .collect::<Vec<_>>()
        .try_into()
        .expect("engine:seed:directory");
    let seed: u64 = seed.parse().expect("a seed");
    let dir = PathBuf::from(dir);
    let store = if dir.exists() {
        open(&dir, factory(name)).expect("open")
    } else {
        create(&dir, factory(name))
    };
    let watch = EngineWatch::default();
    for index in store.applied().map_or(0, |applied| applied.index).. {
        if index % 7 == 0 {
            let durable = store.checkpoint_now(&watch).expect("checkpoint");
            let durable = durable.map_or(0, |id| id.index);
            writeln!(std::io::stdout(), "durable {durable}").expect("the parent reads");
        }
        apply_to(&store, seed, index + 1).expect("apply");
    }
}

/// What must hold after a crash when the child had said `durable`.
fn check(name: &str, seed: u64, durable: u64, dir: &std::path::Path) -> u64 {
    let store = open(dir, factory(name)).expect("open after the crash");
    let found = store.durable_index().map_or(0, |id| id.index);
    assert!(
        found >= durable,
        "{name}: durable at {found}, but {durable} was promised"
    );
    let scan = store.verify_scan().expect("the engine holds what the mark says");
    assert_eq!(scan.index.unwrap_or(0), found);
    assert_eq!(contents(&store), expected(seed, found), "{name} at its mark");
    apply_to(&store, seed, found + 50).expect("the log's replay");
    assert_eq!(
        contents(&store),
        expected(seed, found + 50),
        "{name} after the replay"
    );
    store
        .checkpoint_now(&EngineWatch::default())
        .expect("the next checkpoint");
    store.verify_scan().expect("after the next checkpoint");
    found
}

fn spawn_child(order: &str) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["child_checkpoints_in_a_loop", "--exact", "--nocapture"])
        .env(CHILD, order)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("spawn")
}

/// Kills the child after `life` and returns the last index it called durable.
fn kill_after(mut child: Child, life: Duration) -> u64 {
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let reader = std::thread::spawn(move || {
        let durable = |line: String| {
            line.strip_prefix("durable ")
                .and_then(|index| index.parse::<u64>().ok())
        };
        output
            .lines()
            .map_while(Result::ok)
            .filter_map(durable)
            .last()
            .unwrap_or(0)
    });
    std::thread::sleep(life);
    child.kill().expect("kill");
    child.wait().expect("wait");
    reader.join().expect("the reader")
}

#[test]
fn a_killed_process_keeps_what_it_called_durable() {
    let threads: Vec<_> = ["sled", "fjall", "memory"]
        .into_iter()
        .map(|name| {
            std::thread::spawn(move || {
                let dir = tempfile::tempdir().expect("a temporary directory");
                let replica = dir.path().join("replica");
                let (mut reached, mut promised) = (0, 0);
                for round in 0..ROUNDS {
                    // The directory keeps what the last round's check wrote: entries do not depend on the round.
                    let child = spawn_child(&format!("{name}:5:{}", replica.display()));
                    let durable = kill_after(child, Duration::from_millis(250 + round * 90));
                    promised = promised.max(durable);
                    if replica.join("CURRENT").exists() {
                        reached = check(name, 5, durable, &replica);
                    } else {
                        assert_eq!(durable, 0, "{name}: killed while creating");
                        std::fs::remove_dir_all(&replica).ok();
                    }
                }
                assert!(
                    promised > 0 && reached >= promised,
                    "{name}: killed before its first checkpoint"
                );
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a round failed");
    }
}

/// Not a test of its own: the check of the power-cut script.
#[test]
fn check_after_a_power_cut() {
    let Ok(order) = std::env::var(CHECK) else { return };
    let parts: Vec<&str> = order.splitn(4, ':').collect();
    let [name, seed, durable, dir] = parts.try_into().expect("engine:seed:durable:directory");
    let (seed, durable) = (seed.parse().expect("a seed"), durable.parse().expect("an index"));
    let found = check(name, seed, durable, &PathBuf::from(dir));
    writeln!(std::io::stdout(), "recovered {found}").expect("the script reads");
}
