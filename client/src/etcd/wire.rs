//! The part of etcd's public API version 3 that is needed to put, get, compare and set. Field numbers are etcd's.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Pause before the next endpoint is tried.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    found: Vec<KeyValue>,
}

/// EQUAL and MOD of etcd's enums.
const RESULT_EQUAL: i32 = 0;
const TARGET_MOD: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member: u64,
}

/// What a member says of itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemberStatus {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    pub(super) leader: u64,
    #[prost(uint64, tag = "6")]
    pub(super) term: u64,
}

impl MemberStatus {
    pub(super) fn leads(&self) -> bool {
        self.leader != 0 && self.header.as_ref().map(|header| header.member) == Some(self.leader)
    }
}

pub(super) async fn status(address: &str) -> Option<MemberStatus> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let mut grpc = Grpc::new(endpoint.connect().await.ok()?);
    unary(&mut grpc, "/etcdserverpb.Maintenance/Status", Empty {})
        .await
        .ok()
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

/// A client with the same patience as ours: it tries one endpoint after another until its deadline. Copies share their
/// connections.
#[derive(Clone, Debug)]
pub struct EtcdClient {
    channels: Vec<Grpc<Channel>>,
    current: usize,
    try_deadline: Duration,
    deadline: Duration,
}

impl EtcdClient {
    /// Begins with the endpoint of this number.
    ///
    /// # Errors
    /// An address that is none.
    pub fn connect(
        endpoints: &[String],
        first: usize,
        try_deadline: Duration,
        deadline: Duration,
    ) -> std::io::Result<Self> {
        let channels = endpoints.iter().map(|address| {
            let endpoint =
                Endpoint::from_shared(format!("http://{address}")).map_err(std::io::Error::other)?;
            Ok(Grpc::new(endpoint.connect_timeout(try_deadline).connect_lazy()))
        });
        Ok(Self {
            channels: channels.collect::<std::io::Result<_>>()?,
            current: first % endpoints.len().max(1),
            try_deadline,
            deadline,
        })
    }

    /// The same connections, beginning with another endpoint.
    #[must_use]
    pub fn beginning_at(&self, first: usize) -> Self {
        Self {
            current: first % self.channels.len().max(1),
            ..self.clone()
        }
    }

    /// Writes a value.
    ///
    /// # Errors
    /// For people.
    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), String> {
        self.call::<_, Empty>("/etcdserverpb.KV/Put", PutRequest { key, value })
            .await
            .map(drop)
    }

    /// Reads a value and the revision that wrote it, linearizably.
    ///
    /// # Errors
    /// For people.
    pub async fn get(&mut self, key: Bytes) -> Result<Option<(i64, Bytes)>, String> {
        let found: RangeResponse = self.call("/etcdserverpb.KV/Range", RangeRequest { key }).await?;
        let first = found.found.into_iter().next();
        Ok(first.map(|found| (found.mod_revision, found.value)))
    }

    /// Writes a value if the key is as this revision left it; says whether it was.
    ///
    /// # Errors
    /// For people.
    pub async fn put_if(&mut self, key: Bytes, value: Bytes, revision: i64) -> Result<bool, String> {
        let request = TxnRequest {
            compare: vec![Compare {
                result: RESULT_EQUAL,
                target: TARGET_MOD,
                key: key.clone(),
                mod_revision: Some(revision),
            }],
            success: vec![RequestOp {
                put: Some(PutRequest { key, value }),
            }],
        };
        let done: TxnResponse = self.call("/etcdserverpb.KV/Txn", request).await?;
        Ok(done.succeeded)
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, String>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let end = Instant::now() + self.deadline;
        loop {
            let until = end.min(Instant::now() + self.try_deadline);
            let grpc = &mut self.channels[self.current];
            let why = match timeout_at(until, unary(grpc, path, request.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status.message().to_owned(),
                Err(_) => "no answer in time".to_owned(),
            };
            if Instant::now() >= end {
                return Err(why);
            }
            self.current = (self.current + 1) % self.channels.len();
            sleep(PAUSE).await;
        }
    }
}
