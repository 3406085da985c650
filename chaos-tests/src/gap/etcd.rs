//! Clients of etcd under the same load.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use spine_client::etcd::{EtcdClient, EtcdCluster};

use super::load::Client;

/// Clients that know all members; each begins with another one.
pub(super) fn clients(
    cluster: &EtcdCluster,
    count: usize,
    try_deadline: Duration,
    deadline: Duration,
) -> std::io::Result<Vec<Box<dyn Client>>> {
    let endpoints = cluster.endpoints();
    (0..count)
        .map(|number| {
            let client = EtcdClient::connect(&endpoints, number, try_deadline, deadline)?;
            Ok(Box::new(client) as Box<dyn Client>)
        })
        .collect()
}

#[async_trait]
impl Client for EtcdClient {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<u32, String> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        Self::put(self, key, value).await.map(|()| 0)
    }

    async fn get(&mut self, key: &str) -> Result<(u32, Option<Bytes>), String> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let found = Self::get(self, key).await?;
        Ok((0, found.map(|(_, value)| value)))
    }
}
