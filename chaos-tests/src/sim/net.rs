//! The simulator's network as nodes and clients see it.
//!
//! turmoil's TCP does not send lost bytes again: a stream that lost some stays silent for ever. A real
//! kernel would deliver them or break the connection. So this keeps every stream in a list, and whoever ends a
//! cut breaks the streams that crossed it. It also answers a connect across a cut with silence, where turmoil
//! would say "refused", which would look like proof of death.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use spine_consensus::net::{Listener, Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::late::Late;

/// A connect that nobody answers ends after so long, as with a kernel's first few tries.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Streams looked at before the list is cleaned of dead ones.
const WIRES_BEFORE_CLEANING: usize = 256;

/// All streams of a simulation. One thread, so locks never wait.
#[derive(Clone, Default)]
pub struct Wires {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    streams: Vec<Weak<Wire>>,
    /// Directed pairs between which packets are lost.
    cut: BTreeSet<(IpAddr, IpAddr)>,
    /// What happens to the bytes of streams from one to another; no entry = nothing.
    flows: BTreeMap<(IpAddr, IpAddr), Flow>,
    /// Addresses that refuse connects although somebody listens there.
    refusing: BTreeSet<IpAddr>,
}

/// What happens to the bytes that one end of a stream has sent. The stream itself is opened and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// None of them arrives, nor does the stream's end.
    pub lost: bool,
    /// All of them arrive later by this.
    pub late: Duration,
}

struct Wire {
    local: IpAddr,
    remote: IpAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    broken: bool,
    /// Bytes to this end were lost.
    swallowed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wires {
    /// Bytes from one to the other are lost from now on.
    pub fn cut(&self, from: IpAddr, to: IpAddr) {
        self.inner.lock().cut.insert((from, to));
    }

    /// Bytes flow again; streams that were there break, because they lost some.
    pub fn mend(&self, from: IpAddr, to: IpAddr) {
        if self.inner.lock().cut.remove(&(from, to)) {
            self.reset(from, to);
        }
    }

    /// Changes what happens to the bytes of streams from one to the other. Streams that lost some break when the loss
    /// ends.
    pub fn set_flow(&self, from: IpAddr, to: IpAddr, flow: Flow) {
        let before = if flow == Flow::default() {
            self.inner.lock().flows.remove(&(from, to))
        } else {
            self.inner.lock().flows.insert((from, to), flow)
        };
        if flow.lost || !before.is_some_and(|before| before.lost) {
            return;
        }
        for wire in self.streams() {
            if (wire.remote, wire.local) == (from, to) && wire.state.lock().swallowed {
                wire.break_now();
            }
        }
    }

    fn flow(&self, wire: &Wire) -> Flow {
        let inner = self.inner.lock();
        inner
            .flows
            .get(&(wire.remote, wire.local))
            .copied()
            .unwrap_or_default()
    }

    fn streams(&self) -> Vec<Arc<Wire>> {
        let inner = self.inner.lock();
        inner.streams.iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether connects to an address are refused.
    pub fn set_refusing(&self, address: IpAddr, refusing: bool) {
        let mut inner = self.inner.lock();
        if refusing {
            inner.refusing.insert(address);
        } else {
            inner.refusing.remove(&address);
        }
    }

    /// Breaks all streams between two addresses.
    pub fn reset(&self, one: IpAddr, other: IpAddr) {
        for wire in self.streams() {
            if (wire.local, wire.remote) == (one, other) || (wire.local, wire.remote) == (other, one) {
                wire.break_now();
            }
        }
    }

    /// Whether a connect has no answer: the answer to its first packet is lost, or that packet.
    fn is_cut(&self, one: IpAddr, other: IpAddr) -> bool {
        let inner = self.inner.lock();
        inner.cut.contains(&(one, other)) || inner.cut.contains(&(other, one))
    }

    fn adopt(&self, stream: turmoil::net::TcpStream) -> io::Result<SimStream> {
        let (local, remote) = (stream.local_addr()?.ip(), stream.peer_addr()?.ip());
        let wire = Arc::new(Wire {
            local,
            remote,
            state: Mutex::default(),
        });
        let mut inner = self.inner.lock();
        if inner.streams.len() >= WIRES_BEFORE_CLEANING {
            inner.streams.retain(|wire| wire.strong_count() > 0);
        }
        inner.streams.push(Arc::downgrade(&wire));
        Ok(SimStream {
            inner: stream,
            wire,
            wires: self.clone(),
            late: Late::default(),
        })
    }

    /// Connects from the simulated host whose task calls this.
    ///
    /// # Errors
    /// What the simulated network says; `TimedOut` across a cut.
    pub async fn connect(&self, own: IpAddr, address: &str) -> io::Result<SimStream> {
        let to = resolve(address)?;
        if self.inner.lock().refusing.contains(&to.ip()) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if self.is_cut(own, to.ip()) {
            tokio::time::sleep(CONNECT_TIME).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        let connect = turmoil::net::TcpStream::connect(to);
        let connected = tokio::time::timeout(CONNECT_TIME, connect).await;
        self.adopt(connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??)
    }
}

impl Wire {
    fn break_now(&self) {
        let mut state = self.state.lock();
        state.broken = true;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Remembers whom to wake, or says that the stream is broken.
    fn watch(&self, cx: &Context<'_>, reads: bool) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let slot = if reads {
            &mut state.reader
        } else {
            &mut state.writer
        };
        *slot = Some(cx.waker().clone());
        Ok(())
    }
}

fn resolve(address: &str) -> io::Result<SocketAddr> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidInput, "an address is host:port");
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port = port.parse().map_err(|_| malformed())?;
    let ip = host.parse().unwrap_or_else(|_| turmoil::lookup(host));
    Ok(SocketAddr::new(ip, port))
}

/// A stream that can be broken from outside.
pub struct SimStream {
    inner: turmoil::net::TcpStream,
    wire: Arc<Wire>,
    wires: Wires,
    late: Late,
}

impl SimStream {
    /// Reads what comes and shows none of it.
    fn poll_swallow(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4_096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            let Poll::Ready(result) = Pin::new(&mut self.inner).poll_read(cx, &mut buf) else {
                return Poll::Pending;
            };
            self.wire.state.lock().swallowed = true;
            if result.is_err() || buf.filled().is_empty() {
                // The end is lost, too.
                return Poll::Pending;
            }
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire.watch(cx, true)?;
        let flow = self.wires.flow(&self.wire);
        if flow.lost {
            return self.poll_swallow(cx);
        }
        if flow.late.is_zero() && self.late.is_idle() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let Self { inner, late, .. } = &mut *self;
        late.poll_read(inner, flow.late, cx, buf)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.watch(cx, false)?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.watch(cx, false)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.watch(cx, false)?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// [`Net`] inside the simulation.
#[derive(Clone)]
pub struct SimNet {
    pub wires: Wires,
    /// Address of the host that uses this.
    pub own: IpAddr,
}

struct SimListener {
    inner: turmoil::net::TcpListener,
    wires: Wires,
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, from) = self.inner.accept().await?;
        Ok((Box::new(self.wires.adopt(stream)?), from))
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

#[async_trait]
impl Net for SimNet {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        // turmoil binds the wildcard address of the current host only.
        let port = resolve(address)?.port();
        let inner = turmoil::net::TcpListener::bind(("0.0.0.0", port)).await?;
        Ok(Box::new(SimListener {
            inner,
            wires: self.wires.clone(),
        }))
    }
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.wires.connect(self.own, address).await?))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::{sleep, timeout};

    use super::*;

    type Ends = Arc<Mutex<Vec<String>>>;

    /// An echoing host and a client that talks, waits and talks again, through a cut from 100 to 300 ms.
    fn ends() -> Vec<String> {
        let mut sim = turmoil::Builder::new().rng_seed(1).build();
        let wires = Wires::default();
        let ends = Ends::default();
        let (server, client) = (sim.lookup("server"), sim.lookup("client"));
        let net = SimNet {
            wires: wires.clone(),
            own: server,
        };
        sim.host("server", move || {
            let net = net.clone();
            async move {
                let listener = net.bind("0.0.0.0:7").await?;
                loop {
                    let (mut stream, _) = listener.accept().await?;
                    let mut buf = [0; 1];
                    while stream.read_exact(&mut buf).await.is_ok() {
                        stream.write_all(&buf).await?;
                    }
                }
            }
        });
        let (told, used) = (ends.clone(), wires.clone());
        sim.client("client", async move {
            let mut stream = used.connect(client, "server:7").await?;
            stream.write_all(b"a").await?;
            stream.read_exact(&mut [0; 1]).await?;
            sleep(Duration::from_millis(150)).await;
            let across = timeout(Duration::from_millis(20), used.connect(client, "server:7")).await;
            told.lock()
                .push(format!("connect across the cut waits: {}", across.is_err()));
            stream.write_all(b"b").await?;
            let end = stream.read_exact(&mut [0; 1]).await.map_err(|error| error.kind());
            told.lock().push(format!(
                "{end:?} after {} ms",
                turmoil::sim_elapsed().unwrap_or_default().as_millis()
            ));
            let again = used.connect(client, "server:7").await;
            told.lock().push(format!("connects again: {}", again.is_ok()));
            Ok(())
        });
        while !sim.step().unwrap() {
            match sim.elapsed().as_millis() {
                100 => {
                    sim.partition("server", "client");
                    wires.cut(client, server);
                }
                300 => {
                    sim.repair("server", "client");
                    wires.mend(client, server);
                }
                _ => {}
            }
        }
        std::mem::take(&mut *ends.lock())
    }

    #[test]
    fn a_cut_is_silent_and_its_end_breaks_streams() {
        let ends = ends();
        assert_eq!(ends[0], "connect across the cut waits: true");
        assert!(ends[1].starts_with("Err(ConnectionReset) after 30"), "{ends:?}");
        assert_eq!(ends[2], "connects again: true");
    }
}
