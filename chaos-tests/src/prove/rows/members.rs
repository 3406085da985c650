//! Nodes that come and go, with the scripts and commands of an operator, under callers all the time.

use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    target: "healthy with three replicas of each shard, every record there that was on all nodes; each shard \
             told as one that may have lost something, and where it goes on; the old node refused for its \
             incarnation",
    run: recover,
};

/// The same again, each time with another node.
const ROUNDS: u32 = 5;
const ROUNDS_QUICK: u32 = 1;
/// Until no node is where it was.
const ADDRESS_ROUNDS_QUICK: u32 = 3;
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
        let quick = match deed {
            Deed::Address => ADDRESS_ROUNDS_QUICK,
            _ => ROUNDS_QUICK,
        };
        let mut measured = Measured {
            rounds: context.rounds(ROUNDS, quick),
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
/// The meta shard, and those of start.sh.
const SHARDS: u64 = 9;
/// A node of the earlier incarnation is refused within this: it dials as soon as it has opened its data.
const REFUSED_LIMIT: Duration = Duration::from_secs(20);
/// What the refusing node logs, or the refused one.
const REFUSAL: &str = "WRONG_INCARNATION";

#[derive(Default, Serialize)]
struct Recovered {
    incarnation: u64,
    /// Shards of which the order told what it must.
    shards_told: usize,
    /// What was amiss in what it told.
    told_amiss: Vec<String>,
    kept: usize,
    of: usize,
    grown: bool,
    /// Connections that the first node refused once the old one was there.
    refused: u64,
    /// Lines that say that it was for its incarnation, in the log of either.
    refusals_logged: usize,
    recover_ms: u64,
    grow_ms: u64,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "incarnation {} of {} shards serves after {} ms with {} of {} records; three replicas each {} after {} ms; \
             {} connections refused since an old node is back, {} lines tell its other incarnation",
            self.incarnation,
            self.shards_told,
            self.recover_ms,
            self.kept,
            self.of,
            if self.grown { "again" } else { "never" },
            self.grow_ms,
            self.refused,
            self.refusals_logged
        )?;
        match self.told_amiss.first() {
            Some(first) => write!(f, "; told amiss: {first}"),
            None => Ok(()),
        }
    }
}

impl Measurement for Recovered {
    fn met(&self) -> bool {
        self.incarnation == 2
            && self.told_amiss.is_empty()
            && self.shards_told as u64 == SHARDS
            && self.kept == self.of
            && self.grown
            && self.refused > 0
            && self.refusals_logged > 0
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
        let before = operator.status()?;
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
        (measured.shards_told, measured.told_amiss) = told(&said, &before);
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
        (measured.refused, measured.refusals_logged) = operator.refused_old_node(2).await?;
        Finding::of(&measured)
    })
}

/// Shards of which the order said what it must, and what it said otherwise.
fn told(said: &Value, before: &Value) -> (usize, Vec<String>) {
    let mut amiss = Vec::new();
    let shards = said["shards"].as_array().map_or(&[][..], Vec::as_slice);
    for number in 0..SHARDS {
        let mut of_shard = shards.iter().filter(|shard| shard["shard"] == number);
        let why = match (of_shard.next(), of_shard.next()) {
            (Some(shard), None) => told_amiss(shard, applied_on(before, number, 1)),
            _ => Some("it is not told once"),
        };
        amiss.extend(why.map(|why| format!("shard {number}: {why}")));
    }
    (shards.len(), amiss)
}

/// What is wrong in what was told of a shard of which one voter of three is left, on the first node, which
/// had applied `applied` before the others were lost.
fn told_amiss(shard: &Value, applied: Option<u64>) -> Option<&'static str> {
    let number = |name: &str| shard[name].as_u64();
    let (last, committed) = (number("last_index"), number("committed_index"));
    if shard["complete"] != false {
        Some("nothing is lost, it says, and two of three voters are")
    } else if number("node_id") != Some(1) {
        Some("it goes on from another node than the one that is left")
    } else if number("last_term").unwrap_or(0) == 0 {
        Some("its log is of no term")
    } else if applied.is_none() || last < applied {
        Some("its log ends before what the node had applied")
    } else if committed.is_none() || committed > last {
        Some("more is committed than is there")
    } else {
        None
    }
}

/// Up to where a node's replica of a shard had applied its log.
fn applied_on(status: &Value, shard: u64, node: u64) -> Option<u64> {
    let shards = status["shards"].as_array()?;
    let shard = shards.iter().find(|found| found["shard"] == shard)?;
    let mut replicas = shard["replicas"].as_array()?.iter();
    let replica = replicas.find(|replica| replica["node_id"] == node)?;
    replica["applied_index"].as_u64()
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

    /// Starts a node of the earlier incarnation: connections that the first node refused since then, and
    /// lines of the two that say for what.
    async fn refused_old_node(&self, old: u64) -> Result<(u64, usize), RowError> {
        let (counted, logged) = (self.refusals_of(1)?, self.refusal_lines(old)?);
        let _old_node = self.restart_without_waiting(old)?;
        let until = Instant::now() + REFUSED_LIMIT;
        loop {
            tokio::time::sleep(POLL).await;
            let refused = self.refusals_of(1)? - counted;
            let lines = self.refusal_lines(old)? - logged;
            if (refused > 0 && lines > 0) || Instant::now() >= until {
                return Ok((refused, lines));
            }
        }
    }

    /// Lines by which the first node says that it refused this one for its incarnation, or this one that it
    /// was.
    fn refusal_lines(&self, old: u64) -> Result<usize, RowError> {
        let ours = fs::read(self.node_dir(1).join("node.log"))?;
        let theirs = fs::read(self.node_dir(old).join("node.log"))?;
        let refuser = refusal_lines(&String::from_utf8_lossy(&ours), Some(old));
        Ok(refuser + refusal_lines(&String::from_utf8_lossy(&theirs), None))
    }

    /// The old node does not become healthy: nobody waits for that.
    fn restart_without_waiting(&self, node: u64) -> Result<Unwaited, RowError> {
        let data = self.node_dir(node);
        let mut command = Command::new(self.context.programs.join("spine-node"));
        command.arg("--config").arg(data.join("spine.toml"));
        let log = fs::OpenOptions::new().append(true).open(data.join("node.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Unwaited(command.spawn()?))
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

/// A node that the scripts do not know of; ends when dropped.
struct Unwaited(Child);

impl Drop for Unwaited {
    fn drop(&mut self) {
        // One that has ended by itself is as good.
        let _ = self.0.kill().and_then(|()| self.0.wait().map(drop));
    }
}

/// Lines of a log that say that somebody is of another incarnation; where a node is given, only those about
/// it.
fn refusal_lines(log: &str, node: Option<u64>) -> usize {
    let about = node.map(|node| format!("node={node}"));
    let is_about = |line: &str| {
        let Some(about) = &about else { return true };
        line.split_whitespace().any(|word| word == about)
    };
    let lines = log.lines().filter(|line| line.contains(REFUSAL));
    lines.filter(|line| is_about(line)).count()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shard(number: u64) -> Value {
        json!({
            "shard": number, "node_id": 1, "last_index": 20, "last_term": 2, "committed_index": 19,
            "complete": false,
        })
    }

    fn before() -> Value {
        let replicas = json!([{ "node_id": 2, "applied_index": 30 }, { "node_id": 1, "applied_index": 20 }]);
        let shards = (0..SHARDS).map(|number| json!({ "shard": number, "replicas": replicas }));
        json!({ "shards": shards.collect::<Vec<_>>() })
    }

    #[test]
    fn each_shard_is_told_once_and_as_incomplete() {
        let all: Vec<Value> = (0..SHARDS).map(shard).collect();
        let told_of = |shards: &[Value]| told(&json!({ "shards": shards }), &before());
        assert_eq!(told_of(&all), (9, Vec::new()));
        assert_eq!(told_of(&all[1..]).1, ["shard 0: it is not told once"]);
        for (name, wrong) in [
            ("complete", json!(true)),
            ("complete", Value::Null),
            ("node_id", json!(2)),
            ("last_term", json!(0)),
            ("last_index", json!(19)),
            ("last_index", Value::Null),
            ("committed_index", json!(21)),
            ("committed_index", Value::Null),
        ] {
            let mut shards = all.clone();
            shards[3][name] = wrong;
            assert_eq!(told_of(&shards).1.len(), 1, "{name}");
        }
    }

    #[test]
    fn a_refusal_for_another_reason_or_of_another_node_does_not_count() {
        let log = "WARN a connection is refused reason=WRONG_INCARNATION node=2\n\
                   WARN a connection is refused reason=WRONG_INCARNATION node=22\n\
                   WARN a connection is refused reason=UNKNOWN_NODE node=2\n";
        assert_eq!((refusal_lines(log, Some(2)), refusal_lines(log, None)), (1, 2));
    }

    #[test]
    fn refusals_alone_do_not_meet_the_target() {
        let mut recovered = Recovered {
            incarnation: 2,
            shards_told: 9,
            grown: true,
            refused: 3,
            refusals_logged: 1,
            ..Recovered::default()
        };
        assert!(recovered.met());
        recovered.refusals_logged = 0;
        assert!(!recovered.met());
        (recovered.refusals_logged, recovered.refused) = (1, 0);
        assert!(!recovered.met());
    }
}
