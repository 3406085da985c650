//! etcd as a peer, if the machine has it: three nodes with their defaults, and a client with the same patience.
//!
//! Field numbers are those of etcd's public API version 3; nothing more of it is needed than put, range and status.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::{sleep, timeout, timeout_at};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::load::Client;
use crate::processes::ClusterError;

const NODES: usize = 3;
/// Pause before the next endpoint is tried.
const PAUSE: Duration = Duration::from_millis(10);
const POLL: Duration = Duration::from_millis(50);
const STATUS_DEADLINE: Duration = Duration::from_millis(500);

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ranged {
    #[prost(message, repeated, tag = "2")]
    found: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MemberStatus {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
    #[prost(uint64, tag = "6")]
    term: u64,
}

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
    pub async fn start(program: PathBuf, within: Duration) -> Result<Self, ClusterError> {
        let mut cluster = Self {
            members: Vec::new(),
            program,
            directory: tempfile::Builder::new().prefix("spine-etcd-").tempdir()?,
        };
        let listeners: Vec<TcpListener> = (0..NODES * 2)
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<Result<_, _>>()?;
        let addresses: Vec<String> = listeners
            .iter()
            .map(|listener| listener.local_addr().map(|address| address.to_string()))
            .collect::<Result<_, _>>()?;
        drop(listeners);
        for pair in addresses.chunks_exact(2) {
            cluster.members.push(Member {
                client: pair[0].clone(),
                peer: pair[1].clone(),
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
    pub fn kill(&mut self, member: usize) -> Result<(), ClusterError> {
        if let Some(child) = &mut self.members[member].child {
            child.kill()?;
        }
        Ok(())
    }

    /// Starts a member on its data.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self, member: usize) -> Result<(), ClusterError> {
        let initial: Vec<String> = (0..)
            .zip(&self.members)
            .map(|(number, member)| format!("m{number}=http://{}", member.peer))
            .collect();
        let directory: &Path = self.directory.path();
        let one = &mut self.members[member];
        if let Some(mut child) = one.child.take() {
            child.wait()?;
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
            .spawn()?;
        one.child = Some(child);
        Ok(())
    }

    /// The member that leads, and its term.
    ///
    /// # Errors
    /// Nobody does within `limit`.
    pub async fn leader(&self, limit: Duration) -> Result<(usize, u64), ClusterError> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            for member in 0..NODES {
                if let Some(status) = self.status(member).await
                    && status.leader != 0
                    && status.header.as_ref().map(|header| header.member) == Some(status.leader)
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
    pub async fn wait_member(&self, member: usize, limit: Duration) -> Result<(), ClusterError> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if self.status(member).await.is_some_and(|status| status.leader != 0) {
                return Ok(());
            }
            sleep(POLL).await;
        }
        Err(waited("an etcd member", limit))
    }

    async fn status(&self, member: usize) -> Option<MemberStatus> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.members[member].client)).ok()?;
        let asked = async {
            let mut grpc = Grpc::new(endpoint.connect().await.ok()?);
            unary(&mut grpc, "/etcdserverpb.Maintenance/Status", Empty {})
                .await
                .ok()
        };
        timeout(STATUS_DEADLINE, asked).await.ok().flatten()
    }

    /// Clients that know all members; each begins with another one.
    pub(super) fn clients(
        &self,
        count: usize,
        try_deadline: Duration,
        deadline: Duration,
    ) -> Result<Vec<Box<dyn Client>>, ClusterError> {
        (0..count)
            .map(|number| {
                let channels = self.members.iter().map(|member| {
                    let endpoint = Endpoint::from_shared(format!("http://{}", member.client));
                    let endpoint = endpoint.map_err(std::io::Error::other)?;
                    Ok(Grpc::new(endpoint.connect_timeout(try_deadline).connect_lazy()))
                });
                Ok(Box::new(EtcdClient {
                    channels: channels.collect::<Result<_, ClusterError>>()?,
                    current: number % NODES,
                    try_deadline,
                    deadline,
                }) as Box<dyn Client>)
            })
            .collect()
    }
}

fn waited(what: &str, limit: Duration) -> ClusterError {
    ClusterError::Waited {
        what: what.to_owned(),
        limit,
        seen: "none".to_owned(),
    }
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

async fn unary<Q, A>(grpc: &mut Grpc<Channel>, path: &'static str, request: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let codec: ProstCodec<Q, A> = ProstCodec::default();
    let answer = grpc
        .unary(Request::new(request), PathAndQuery::from_static(path), codec)
        .await?;
    Ok(answer.into_inner())
}

/// Tries one member after another until its deadline.
struct EtcdClient {
    channels: Vec<Grpc<Channel>>,
    current: usize,
    try_deadline: Duration,
    deadline: Duration,
}

impl EtcdClient {
    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, String>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let end = tokio::time::Instant::now() + self.deadline;
        loop {
            let until = end.min(tokio::time::Instant::now() + self.try_deadline);
            let grpc = &mut self.channels[self.current];
            let why = match timeout_at(until, unary(grpc, path, request.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status.message().to_owned(),
                Err(_) => "no answer in time".to_owned(),
            };
            if tokio::time::Instant::now() >= end {
                return Err(why);
            }
            self.current = (self.current + 1) % self.channels.len();
            sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl Client for EtcdClient {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<u32, String> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let put = Put { key, value };
        self.call::<_, Empty>("/etcdserverpb.KV/Put", put)
            .await
            .map(|_| 0)
    }

    async fn get(&mut self, key: &str) -> Result<(u32, Option<Bytes>), String> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let ranged: Ranged = self.call("/etcdserverpb.KV/Range", Range { key }).await?;
        Ok((0, ranged.found.into_iter().next().map(|found| found.value)))
    }
}
