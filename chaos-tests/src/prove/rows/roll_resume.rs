//! The upgrade tool itself, with the scripts of a local cluster: killed again and again, it goes on where it was.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::callers::Callers;
use super::start_stop::Scripts;
use super::support::block_on;
use crate::prove::{Context, Finding, Measurement, Row, RowError};
use crate::workload::seeded;

pub(super) const ROW: Row = Row {
    id: "roll-resume",
    issue: 5,
    claim: "rolling-restart.sh and its way back, killed at random moments, go on where they were, under callers",
    target: "all nodes on the one program, then on the other; 0 failed calls",
    run,
};

/// There and back.
const ROUNDS: u32 = 8;
const ROUNDS_QUICK: u32 = 1;
/// Of one way; the tool that comes after them is left alone.
const KILLS_MAX: u32 = 6;
/// A tool lives for so long before it is killed; a node takes some 2 s.
const LIVES_MS: std::ops::Range<u64> = 50..2_500;
/// One that is left alone ends within this.
const END: Duration = Duration::from_secs(180);
const NODES: usize = 3;
const POLL: Duration = Duration::from_millis(50);

#[derive(Default, Serialize)]
struct Measured {
    kills: u32,
    kills_on_the_way_back: u32,
    forward: bool,
    back: bool,
    calls: u64,
    failed: u64,
    first_failure: Option<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "killed {} times, all nodes on the new program: {}; killed {} times, all on the old one: {}; {} calls, {} failed",
            self.kills, self.forward, self.kills_on_the_way_back, self.back, self.calls, self.failed
        )?;
        match &self.first_failure {
            Some(first) => write!(f, " (first: {first})"),
            None => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.forward && self.back && self.failed == 0 && self.calls > 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let scripts = Scripts::new(context)?;
    scripts.must(&scripts.start(0)?, "start.sh")?;
    let old = context.programs.join("spine-node");
    let new = scripts.data().join("spine-node-next");
    fs::copy(&old, &new)?;
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    let rolled = block_on(async {
        let callers = Callers::start(&scripts.client()?);
        let mut measured = Measured {
            forward: true,
            back: true,
            ..Measured::default()
        };
        let mut random = seeded(5, "roll-resume");
        let tool = Tool {
            context,
            data: scripts.data(),
        };
        for _ in 0..rounds {
            let apply = || tool.apply(&new);
            measured.kills += tool.kill_again_and_again(apply, &mut random).await?;
            measured.forward &= tool.all_run(&new)?;
            let back = || tool.rollback();
            measured.kills_on_the_way_back += tool.kill_again_and_again(back, &mut random).await?;
            measured.back &= tool.all_run(&old)?;
        }
        (measured.calls, measured.failed, measured.first_failure) = callers.stop().await;
        Finding::of(&measured)
    });
    // What a killed tool has left at work would start a node behind the back of stop.sh.
    for node in 1..=NODES {
        if let Ok(lock) = fs::File::open(scripts.data().join(format!("node-{node}/.restart.lock"))) {
            lock.lock()?;
        }
    }
    rolled
}

struct Tool<'a> {
    context: &'a Context,
    data: PathBuf,
}

impl Tool<'_> {
    fn scripts(&self) -> PathBuf {
        self.context.root.join("cluster-config")
    }

    fn spinectl(&self) -> PathBuf {
        self.context.programs.join("spinectl")
    }

    fn apply(&self, new: &Path) -> Command {
        let mut tool = Command::new(self.scripts().join("rolling-restart.sh"));
        tool.arg("--data").arg(&self.data);
        tool.arg("--binary")
            .arg(new)
            .arg("--spinectl")
            .arg(self.spinectl());
        tool
    }

    fn rollback(&self) -> Command {
        let hook = format!(
            "'{}' --data '{}'",
            self.scripts().join("restart-node.sh").display(),
            self.data.display()
        );
        let endpoints = fs::read_to_string(self.data.join("cluster.env")).unwrap_or_default();
        let endpoints = endpoints.trim().rsplit('=').next().unwrap_or_default().to_owned();
        let mut tool = Command::new(self.spinectl());
        tool.args([
            "--endpoints",
            &endpoints,
            "upgrade",
            "rollback",
            "--hook",
            &hook,
            "--state",
        ]);
        tool.arg(self.data.join("upgrade.json"));
        tool
    }

    /// Starts the tool again whenever it was killed; the last one is left alone. Gives how many were killed.
    async fn kill_again_and_again(
        &self,
        tool: impl Fn() -> Command,
        random: &mut ChaCha8Rng,
    ) -> Result<u32, RowError> {
        for killed in 0..KILLS_MAX {
            let life = Duration::from_millis(random.random_range(LIVES_MS));
            if let Some(ended) = self.live_for(&mut tool(), life).await? {
                return self.success(ended).map(|()| killed);
            }
        }
        match self.live_for(&mut tool(), END).await? {
            Some(ended) => self.success(ended).map(|()| KILLS_MAX),
            None => Err(RowError::because(format!(
                "the tool did not end within {} s",
                END.as_secs()
            ))),
        }
    }

    fn talk(&self) -> PathBuf {
        self.data.join("tool.log")
    }

    fn success(&self, ended: ExitStatus) -> Result<(), RowError> {
        if ended.success() {
            return Ok(());
        }
        let said = fs::read_to_string(self.talk()).unwrap_or_default();
        let last = said.lines().last().unwrap_or_default();
        Err(RowError::because(format!("the tool ended with {ended}: {last}")))
    }

    /// How it ended, or `None` where it was killed. What it has started itself is left to go on, as it would be.
    async fn live_for(&self, tool: &mut Command, life: Duration) -> Result<Option<ExitStatus>, RowError> {
        let talk = fs::File::create(self.talk())?;
        tool.stdin(Stdio::null()).stdout(Stdio::null()).stderr(talk);
        let mut child = tool.spawn()?;
        let end = Instant::now() + life;
        while Instant::now() < end {
            if let Some(ended) = child.try_wait()? {
                return Ok(Some(ended));
            }
            tokio::time::sleep(POLL).await;
        }
        child.kill()?;
        child.wait()?;
        Ok(None)
    }

    /// Whether every node's process is this program, by what the kernel says.
    fn all_run(&self, program: &Path) -> Result<bool, RowError> {
        let program = fs::canonicalize(program)?;
        for node in 1..=NODES {
            let noted = fs::read_to_string(self.data.join(format!("node-{node}/node.pid")))?;
            let pid = noted.lines().next().unwrap_or_default();
            if fs::read_link(format!("/proc/{pid}/exe")).ok().as_ref() != Some(&program) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
