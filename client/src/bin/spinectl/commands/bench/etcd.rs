//! Callers of etcd.

use std::time::Duration;

use bytes::Bytes;
use spine_client::etcd::{EtcdClient, wal_fsyncs};

use super::Prepare;
use super::work::{Caller, Kind, Work};
use crate::exit::Failure;

/// Time of one try at one endpoint, as our own client has.
const TRY_DEADLINE: Duration = Duration::from_secs(1);

/// Calls over connections that it shares with others.
#[derive(Clone)]
pub(super) struct EtcdCaller(EtcdClient);

impl EtcdCaller {
    pub(super) const fn knows(kind: Kind) -> bool {
        matches!(kind, Kind::Put | Kind::Get | Kind::CompareAndSet)
    }
}

/// Callers that begin with these endpoints in turn, over so many connections to each.
///
/// # Errors
/// An address that is none.
pub(super) fn callers(
    endpoints: &[String],
    connections: usize,
    deadline: Duration,
) -> Result<impl Fn(u32) -> EtcdCaller, Failure> {
    let clients = connect(endpoints, connections, deadline)?;
    Ok(move |number: u32| {
        let number = number as usize;
        EtcdCaller(clients[number % clients.len()].beginning_at(number))
    })
}

/// Callers that all begin with the first endpoint.
///
/// # Errors
/// An address that is none.
pub(super) fn callers_at_first(
    endpoints: &[String],
    connections: usize,
    deadline: Duration,
) -> Result<impl Fn(u32) -> EtcdCaller, Failure> {
    let clients = connect(endpoints, connections, deadline)?;
    Ok(move |number: u32| EtcdCaller(clients[number as usize % clients.len()].clone()))
}

fn connect(endpoints: &[String], connections: usize, deadline: Duration) -> Result<Vec<EtcdClient>, Failure> {
    (0..connections.max(1))
        .map(|_| EtcdClient::connect(endpoints, 0, TRY_DEADLINE, deadline))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::io("an etcd endpoint"))
}

/// Over all members; `None` where one does not say.
pub(super) async fn fsyncs(endpoints: &[String]) -> Option<u64> {
    let mut all = 0;
    for endpoint in endpoints {
        all += wal_fsyncs(endpoint).await?;
    }
    Some(all)
}

impl Caller for EtcdCaller {
    async fn act(&mut self, work: Work) -> Result<(), String> {
        let key = Bytes::from(format!("bench{:010}/v", work.key));
        match work.kind {
            Kind::Put => self.0.put(key, work.value).await,
            Kind::Get => self.0.get(key).await.map(drop),
            Kind::CompareAndSet => loop {
                let found = self.0.get(key.clone()).await?;
                let revision = found.map_or(0, |(revision, _)| revision);
                if self.0.put_if(key.clone(), work.value.clone(), revision).await? {
                    return Ok(());
                }
            },
            Kind::List | Kind::Retrieve | Kind::Update => Err("UNSUPPORTED".to_owned()),
        }
    }
}

impl Prepare for EtcdCaller {
    async fn register(&mut self, _: u32) -> Result<(), String> {
        Err("etcd keeps no patients".to_owned())
    }
}
