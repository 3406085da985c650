//! The runbooks of `docs/runbooks`: every block of commands, in the order of the page, against a cluster of real processes.
//! What makes a runbook necessary is made here, in front of the section that speaks of it. `docs/runbooks/README.md` says how
//! blocks are marked, `runbook_pages.rs` reads them.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

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
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .envs(self.names.iter().map(|(name, value)| (*name, value)));
        command.output().expect("bash")
    }

    /// What the test does, not the page.
    fn must(&self, script: &str) {
        let done = self.bash(script);
        assert!(done.status.success(), "{script}\n{}", said(&done));
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
    let (old, new) = (local.programs.join("spine-node"), local.path("new/spine-node"));
    fs::create_dir(local.path("new")).expect("a directory");
    if fs::hard_link(&old, &new).is_err() {
        fs::copy(&old, &new).expect("a program");
    }
    local.names.push(("NEW", new.display().to_string()));
    local.play("rolling-upgrade.md", |_, _| {});
}
