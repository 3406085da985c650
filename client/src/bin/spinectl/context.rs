//! Which cluster is meant, and how to talk to it.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use spine_client::{Address, Admin, SpineClient};

use crate::args::Args;
use crate::exit::Failure;
use crate::output::Format;

/// Written by `cluster-config/start.sh` into its data directory.
const CLUSTER_FILE: &str = "data/cluster.env";
const CLUSTER_FILE_KEY: &str = "SPINE_ENDPOINTS=";
const ENDPOINT_DEFAULT: &str = "127.0.0.1:7401";

/// What every command needs.
pub(crate) struct Context {
    pub(crate) format: Format,
    endpoints: Vec<String>,
    principal: String,
    token: Option<String>,
    timeout: Duration,
}

impl Context {
    pub(crate) fn new(args: &Args) -> Self {
        let endpoints = if args.endpoints.is_empty() {
            default_endpoints()
        } else {
            args.endpoints.clone()
        };
        Self {
            format: args.output,
            endpoints,
            principal: args.principal.clone(),
            token: args.token.clone(),
            timeout: args.timeout,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Where the nodes are.
    #[cfg(feature = "bench-etcd")]
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// A client of the cluster.
    pub(crate) fn client(&self) -> Result<SpineClient, Failure> {
        Ok(self.client_of(&self.endpoints)?)
    }

    /// A client that knows these nodes at first.
    pub(crate) fn client_of(&self, endpoints: &[String]) -> spine_client::Result<SpineClient> {
        let mut builder = SpineClient::builder()
            .endpoints(endpoints.iter().cloned())
            .principal(&*self.principal)
            .deadline(self.timeout);
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        builder.connect()
    }

    /// Asks every node of the list at once; answers in the order of the list.
    pub(crate) async fn ask_each<T, Fut>(
        &self,
        client: &SpineClient,
        ask: impl Fn(Admin) -> Fut,
    ) -> Result<Vec<(Address, spine_client::Result<T>)>, Failure>
    where
        Fut: Future<Output = spine_client::Result<T>>,
    {
        let mut asked = Vec::new();
        for address in client.endpoints() {
            let admin = client.admin(address.as_str())?.with_deadline(self.timeout);
            let answer = ask(admin);
            asked.push(async move { (address.clone(), answer.await) });
        }
        Ok(join_all(asked).await)
    }

    /// The first answer of the nodes in the list; the last error where none answers.
    pub(crate) async fn ask_any<T, Fut>(
        &self,
        client: &SpineClient,
        ask: impl Fn(Admin) -> Fut,
    ) -> Result<T, Failure>
    where
        Fut: Future<Output = spine_client::Result<T>>,
    {
        let mut failure = None;
        for address in client.endpoints() {
            let admin = client.admin(address.as_str())?.with_deadline(self.timeout);
            match ask(admin).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_retryable() => failure = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(failure.map_or_else(|| Failure::usage("no endpoints"), Failure::from))
    }
}

fn default_endpoints() -> Vec<String> {
    read_cluster_file(Path::new(CLUSTER_FILE)).unwrap_or_else(|| vec![ENDPOINT_DEFAULT.to_owned()])
}

fn read_cluster_file(path: &Path) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(path).ok()?;
    let list = text.lines().find_map(|line| {
        let line = line.trim();
        line.strip_prefix("export ")
            .unwrap_or(line)
            .strip_prefix(CLUSTER_FILE_KEY)
    })?;
    let list = list.trim_matches(['"', '\'']);
    let endpoints: Vec<String> = list
        .split(',')
        .map(str::trim)
        .filter(|e| !e.is_empty())
        .map(str::to_owned)
        .collect();
    (!endpoints.is_empty()).then_some(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_file_names_the_endpoints() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.env");
        assert_eq!(read_cluster_file(&path), None);
        std::fs::write(&path, "OTHER=1\nSPINE_ENDPOINTS=a:1, b:2\n").unwrap();
        assert_eq!(read_cluster_file(&path).unwrap(), ["a:1", "b:2"]);
        std::fs::write(&path, "export SPINE_ENDPOINTS=\"a:1\"\n").unwrap();
        assert_eq!(read_cluster_file(&path).unwrap(), ["a:1"]);
        std::fs::write(&path, "SPINE_ENDPOINTS=\n").unwrap();
        assert_eq!(read_cluster_file(&path), None);
    }
}
