//! Peers dialled somewhere else than where they are: a test's bad link stands between. Development mode only.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use spine_consensus::net::{Listener, Net, Stream};

/// The same network, except that connects to a key of `map` go to its value.
pub(crate) fn dialled_at(net: Arc<dyn Net>, map: BTreeMap<String, String>) -> Arc<dyn Net> {
    if map.is_empty() {
        return net;
    }
    Arc::new(DialMap { net, map })
}

struct DialMap {
    net: Arc<dyn Net>,
    map: BTreeMap<String, String>,
}

#[async_trait]
impl Net for DialMap {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.net.bind(address).await
    }

    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let instead = self.map.get(address).map_or(address, String::as_str);
        self.net.connect(instead).await
    }

    fn adopt(&self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        self.net.adopt(stream)
    }
}

#[cfg(test)]
mod tests {
    use spine_consensus::net::TokioNet;

    use super::*;

    #[tokio::test]
    async fn only_named_peers_are_dialled_elsewhere() {
        let net: Arc<dyn Net> = Arc::new(TokioNet);
        let bound = net.bind("127.0.0.1:0").await.unwrap();
        let there = bound.local_addr().unwrap().to_string();
        let map = BTreeMap::from([("nowhere.invalid:1".to_owned(), there.clone())]);
        let net = dialled_at(net, map);
        let (through, accepted) = tokio::join!(net.connect("nowhere.invalid:1"), bound.accept());
        assert!(through.is_ok() && accepted.is_ok());
        let (straight, accepted) = tokio::join!(net.connect(&there), bound.accept());
        assert!(straight.is_ok() && accepted.is_ok());
    }
}
