//! From a release to the next one under load: forward, back, forward again, finalized, and no way back from there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use spine_client::upgrade::{Failure, Phase, Progress};
use spine_node::version::PREVIOUS_RELEASE;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::load::Load;
use super::rolls::{RollError, Shared, cluster_id, roll};
use super::spine;
use crate::processes::{Cluster, ClusterError, Options};

/// Calls of one client may take so long before they count as failed.
const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// A node says what it is within this after its start.
const ANSWER: Duration = Duration::from_secs(20);
const HEALTHY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// The node that an operator starts as the wrong program.
const WRONG: usize = 2;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Finalized {
    /// Forward and back count one each.
    pub rolls: u32,
    /// Before and after the new release was finalized.
    pub levels: [u32; 2],
    /// While it was mixed, finalizing was refused.
    pub mixed_refused: bool,
    /// The upgrade could not be taken back afterwards, by library and tool.
    pub back_refused: bool,
    /// A node that was started as the old program all the same ran no replica and said why.
    pub old_program_refused: bool,
    /// And was as before on the new one.
    pub came_back: bool,
    pub calls: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    pub lost: u64,
}

/// A cluster that plays the release before this one, and the programs of both.
pub struct TwoReleases {
    pub cluster: Shared,
    pub(super) previous: PathBuf,
    pub(super) current: PathBuf,
    spinectl: PathBuf,
}

impl TwoReleases {
    /// Starts nodes as the previous release.
    ///
    /// # Errors
    /// Those of the processes.
    pub async fn start(options: &Options) -> Result<Self, RollError> {
        let settings = vec!["development.previous_release=true".to_owned()];
        let cluster = Cluster::start_with(options, settings).await?;
        let node = cluster.program().to_path_buf();
        let said = Command::new(&node).arg("--version").output()?.stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        let of_previous: Vec<String> = said.lines().map(previous_line).collect();
        let dir = cluster.directory();
        let previous = script(dir, "previous", &node, true, &of_previous.join("\n"))?;
        let current = script(dir, "current", &node, false, said.trim_end())?;
        Ok(Self {
            cluster: Arc::new(Mutex::new(cluster)),
            previous,
            current,
            spinectl: options.programs.join("spinectl"),
        })
    }

    /// Everything, with `there_and_back` more rolls before the one that is finalized.
    ///
    /// # Errors
    /// A step that does not end as it should.
    pub async fn play(&self, clients: usize, there_and_back: u32) -> Result<Finalized, RollError> {
        let clients = spine::clients(&*self.cluster.lock().await, clients, CALL_DEADLINE)?;
        let load = Load::start(clients);
        let mut found = Finalized::default();
        found.levels[0] = self.finalize().await?;
        for _ in 0..there_and_back {
            self.forward(&mut found).await?;
            let mut progress = self.progress().await?;
            progress.done = vec![1, 2, 3];
            progress.turn_back("asked for");
            let ended = roll(&self.cluster, &mut progress, &mut |_, _| ()).await?;
            if !matches!(ended, Err(Failure::RolledBack(_))) {
                return Err(RollError::Roll(found.rolls, format!("back: {ended:?}")));
            }
            found.rolls += 1;
        }
        let progress = self.forward(&mut found).await?;
        found.levels[1] = self.finalize().await?;
        found.back_refused = self.goes_back_no_more(progress).await?;
        found.old_program_refused = self.runs_nothing_old().await?;
        let came_back = self.comes_back().await.is_ok();
        let tally = load.stop().await;
        // Under load they are equal only for moments.
        found.came_back = came_back && self.cluster.lock().await.wait_equal(HEALTHY).await.is_ok();
        (found.calls, found.failed) = (tally.calls, tally.failed);
        (found.first_failure, found.lost) = (tally.first_failure, tally.lost);
        Ok(found)
    }

    async fn progress(&self) -> Result<Progress, RollError> {
        let id = cluster_id(&self.cluster).await?;
        Ok(Progress::new(
            id,
            Some(self.previous.clone()),
            self.current.clone(),
        ))
    }

    /// In its middle nobody can finalize.
    async fn forward(&self, found: &mut Finalized) -> Result<Progress, RollError> {
        let mut progress = self.progress().await?;
        let mut restarts = 0;
        let mut refused = false;
        let mut tell = |_, step| {
            restarts += u32::from(step == spine_client::upgrade::Step::Moved);
            if restarts == 1 && !refused {
                refused = self
                    .spinectl(&["upgrade", "finalize"])
                    .is_ok_and(|code| code == Some(5));
            }
        };
        let ended = roll(&self.cluster, &mut progress, &mut tell).await?;
        if ended.is_err() || progress.phase != Phase::Done {
            return Err(RollError::Roll(found.rolls, format!("forward: {ended:?}")));
        }
        found.mixed_refused = refused;
        found.rolls += 1;
        Ok(progress)
    }

    /// The level in force afterwards.
    async fn finalize(&self) -> Result<u32, RollError> {
        let code = self.spinectl(&["upgrade", "finalize"])?;
        if code != Some(0) {
            return Err(RollError::Roll(0, format!("finalize: exit code {code:?}")));
        }
        Ok(self.cluster.lock().await.status(0).await?.level_of_all)
    }

    async fn goes_back_no_more(&self, mut progress: Progress) -> Result<bool, RollError> {
        let state = self.cluster.lock().await.directory().join("upgrade.json");
        fs::write(&state, progress.encode())?;
        let state = state.display().to_string();
        // A hook that would say yes: nothing but the refusal keeps the tool from it.
        let back = ["upgrade", "rollback", "--hook", "true", "--state", &state];
        let by_tool = self.spinectl(&back)? == Some(4);
        progress.turn_back("asked for");
        let ended = roll(&self.cluster, &mut progress, &mut |_, _| ()).await?;
        Ok(by_tool && matches!(ended, Err(Failure::Stopped(_))))
    }

    /// An operator starts the old program on one node.
    async fn runs_nothing_old(&self) -> Result<bool, RollError> {
        self.restart_as(&self.previous).await?;
        let until = Instant::now() + ANSWER;
        loop {
            let admin = self.cluster.lock().await.admin(WRONG)?;
            if let Ok(said) = admin.node_status().await
                && said.release == PREVIOUS_RELEASE
            {
                let stopped = |shard: &spine_proto::admin::v1::ShardSummary| {
                    shard.replicas.iter().all(|replica| replica.state == "stopped")
                };
                let why = "install a release that does";
                let said_why = said.reasons.iter().any(|reason| reason.contains(why));
                if !said.shards.is_empty() && said.shards.iter().all(stopped) && said_why {
                    return Ok(true);
                }
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            sleep(POLL).await;
        }
    }

    async fn comes_back(&self) -> Result<(), RollError> {
        self.restart_as(&self.current).await?;
        let cluster = self.cluster.lock().await;
        Ok(cluster.wait_healthy(HEALTHY).await?)
    }

    async fn restart_as(&self, program: &Path) -> Result<(), ClusterError> {
        let mut cluster = self.cluster.lock().await;
        cluster.kill(WRONG)?;
        cluster.wait_ended(WRONG, ANSWER).await?;
        cluster.restart_as(WRONG, program)
    }

    /// Its exit code.
    fn spinectl(&self, arguments: &[&str]) -> std::io::Result<Option<i32>> {
        let Ok(cluster) = self.cluster.try_lock() else {
            return Err(std::io::Error::other("the cluster is being changed"));
        };
        let endpoints: Vec<&str> = (0..cluster.nodes()).map(|node| cluster.ports(node)[0]).collect();
        let mut tool = Command::new(&self.spinectl);
        tool.args(["--endpoints", &endpoints.join(","), "--principal", "chaos"]);
        tool.args(arguments).current_dir(cluster.directory());
        tool.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(tool.status()?.code())
    }
}

/// What the previous release would print in its place.
fn previous_line(line: &str) -> String {
    if line.starts_with("spine-node ") {
        format!("spine-node {PREVIOUS_RELEASE}")
    } else if line.starts_with("levels ") {
        "levels 0 to 1".to_owned()
    } else {
        line.to_owned()
    }
}

/// A program that is the node with this setting.
fn script(dir: &Path, name: &str, node: &Path, previous: bool, version: &str) -> std::io::Result<PathBuf> {
    let path = dir.join(format!("spine-node-{name}"));
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then\ncat <<'SAID'\n{version}\nSAID\nexit\nfi\n\
         exec '{}' \"$@\" --set development.previous_release={previous}\n",
        node.display()
    );
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
