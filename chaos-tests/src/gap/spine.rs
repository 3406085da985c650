//! Clients of Spine: the library as an application uses it, with a connection pool of its own for each.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use spine_client::{Key, SpineClient};

use super::load::Client;
use crate::processes::{Cluster, ClusterError};

struct Library {
    client: SpineClient,
}

#[async_trait]
impl Client for Library {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<u32, String> {
        let key = Key::new(key, Bytes::new());
        let answer = self.client.records().put(&key, value).await;
        answer
            .map(|done| done.position.shard)
            .map_err(|error| error.to_string())
    }

    async fn get(&mut self, key: &str) -> Result<(u32, Option<Bytes>), String> {
        let key = Key::new(key, Bytes::new());
        let answer = self.client.records().get(&key).await;
        answer
            .map(|found| (found.position.shard, found.record.map(|record| record.value)))
            .map_err(|error| error.to_string())
    }
}

/// As many clients as asked for, all knowing all nodes.
pub(super) fn clients(
    cluster: &Cluster,
    count: usize,
    deadline: Duration,
) -> Result<Vec<Box<dyn Client>>, ClusterError> {
    (0..count)
        .map(|_| {
            let client = cluster.client(deadline)?;
            Ok(Box::new(Library { client }) as Box<dyn Client>)
        })
        .collect()
}
