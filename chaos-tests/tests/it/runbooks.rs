//! The runbooks of `docs/runbooks`: every block of commands, in the order of the page, against a cluster of real processes.
//! What makes a runbook necessary is made here, in front of the section that speaks of it. `docs/runbooks/README.md` says how
//! blocks are marked, `runbook_pages.rs` reads them.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spine_faultdisk::{Availability, Command as DiskOrder, FaultDisk, availability};
use tempfile::TempDir;

use crate::runbook_pages::{Block, before_each, programs, read, root, said, sections};

/// One block, once, seconds.
const BLOCK_LIMIT: &str = "240";
/// Until everybody has noticed a node that is gone, or a disk that is full.
const NOTICED: Duration = Duration::from_secs(3);
const NODES_MAX: u16 = 9;
/// Ends the node that joined without a script, if it is that one that holds the lock.
const END_BY_HAND: &str = "
if [[ -f by-hand/LOCK ]]; then
  pid=$(cat by-hand/LOCK)
  if grep -qaF \"$FILE\" \"/proc/$pid/cmdline\"; then kill -KILL \"$pid\"; fi
fi";
/// Stands for ssh: each node is a machine with an `/opt/spine` of its own. Only what it is told goes there, as ssh would.
const SSH: &str = r#"#!/usr/bin/env bash
set -euo pipefail
[[ $# == 2 && $1 == "${SPINE_NODE_GRPC%:*}" ]]
opt=$PWD/machines/$SPINE_NODE_GRPC
mkdir -p "$opt"
exec env -i PATH="$PATH" MACHINE="$SPINE_NODE_GRPC" bash -c "${2//\/opt\/spine/$opt}"
"#;
/// Stands for systemd on such a machine.
const SYSTEMCTL: &str = r#"#!/usr/bin/env bash
set -euo pipefail
[[ $* == 'restart spine-node' ]]
export SPINE_NODE_GRPC=$MACHINE
exec ./cluster-config/restart-node.sh --binary "$(readlink "machines/$MACHINE/current")"
"#;
/// Says of itself what a newer release would, and does nothing else.
const BROKEN: &str = r#"#!/bin/sh
[ "$1" = --version ] || exit 1
spine-node --version | sed 's/^spine-node .*/spine-node 999.0.0/'
"#;

/// A cluster of `start.sh` in a directory of its own. Ends with the test.
struct Local {
    dir: TempDir,
    programs: PathBuf,
    base_port: u16,
    /// What the page calls by name.
    names: Vec<(&'static str, String)>,
}

impl Local {
    /// So many nodes, on ports from there on.
    fn start(nodes: u16, first_port: u16) -> Self {
        let dir = tempfile::Builder::new().prefix("spine-runbook-").tempdir();
        let local = Self {
            dir: dir.expect("a directory"),
            programs: programs(),
            base_port: free_base(first_port),
            names: Vec::new(),
        };
        let scripts = root().join("cluster-config");
        symlink(scripts, local.path("cluster-config")).expect("a link");
        local.must(&format!(
            "./cluster-config/start.sh --nodes {nodes} --patients 0 --base-port {} --bin-dir {} \
             --set storage.min_free_bytes=67108864",
            local.base_port,
            local.programs.display()
        ));
        local
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bash(&self, script: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("timeout");
        command
            .args([BLOCK_LIMIT, "bash", "-euo", "pipefail", "-c", script])
            .current_dir(self.dir.path())
            .env(
                "PATH",
                format!(
                    "{}:{}:{path}",
                    self.path("bin").display(),
                    self.programs.display()
                ),
            )
            .envs(self.names.iter().map(|(name, value)| (*name, value)));
        command.output().expect("bash")
    }

    /// What the test does, not the page.
    fn must(&self, script: &str) {
        let done = self.bash(script);
        assert!(done.status.success(), "{script}\n{}", said(&done));
    }

    /// What spinectl prints as data, of one command or several, and what it says beside it.
    fn answers(&self, exits_with: i32, script: &str) -> (Vec<Value>, String) {
        let done = self.bash(&format!("source data/cluster.env; {script}"));
        assert_eq!(done.status.code(), Some(exits_with), "{script}\n{}", said(&done));
        let read = serde_json::Deserializer::from_slice(&done.stdout).into_iter();
        let read: Result<Vec<Value>, _> = read.collect();
        let beside = String::from_utf8_lossy(&done.stderr).into_owned();
        (read.expect("JSON on stdout"), beside)
    }

    /// A program that is this text.
    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it may run");
        path
    }

    /// The same program at another path.
    fn copy(&self, program: &Path, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        if fs::hard_link(program, &path).is_err() {
            fs::copy(program, &path).expect("a program");
        }
        path
    }

    /// The process of each node, and the program that the kernel says it runs.
    fn processes(&self, nodes: u16) -> Vec<(String, PathBuf)> {
        let of = |node| {
            let noted = fs::read_to_string(self.path(&format!("data/node-{node}/node.pid")));
            let process = noted
                .expect("a node")
                .lines()
                .next()
                .expect("a process")
                .to_owned();
            let program = fs::read_link(format!("/proc/{process}/exe")).expect("it runs");
            (process, program)
        };
        (1..=nodes).map(of).collect()
    }

    /// As the page says.
    fn carry_out(&self, block: &Block) {
        let script = format!("{}\n{}", before_each(), block.script);
        let began = Instant::now();
        loop {
            let done = self.bash(&script);
            if done.status.code() == Some(block.exits_with) {
                return;
            }
            let again = block.within.is_some_and(|limit| began.elapsed() < limit);
            assert!(
                again,
                "{}\n{:?} instead of {}\n{}",
                block.script,
                done.status.code(),
                block.exits_with,
                said(&done)
            );
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// The whole page; `before` makes the trouble of a section.
    fn play(&mut self, page: &str, mut before: impl FnMut(&mut Self, &str)) {
        for (title, blocks) in sections(&read(page)) {
            before(self, &title);
            for block in &blocks {
                self.carry_out(block);
            }
        }
    }

    fn kill(&self, node: u16) {
        self.must(&format!("kill -KILL \"$(head -n 1 data/node-{node}/node.pid)\""));
    }

    fn grpc(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + node)
    }

    /// Settings of a node that no script knows of.
    fn by_hand(&self, node: u16) -> String {
        let [peer, admin] = [100, 200].map(|lane| self.base_port + lane + node);
        let text = format!(
            "[node]\ndata_dir = \"{}\"\n\n[listen]\ngrpc = \"{}\"\npeer = \"127.0.0.1:{peer}\"\n\
             admin = \"127.0.0.1:{admin}\"\n\n[security]\nmode = \"development\"\n\
             development_principal = \"developer\"\n\n[storage]\nmin_free_bytes = 67108864\n",
            self.path("by-hand").display(),
            self.grpc(node)
        );
        let path = self.path("by-hand.toml");
        fs::write(&path, text).expect("settings");
        path.display().to_string()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.bash(END_BY_HAND);
        let _ = self.bash("./cluster-config/stop.sh");
    }
}

/// Tests that run side by side look from different ports on; below those the kernel gives to outgoing connections.
fn free_base(first: u16) -> u16 {
    let is_free = |base: &u16| {
        let mut ports = (1..=NODES_MAX).flat_map(|node| [0, 100, 200, 300].map(|lane| base + lane + node));
        ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    let mut bases = (first..first + 3_000).step_by(400);
    bases.find(is_free).expect("a free block of ports")
}

#[test]
fn replace_node() {
    let mut local = Local::start(3, 20_000);
    let (file, address) = (local.by_hand(NODES_MAX), local.grpc(NODES_MAX));
    local.names.extend([("FILE", file), ("ADDRESS", address)]);
    local.play("replace-node.md", |local, section| {
        if section == "Symptom" {
            local.kill(2);
            std::thread::sleep(NOTICED);
        }
    });
    // Four are left. One is to leave, and is told to stay before it has let go of anything much.
    let (said, _) = local.answers(
        0,
        "spinectl --output json node decommission 4 --wait 0s || [[ $? == 6 ]]
         spinectl --output json node decommission 4 --undo",
    );
    let leaves_and_stays = ["leaving", "serving"].map(|state| json!({"node_id": 4, "state": state}));
    assert_eq!(said, leaves_and_stays);
    let (said, _) = local.answers(
        0,
        "spinectl --output json cluster apply --wait 180s
         spinectl --output json cluster balance --wait 180s
         spinectl --output json cluster plan
         spinectl --output json cluster status",
    );
    let [applied, balanced, plan, status] = &said[..] else {
        panic!("four answers: {said:?}");
    };
    assert_eq!([applied, balanced], [&json!({"balanced": true}); 2]);
    let idle = (&json!(false), &json!([]), &json!([]));
    assert_eq!((&plan["balancing"], &plan["moving"], &plan["next"]), idle);
    let nodes = status["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().all(|node| node["state"] == "serving"), "{nodes:?}");
    let replicas = nodes
        .iter()
        .map(|node| node["replicas"].as_u64().expect("a number"));
    let replicas: Vec<u64> = replicas.collect();
    assert_eq!(replicas.len(), 4, "{nodes:?}");
    let (least, most) = (replicas.iter().min(), replicas.iter().max());
    assert!(
        most.zip(least).is_some_and(|(most, least)| most - least <= 1),
        "{replicas:?}"
    );
}

#[test]
fn lost_quorum() {
    let mut local = Local::start(5, 23_000);
    let left = [1, 2, 3].map(|node| local.grpc(node));
    local.names.push(("LEFT", left.join(",")));
    local.play("lost-quorum.md", |local, section| {
        if section == "Symptom" {
            // Followers hear of the last commits with the next look.
            std::thread::sleep(NOTICED);
            for node in [4, 5] {
                local.kill(node);
                local.must(&format!("rm -rf data/node-{node}/data"));
            }
            std::thread::sleep(NOTICED);
        }
    });
}

#[test]
fn disk_full() {
    if let Availability::Missing(reason) = availability() {
        // Past what the test harness holds back.
        let _ = writeln!(io::stderr(), "\n!!! SKIPPED runbook disk-full: {reason}\n");
        return;
    }
    let mut local = Local::start(3, 26_000);
    local
        .names
        .push(("ADMIN", format!("127.0.0.1:{}", local.base_port + 202)));
    // Node 2 goes on with a disk of its own.
    local.must("kill \"$(head -n 1 data/node-2/node.pid)\"; sleep 2; mv data/node-2/data before; mkdir disk");
    let mount = local.path("disk");
    let disk = FaultDisk::mount(&local.programs.join("faultdisk"), &mount).expect("a disk");
    local.must(
        "cp -a before/. disk; ln -s \"$PWD/disk\" data/node-2/data; ./cluster-config/restart-node.sh 2",
    );
    local.must("source data/cluster.env; spinectl cluster status --wait 60s");
    local.play("disk-full.md", |_, section| match section {
        "Symptom" => {
            disk.order(&DiskOrder::Full(0)).expect("it fills");
            std::thread::sleep(NOTICED);
        }
        // What stood in the way on that disk is deleted.
        "Act" => drop(disk.order(&DiskOrder::Heal)),
        _ => {}
    });
    local.must("./cluster-config/stop.sh");
}

#[test]
fn rolling_upgrade() {
    let mut local = Local::start(3, 29_000);
    let old = local.programs.join("spine-node");
    let new = local.copy(&old, "new/spine-node");
    local.script("bin/ssh", SSH);
    local.script("bin/systemctl", SYSTEMCTL);
    let shown = |path: &Path| path.display().to_string();
    local.names.extend([("NEW", shown(&new)), ("OLD", shown(&old))]);
    let mut before = Vec::new();
    local.play("rolling-upgrade.md", |local, section| match section {
        "Verify" => {
            for node in [1, 2, 3] {
                let current = local.path("machines").join(local.grpc(node)).join("current");
                assert_eq!(fs::read_link(current).expect("a link"), new, "node {node}");
            }
            assert!(local.processes(3).iter().all(|(_, program)| *program == new));
        }
        "Only a restart" => before = local.processes(3),
        "Finalize" => {
            for (node, (now, before)) in (1..).zip(local.processes(3).iter().zip(&before)) {
                assert_ne!(now.0, before.0, "node {node} was not restarted");
                assert_eq!([&now.1, &before.1], [&old, &old], "node {node}");
            }
        }
        _ => {}
    });
    assert!(!before.is_empty(), "the page has no such section");
}

#[test]
fn a_program_that_does_not_start_is_taken_back() {
    let local = Local::start(3, 17_000);
    let old = local.programs.join("spine-node");
    local.script("broken/spine-node", BROKEN);
    let before = local.processes(3);
    let (said, beside) = local.answers(
        1,
        "code=0
         ./cluster-config/rolling-restart.sh --binary broken/spine-node >&2 || code=$?
         spinectl --output json upgrade status --state data/upgrade.json
         exit $code",
    );
    let [said] = &said[..] else {
        panic!("one answer: {said:?}");
    };
    let reason = "node 1: the hook ended with code 1";
    let expected = (&json!("rolled back"), &json!(reason), &json!([]));
    assert_eq!((&said["phase"], &said["reason"], &said["nodes_done"]), expected);
    let told = format!("all nodes run again what they ran before: {reason}");
    for line in ["node-1 ended while it started", "node 1 is done", &told] {
        assert!(beside.contains(line), "{line}: {beside}");
    }
    let after = local.processes(3);
    assert!(after.iter().all(|(_, program)| *program == old), "{after:?}");
    let restarted = after.iter().zip(&before).map(|(after, before)| after != before);
    assert_eq!(restarted.collect::<Vec<_>>(), [true, false, false]);
    local.must("source data/cluster.env; spinectl cluster status");
}
