//! Nodes that come and go, with the scripts and commands of an operator, under callers all the time.

use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use spine_client::Key;

use super::callers::Callers;
use super::start_stop::Scripts;
use super::support::{block_on, output};
use crate::processes::signals;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const REPLACE: Row = Row {
    id: "node-replace",
    issue: 5,
    claim: "a node that was killed is given up with spinectl node replace, and another one has what it had",
    target: "healthy again without it; 0 failed calls, nothing lost",
    run: |context| run(context, Deed::Replace),
};
pub(super) const DECOMMISSION: Row = Row {
    id: "node-decommission",
    issue: 5,
    claim: "a living node is emptied with spinectl node decommission and let go",
    target: "it has no replica, the others have three of each shard; 0 failed calls, nothing lost",
    run: |context| run(context, Deed::Decommission),
};
pub(super) const ADDRESS: Row = Row {
    id: "address-change",
    issue: 5,
    claim: "a node that comes back under another address is found there by the others",
    target: "healthy; 0 failed calls, nothing lost",
    run: |context| run(context, Deed::Address),
};
pub(super) const LOST: Row = Row {
    id: "lost-data-no-vote",
    issue: 5,
    claim: "a node whose log is gone votes no more under its old replica ids and gets new replicas by itself",
    target: "no old id left, healthy; 0 failed calls, nothing lost",
    run: |context| run(context, Deed::LoseLog),
};

pub(super) const OLD_IMAGE: Row = Row {
    id: "old-image-no-vote",
    issue: 5,
    claim: "a node that gets an older copy of its own data directory back, made while it was stopped or while it ran, votes \
            no more under its old replica ids and gets new replicas by itself",
    target: "no old id left, healthy; 0 failed calls, nothing lost",
    run: |context| run(context, Deed::OldImage),
};

pub(super) const RECOVER: Row = Row {
    id: "recover-quorum",
    issue: 5,
    claim: "a cluster that lost two of three nodes for good goes on from the third with spinectl cluster recover, grows to \
            three again, and refuses the lost ones when they come back",
    target: "healthy with three replicas of each shard, every record there that was on all nodes; the old node refused",
    run: recover,
};

/// The same again, each time with another node.
const ROUNDS: u32 = 5;
const ROUNDS_QUICK: u32 = 1;
/// Callers go on for so long before and after each deed.
const AROUND: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);
/// What a new address is apart from the old one.
const PORT_STEP: u16 = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Replace,
    Decommission,
    Address,
    LoseLog,
    OldImage,
}

#[derive(Default, Serialize)]
struct Measured {
    rounds: u32,
    done: u32,
    slowest_ms: u64,
    calls: u64,
    failed: u64,
    first_failure: Option<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} done, the slowest in {} ms; {} calls, {} failed",
            self.done, self.rounds, self.slowest_ms, self.calls, self.failed
        )?;
        match &self.first_failure {
            Some(first) => write!(f, " (first: {first})"),
            None => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.done == self.rounds && self.failed == 0 && self.calls > 0
    }
}

fn run(context: &Context, deed: Deed) -> Result<Finding, RowError> {
    let scripts = Scripts::new(context)?;
    scripts.must(&scripts.start(0)?, "start.sh")?;
    let operator = Operator {
        context,
        scripts: &scripts,
    };
    block_on(async {
        let callers = Callers::start(&scripts.client()?);
        let mut measured = Measured {
            rounds: context.rounds(ROUNDS, ROUNDS_QUICK),
            ..Measured::default()
        };
        for round in 0..measured.rounds {
            tokio::time::sleep(AROUND).await;
            let began = Instant::now();
            measured.done += u32::from(operator.does(deed, round).await?);
            let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            measured.slowest_ms = measured.slowest_ms.max(took);
        }
        tokio::time::sleep(AROUND).await;
        (measured.calls, measured.failed, measured.first_failure) = callers.stop().await;
        Finding::of(&measured)
    })
}

/// Records that are on all nodes before two of them are lost.
const KEPT: usize = 200;

#[derive(Default, Serialize)]
struct Recovered {
    incarnation: u64,
    shards_told: usize,
    kept: usize,
    of: usize,
    grown: bool,
    /// Connections of the old node that the new incarnation refused.
    refused: u64,
    recover_ms: u64,
    grow_ms: u64,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "incarnation {} of {} shards serves after {} ms with {} of {} records; three replicas each {} after {} ms; \
             {} connections of an old node refused",
            self.incarnation,
            self.shards_told,
            self.recover_ms,
            self.kept,
            self.of,
            if self.grown { "again" } else { "never" },
            self.grow_ms,
            self.refused
        )
    }
}

impl Measurement for Recovered {
    fn met(&self) -> bool {
        self.incarnation == 2
            && self.shards_told == 9
            && self.kept == self.of
            && self.grown
            && self.refused > 0
    }
}

fn recover(context: &Context) -> Result<Finding, RowError> {
    let scripts = Scripts::new(context)?;
    scripts.must(&scripts.start(0)?, "start.sh")?;
    let operator = Operator {
        context,
        scripts: &scripts,
    };
    block_on(async {
        let mut measured = Recovered {
            of: KEPT,
            ..Recovered::default()
        };
        let client = scripts.client()?;
        for number in 0..KEPT {
            client.records().put(&kept(number), "kept").await?;
        }
        operator.healthy(|_| true).await?;
        // Followers hear of the last commits with the next entry or look.
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Node 2 comes back later, node 3 never.
        operator.kill(2)?;
        operator.kill(3)?;
        fs::remove_dir_all(operator.node_dir(3).join("data"))?;
        tokio::time::sleep(Duration::from_secs(1)).await;

        let began = Instant::now();
        let all = operator.endpoints();
        let survivor = all.split(',').next().unwrap_or_default().to_owned();
        let said = operator.spinectl_at(&survivor, &["cluster", "recover", "--accept-data-loss"])?;
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        measured.incarnation = said["incarnation"].as_u64().unwrap_or(0);
        measured.shards_told = said["shards"].as_array().map_or(0, Vec::len);
        tokio::time::sleep(Duration::from_secs(2)).await;
        operator.restart(1)?;
        operator.healthy(|_| true).await?;
        measured.recover_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        for number in 0..KEPT {
            let found = client.records().get(&kept(number)).await?;
            measured.kept += usize::from(found.record.is_some());
        }
        let began = Instant::now();
        operator.add_node()?;
        operator.add_node()?;
        measured.grown = operator
            .healthy(|status| {
                let shards = status["shards"].as_array();
                shards.is_some_and(|shards| {
                    shards
                        .iter()
                        .all(|shard| shard["replicas"].as_array().map_or(0, Vec::len) == 3)
                })
            })
            .await?;
        measured.grow_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        operator.restart_without_waiting(2)?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        measured.refused = operator.refusals_of(1)?;
        Finding::of(&measured)
    })
}

fn kept(number: usize) -> Key {
    Key::new(format!("kept-{number}"), "")
}

struct Operator<'a> {
    context: &'a Context,
    scripts: &'a Scripts<'a>,
}

impl Operator<'_> {
    /// True where the cluster is as it should be afterwards. Nodes are numbered from 1; with each round the node that
    /// has been there longest goes.
    async fn does(&self, deed: Deed, round: u32) -> Result<bool, RowError> {
        let oldest = u64::from(round) + 1;
        match deed {
            Deed::Replace => {
                self.kill(oldest)?;
                self.add_node()?;
                self.spinectl(&["node", "replace", &oldest.to_string(), "--wait", "100s"])?;
                self.healthy(|status| replicas_of(status, oldest) == 0).await
            }
            Deed::Decommission => {
                self.add_node()?;
                self.spinectl(&["node", "decommission", &oldest.to_string(), "--wait", "100s"])?;
                let done = self.healthy(|status| replicas_of(status, oldest) == 0).await;
                self.kill(oldest)?;
                done
            }
            Deed::Address => {
                let node = oldest.min(3);
                self.move_ports(node)?;
                self.restart(node)?;
                self.healthy(|_| true).await
            }
            Deed::OldImage => {
                let node = 1 + u64::from(round) % 3;
                let before = self.replica_ids(node)?;
                let (data, copy) = (
                    self.node_dir(node).join("data"),
                    self.node_dir(node).join("older"),
                );
                if round.is_multiple_of(2) {
                    // As a snapshot of a disk: of one moment, in the middle of everything.
                    self.signal(node, signals::pause)?;
                    copy_tree(&data, &copy)?;
                    self.signal(node, signals::resume)?;
                } else {
                    self.kill(node)?;
                    copy_tree(&data, &copy)?;
                    self.restart(node)?;
                }
                self.healthy(|_| true).await?;
                tokio::time::sleep(AROUND).await;
                self.kill(node)?;
                fs::remove_dir_all(&data)?;
                fs::rename(&copy, &data)?;
                self.restart(node)?;
                self.healthy(|status| {
                    let now = ids_of(status, node);
                    now.len() == before.len() && now.iter().all(|id| !before.contains(id))
                })
                .await
            }
            Deed::LoseLog => {
                let node = 1 + u64::from(round) % 3;
                let before = self.replica_ids(node)?;
                self.kill(node)?;
                fs::remove_dir_all(self.node_dir(node).join("data/wal"))?;
                self.restart(node)?;
                self.healthy(|status| {
                    let now = ids_of(status, node);
                    now.len() == before.len() && now.iter().all(|id| !before.contains(id))
                })
                .await
            }
        }
    }

    fn node_dir(&self, node: u64) -> PathBuf {
        self.scripts.data().join(format!("node-{node}"))
    }

    fn kill(&self, node: u64) -> Result<(), RowError> {
        self.signal(node, signals::kill)
    }

    fn signal(&self, node: u64, signal: fn(u32) -> std::io::Result<()>) -> Result<(), RowError> {
        let noted = fs::read_to_string(self.node_dir(node).join("node.pid"))?;
        let pid = noted.lines().next().and_then(|pid| pid.parse().ok());
        let pid = pid.ok_or_else(|| RowError::because("no process id"))?;
        signal(pid).map_err(|error| RowError::because(error.to_string()))
    }

    fn add_node(&self) -> Result<(), RowError> {
        let programs = self.context.programs.display().to_string();
        let added = self.scripts.script("add-node.sh", &["--bin-dir", &programs])?;
        self.scripts.must(&added, "add-node.sh")
    }

    fn restart(&self, node: u64) -> Result<(), RowError> {
        let restarted = self.scripts.script("restart-node.sh", &[&node.to_string()])?;
        self.scripts.must(&restarted, "restart-node.sh")
    }

    /// The node listens elsewhere from its next start on.
    fn move_ports(&self, node: u64) -> Result<(), RowError> {
        let path = self.node_dir(node).join("spine.toml");
        let mut moved = String::new();
        for line in fs::read_to_string(&path)?.lines() {
            let port = line
                .rsplit_once(':')
                .and_then(|(_, rest)| rest.trim_end_matches('"').parse::<u16>().ok());
            match (line.split_once(" = \"127.0.0.1:"), port) {
                (Some((key, _)), Some(port)) if key != "seeds" => {
                    moved.push_str(&format!("{key} = \"127.0.0.1:{}\"\n", port + PORT_STEP));
                }
                _ => {
                    moved.push_str(line);
                    moved.push('\n');
                }
            }
        }
        Ok(fs::write(path, moved)?)
    }

    fn spinectl(&self, arguments: &[&str]) -> Result<Vec<u8>, RowError> {
        self.spinectl_at(&self.endpoints(), arguments)
    }

    /// The old node does not become healthy: nobody waits for that.
    fn restart_without_waiting(&self, node: u64) -> Result<(), RowError> {
        let data = self.node_dir(node);
        let mut command = std::process::Command::new(self.context.programs.join("spine-node"));
        command.arg("--config").arg(data.join("spine.toml"));
        let log = fs::OpenOptions::new().append(true).open(data.join("node.log"))?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut child = command.spawn()?;
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(4));
            // It ends with the row.
            let _ = child.kill().and_then(|()| child.wait());
        });
        Ok(())
    }

    /// Connections of peers that a node refused, by its metrics page.
    fn refusals_of(&self, node: u64) -> Result<u64, RowError> {
        let settings = fs::read_to_string(self.node_dir(node).join("spine.toml"))?;
        let admin = settings.lines().find_map(|line| line.strip_prefix("admin = "));
        let admin = admin
            .ok_or_else(|| RowError::because("no admin address"))?
            .trim_matches('"');
        let mut stream = std::net::TcpStream::connect(admin)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("spine_peer_refusals_total "));
        Ok(line.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
    }

    fn spinectl_at(&self, endpoints: &str, arguments: &[&str]) -> Result<Vec<u8>, RowError> {
        let arguments = [&["--endpoints", endpoints, "--output", "json"], arguments].concat();
        let said = output(
            &self.context.programs.join("spinectl"),
            &arguments,
            &self.context.root,
        )?;
        self.scripts.must(&said, arguments[4])?;
        Ok(said.stdout)
    }

    fn endpoints(&self) -> String {
        let noted = fs::read_to_string(self.scripts.data().join("cluster.env")).unwrap_or_default();
        noted.trim().rsplit('=').next().unwrap_or_default().to_owned()
    }

    /// `cluster status` exits with other codes than 0 where it is not healthy; what it says is looked at.
    fn status(&self) -> Result<Value, RowError> {
        let endpoints = self.endpoints();
        let arguments = ["--endpoints", &endpoints, "--output", "json", "cluster", "status"];
        let said = output(
            &self.context.programs.join("spinectl"),
            &arguments,
            &self.context.root,
        )?;
        Ok(serde_json::from_slice(&said.stdout).unwrap_or_default())
    }

    fn replica_ids(&self, node: u64) -> Result<Vec<u64>, RowError> {
        Ok(ids_of(&self.status()?, node))
    }

    /// Waits until the cluster is healthy and what else is asked for holds; false where it never is.
    async fn healthy(&self, holds: impl Fn(&Value) -> bool) -> Result<bool, RowError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status()?;
            if status["health"] == "healthy" && holds(&status) {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Copies a directory; what vanishes meanwhile is passed over.
fn copy_tree(from: &Path, to: &Path) -> Result<(), RowError> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn replicas(status: &Value) -> impl Iterator<Item = &Value> {
    let shards = status["shards"].as_array().into_iter().flatten();
    shards.flat_map(|shard| shard["replicas"].as_array().into_iter().flatten())
}

fn replicas_of(status: &Value, node: u64) -> usize {
    replicas(status)
        .filter(|replica| replica["node_id"] == node)
        .count()
}

fn ids_of(status: &Value, node: u64) -> Vec<u64> {
    let here = replicas(status).filter(|replica| replica["node_id"] == node);
    here.filter_map(|replica| replica["replica_id"].as_u64())
        .collect()
}
