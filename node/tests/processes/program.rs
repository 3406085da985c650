//! The program itself, as the operating system sees it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use spine_client::local_cluster::{LocalCluster, Plan};

/// Nothing that is waited for takes longer.
const SOON: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Three addresses that were free a moment ago.
fn free_addresses() -> [String; 3] {
    // All are held until all are known: none comes twice.
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}

/// A node that waits for its cluster.
fn spawn(dir: &Path) -> Child {
    let [grpc, peer, admin] = free_addresses();
    let settings = format!(
        "[node]\nname = \"alone\"\ndata_dir = {:?}\n\
         [listen]\ngrpc = \"{grpc}\"\npeer = \"{peer}\"\nadmin = \"{admin}\"\n\
         [cluster]\nseeds = [\"{peer}\"]\n\
         [storage]\nmin_free_bytes = 67108864\n\
         [security]\nmode = \"development\"\n",
        dir.join("data")
    );
    fs::write(dir.join("spine.toml"), settings).unwrap();
    Command::new(env!("CARGO_BIN_EXE_spine-node"))
        .arg("--config")
        .arg(dir.join("spine.toml"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap()
}

/// Dropping it kills the process.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::sleep(POLL);
    }
}

#[test]
fn a_node_has_no_huge_pages_and_ends_well_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let Running(node) = &mut Running(spawn(dir.path()));
    let log = || fs::read_to_string(dir.path().join("log")).unwrap();
    wait_for("a start", || log().contains("serving"));
    let status = fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    let huge_pages = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
    assert_eq!(huge_pages.map(str::trim), Some("0"));
    kill_process(Pid::from_child(node), Signal::TERM).unwrap();
    let mut ended = None;
    wait_for("an end", || {
        ended = node.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success(), "{}", log());
    assert!(log().contains("stopped"), "{}", log());
}

fn script(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// sled runs `sync` wherever it finds one, and that takes the disk away from everybody else on the machine.
#[tokio::test]
async fn a_node_runs_no_other_program() {
    let dir = tempfile::tempdir().unwrap();
    let (ran, node, sync) = (
        dir.path().join("ran"),
        dir.path().join("node"),
        dir.path().join("sync"),
    );
    script(&sync, &format!("echo $PPID >> {}", ran.display()));
    let program = env!("CARGO_BIN_EXE_spine-node");
    let path = dir.path().display();
    script(
        &node,
        &format!("PATH={path}:$PATH sync\nPATH={path}:$PATH exec {program} \"$@\""),
    );
    let plan = Plan {
        nodes: 1,
        shards: 2,
        settings: vec!["storage.min_free_bytes=67108864".into()],
        ..Plan::new(node)
    };
    let cluster = LocalCluster::launch(plan, SOON).await.unwrap();
    // The script's own run shows that a node would have found it.
    let runs = fs::read_to_string(&ran).unwrap();
    assert_eq!(runs.lines().count(), 1, "{runs}");
    drop(cluster);
}
