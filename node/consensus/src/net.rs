//! The network as nodes see it, so that the simulator can be one.

use std::any::Any;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream between two nodes.
pub trait Stream: AsyncRead + AsyncWrite + Any + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Any + Send + Unpin> Stream for T {}

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
    /// Moves a stream to the runtime that calls this. A network whose streams belong to no runtime gives it
    /// back as it is.
    /// # Errors
    /// What the network says.
    fn adopt(&self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        Ok(stream)
    }
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
    fn adopt(&self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let any: Box<dyn Any> = stream;
        match any.downcast::<tokio::net::TcpStream>() {
            Ok(tcp) => {
                let moved = tokio::net::TcpStream::from_std(tcp.into_std()?)?;
                Ok(Box::new(moved))
            }
            Err(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
