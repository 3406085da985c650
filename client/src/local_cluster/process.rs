//! One node process.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::{LocalClusterError, POLL_INTERVAL};

/// A node of a local cluster. Dropping it kills its process.
pub struct LocalNode {
    number: usize,
    binary: PathBuf,
    dir: PathBuf,
    grpc: String,
    peer: String,
    admin: String,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl std::fmt::Debug for LocalNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalNode")
            .field("number", &self.number)
            .field("grpc", &self.grpc)
            .finish_non_exhaustive()
    }
}

impl LocalNode {
    pub(super) fn new(
        number: usize,
        binary: &Path,
        dir: &Path,
        grpc: String,
        peer: String,
        admin: String,
    ) -> Self {
        let dir = dir.join(format!("node-{number}"));
        let binary = binary.to_path_buf();
        Self {
            number,
            binary,
            dir,
            grpc,
            peer,
            admin,
            arguments: Vec::new(),
            child: None,
        }
    }

    /// From 1.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Where clients connect.
    #[must_use]
    pub fn grpc_address(&self) -> &str {
        &self.grpc
    }

    /// Where other nodes connect.
    #[must_use]
    pub fn peer_address(&self) -> &str {
        &self.peer
    }

    /// Probes and metrics over HTTP.
    #[must_use]
    pub fn admin_address(&self) -> &str {
        &self.admin
    }

    /// Its settings, log and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its settings file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("spine.toml")
    }

    /// What the process has written.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// The process, while there is one.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn set_arguments(&mut self, settings: &[String]) {
        self.arguments = settings
            .iter()
            .flat_map(|setting| ["--set".to_owned(), setting.clone()])
            .collect();
    }

    pub(super) fn set_binary(&mut self, binary: &Path) {
        self.binary = binary.to_path_buf();
    }

    pub(super) fn spawn(&mut self) -> Result<(), LocalClusterError> {
        self.kill()?;
        let log = OpenOptions::new().create(true).append(true).open(self.log_path());
        let log = log.map_err(LocalClusterError::io("open a node's log"))?;
        let twin = log
            .try_clone()
            .map_err(LocalClusterError::io("open a node's log"))?;
        let mut command = Command::new(&self.binary);
        command
            .arg("--config")
            .arg(self.config_path())
            .args(&self.arguments);
        // Settings of the caller's environment would win over the file.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SPINE_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(log).stderr(twin);
        let what = format!("start {}", self.binary.display());
        self.child = Some(command.spawn().map_err(LocalClusterError::io(what))?);
        Ok(())
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// How the process ended, where it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    pub(super) fn signal_kill(&mut self) -> Result<(), LocalClusterError> {
        match &mut self.child {
            Some(child) => child.kill().map_err(LocalClusterError::io("kill a node")),
            None => Ok(()),
        }
    }

    /// SIGKILL, and reaps the process.
    pub(super) fn kill(&mut self) -> Result<(), LocalClusterError> {
        self.signal_kill()?;
        if let Some(mut child) = self.child.take() {
            child
                .wait()
                .map_err(LocalClusterError::io("wait for a killed node"))?;
        }
        Ok(())
    }

    pub(super) fn pause(&mut self) -> Result<(), LocalClusterError> {
        self.signal(Signal::STOP, "pause a node")
    }

    pub(super) fn resume(&mut self) -> Result<(), LocalClusterError> {
        self.signal(Signal::CONT, "resume a node")
    }

    pub(super) async fn stop(&mut self, within: Duration) -> Result<bool, LocalClusterError> {
        self.signal(Signal::TERM, "stop a node")?;
        let until = Instant::now() + within;
        while self.is_running() && Instant::now() < until {
            if let Some(status) = self.ended() {
                return Ok(status.success());
            }
            sleep(POLL_INTERVAL).await;
        }
        self.kill()?;
        Ok(false)
    }

    fn signal(&self, signal: Signal, what: &str) -> Result<(), LocalClusterError> {
        let pid = self
            .child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
            .and_then(Pid::from_raw);
        match pid {
            // The child has not been waited for, so its number cannot belong to another process.
            Some(pid) => kill_process(pid, signal).map_err(|error| LocalClusterError::io(what)(error.into())),
            None => Ok(()),
        }
    }
}

impl Drop for LocalNode {
    fn drop(&mut self) {
        // A paused process dies of SIGKILL as well.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
