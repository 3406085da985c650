//! A network from which one node can be cut off: silently, as a broken cable does.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use spine_consensus::net::{Listener, Net, Stream, TokioNet};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is lost on all connections of one node, from when it is set to the end of the test.
#[derive(Clone, Default)]
pub(crate) struct Cut {
    /// Everything that others say to it.
    pub(crate) deaf: Arc<AtomicBool>,
    /// Everything that it says.
    pub(crate) mute: Arc<AtomicBool>,
    /// The answer on the accepted connection of this number, and with it the connection; 0: none.
    pub(crate) answer_of: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
}

impl Cut {
    pub(crate) fn whole(&self) {
        self.deaf.store(true, Ordering::Release);
        self.mute.store(true, Ordering::Release);
    }

    fn wrap(&self, stream: Box<dyn Stream>, writes_left: usize) -> Box<dyn Stream> {
        Box::new(CutStream {
            inner: stream,
            cut: self.clone(),
            writes_left,
        })
    }

    /// How often the connection that is accepted next may be written to.
    fn writes_of_next(&self) -> usize {
        let number = self.accepted.fetch_add(1, Ordering::AcqRel) + 1;
        // The greeting arrives.
        if number == self.answer_of.load(Ordering::Acquire) {
            1
        } else {
            usize::MAX
        }
    }
}

pub(crate) struct CutNet(pub(crate) Cut);

struct CutListener(Box<dyn Listener>, Cut);

struct CutStream {
    inner: Box<dyn Stream>,
    cut: Cut,
    writes_left: usize,
}

#[async_trait::async_trait]
impl Listener for CutListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        Ok((self.1.wrap(stream, self.1.writes_of_next()), from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[async_trait::async_trait]
impl Net for CutNet {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = TokioNet.bind(address).await?;
        Ok(Box::new(CutListener(listener, self.0.clone())))
    }

    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        if self.0.mute.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
        Ok(self.0.wrap(TokioNet.connect(address).await?, usize::MAX))
    }
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.inner).poll_read(context, buffer);
        if self.cut.deaf.load(Ordering::Acquire) {
            buffer.set_filled(before);
            return Poll::Pending;
        }
        read
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.mute.load(Ordering::Acquire) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let Some(writes_left) = self.writes_left.checked_sub(1) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        self.writes_left = writes_left;
        Pin::new(&mut *self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut.mute.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        Pin::new(&mut *self.inner).poll_shutdown(context)
    }
}
