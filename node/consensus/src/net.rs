//! The network as nodes see it, so that the simulator can be one.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream between two nodes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// An accepting socket.
#[async_trait]
pub trait Listener: Send + Sync {
    /// # Errors
    /// What the network says.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)>;
    /// # Errors
    /// What the network says.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Binds and connects. Addresses are `host:port`.
#[async_trait]
pub trait Net: Send + Sync {
    /// # Errors
    /// What the network says, for example `AddrInUse`.
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>>;
    /// # Errors
    /// What the network says, for example `ConnectionRefused`.
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>>;
}

/// The operating system's network.
pub struct TokioNet;

struct TokioListener(tokio::net::TcpListener);

#[async_trait]
impl Listener for TokioListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), from))
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[async_trait]
impl Net for TokioNet {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(TokioListener(
            tokio::net::TcpListener::bind(address).await?,
        )))
    }
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
