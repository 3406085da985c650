//! etcd as a peer to measure against, if the machine has it: three nodes with their defaults, and a client with the
//! same patience as ours.

mod metrics;
mod wire;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::local_cluster::{LocalClusterError, free_ports};
pub use metrics::wal_fsyncs;
pub use wire::EtcdClient;

const NODES: usize = 3;
const POLL: Duration = Duration::from_millis(50);
const STATUS_DEADLINE: Duration = Duration::from_millis(500);

/// Where Debian puts it.
#[must_use]
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join("etcd"))
        .find(|path| path.is_file())
}

struct Member {
    client: String,
    peer: String,
    child: Option<Child>,
}

/// Three nodes in a directory of their own. Dropping it kills them.
pub struct EtcdCluster {
    members: Vec<Member>,
    program: PathBuf,
    // After the processes, so that they are dead when it goes.
    directory: TempDir,
}

impl EtcdCluster {
    /// Starts the nodes and waits for a leader.
    ///
    /// # Errors
    /// They do not start or elect nobody.
    pub async fn start(program: PathBuf, within: Duration) -> Result<Self, LocalClusterError> {
        let mut cluster = Self {
            members: Vec::new(),
            program,
            directory: tempfile::Builder::new()
                .prefix("spine-etcd-")
                .tempdir()
                .map_err(LocalClusterError::io("make a temporary directory"))?,
        };
        let ports = free_ports(NODES * 2).map_err(LocalClusterError::io("find free ports"))?;
        for pair in ports.chunks_exact(2) {
            let [client, peer] = [pair[0], pair[1]].map(|port| format!("127.0.0.1:{port}"));
            cluster.members.push(Member {
                client,
                peer,
                child: None,
            });
        }
        for member in 0..NODES {
            cluster.restart(member)?;
        }
        cluster.leader(within).await?;
        Ok(cluster)
    }

    /// Where clients reach a member.
    #[must_use]
    pub fn address(&self, member: usize) -> &str {
        &self.members[member].client
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill(&mut self, member: usize) -> Result<(), LocalClusterError> {
        if let Some(child) = &mut self.members[member].child {
            child.kill().map_err(LocalClusterError::io("kill etcd"))?;
        }
        Ok(())
    }

    /// Starts a member on its data.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self, member: usize) -> Result<(), LocalClusterError> {
        let initial: Vec<String> = (0..)
            .zip(&self.members)
            .map(|(number, member)| format!("m{number}=http://{}", member.peer))
            .collect();
        let directory: &Path = self.directory.path();
        let one = &mut self.members[member];
        if let Some(mut child) = one.child.take() {
            child.wait().map_err(LocalClusterError::io("wait for etcd"))?;
        }
        let (client, peer) = (format!("http://{}", one.client), format!("http://{}", one.peer));
        let child = Command::new(&self.program)
            .args(["--name", &format!("m{member}")])
            .arg("--data-dir")
            .arg(directory.join(format!("m{member}")))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &initial.join(",")])
            .args(["--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(LocalClusterError::io("start etcd"))?;
        one.child = Some(child);
        Ok(())
    }

    /// The member that leads, and its term.
    ///
    /// # Errors
    /// Nobody does within `limit`.
    pub async fn leader(&self, limit: Duration) -> Result<(usize, u64), LocalClusterError> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            for member in 0..NODES {
                if let Some(status) = self.status(member).await
                    && status.leads()
                {
                    return Ok((member, status.term));
                }
            }
            sleep(POLL).await;
        }
        Err(waited("an etcd leader", limit))
    }

    /// Waits until a member follows or leads again.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub async fn wait_member(&self, member: usize, limit: Duration) -> Result<(), LocalClusterError> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if self.status(member).await.is_some_and(|status| status.leader != 0) {
                return Ok(());
            }
            sleep(POLL).await;
        }
        Err(waited("an etcd member", limit))
    }

    /// Where the members keep their data.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where clients reach the members, in their order.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.clone()).collect()
    }

    /// Of the members that run.
    pub fn process_ids(&self) -> impl Iterator<Item = u32> {
        self.members
            .iter()
            .filter_map(|member| Some(member.child.as_ref()?.id()))
    }

    async fn status(&self, member: usize) -> Option<wire::MemberStatus> {
        timeout(STATUS_DEADLINE, wire::status(&self.members[member].client))
            .await
            .ok()
            .flatten()
    }
}

fn waited(what: &str, limit: Duration) -> LocalClusterError {
    LocalClusterError::TimedOut(format!("waited {limit:?} for {what}"))
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(mut child) = member.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
