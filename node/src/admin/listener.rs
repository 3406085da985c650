//! A plain TCP listener as the server takes it.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use spine_consensus::net::{Listener, Stream};
use tokio::net::TcpListener;

/// A socket that was bound elsewhere, for example by a test on port 0.
pub struct Plain(pub TcpListener);

#[async_trait]
impl Listener for Plain {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
