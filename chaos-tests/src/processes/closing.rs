//! How long the kernel takes to close what a killed process had open: nobody can know of the death before.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// An idle connection to a node.
pub struct Closing {
    stream: TcpStream,
}

impl Closing {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn watch(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        Ok(Self { stream })
    }

    /// From now until the other side is gone.
    pub async fn closed(mut self) -> Duration {
        let began = Instant::now();
        let mut bytes = [0; 1_024];
        // A server may greet; that is not the end.
        while let Ok(read) = self.stream.read(&mut bytes).await {
            if read == 0 {
                break;
            }
        }
        began.elapsed()
    }
}
