//! The admin port over real sockets: what it answers, and that nobody can make it grow or hang.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use spine_node::admin::{AdminLimits, AdminSource, Check, Plain, serve};
use spine_node::telemetry::Metrics;
use spine_node::version::{self, Release, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

struct Source {
    live: AtomicBool,
    hangs: AtomicBool,
    level: Mutex<String>,
    metrics: Arc<Metrics>,
}

#[async_trait]
impl AdminSource for Source {
    async fn is_live(&self) -> bool {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.live.load(Ordering::SeqCst)
    }
    async fn checks(&self) -> Vec<Check> {
        let first = Check::pass("storage");
        let second = if self.live.load(Ordering::SeqCst) {
            Check::pass("shards")
        } else {
            Check::fail("shards", "3 of 9 groups have no leader")
        };
        vec![first, second]
    }
    async fn metrics(&self) -> String {
        self.metrics.encode()
    }
    fn version(&self) -> Version {
        Version::from(&Release::this())
    }
    fn log_level(&self) -> String {
        self.level.lock().clone()
    }
    fn set_log_level(&self, filter: &str) -> Result<(), String> {
        if filter == "loud" {
            return Err("\"loud\" is no level".to_owned());
        }
        filter.clone_into(&mut self.level.lock());
        Ok(())
    }
}

struct Server {
    at: SocketAddr,
    source: Arc<Source>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

const QUICK: AdminLimits = AdminLimits {
    connections_max: 4,
    head_timeout: Duration::from_millis(300),
    request_timeout: Duration::from_millis(300),
    connection_age_max: Duration::from_millis(1_000),
    close_timeout: Duration::from_millis(300),
};

async fn start(limits: AdminLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new());
    let source = Arc::new(Source {
        live: AtomicBool::new(true),
        hangs: AtomicBool::new(false),
        level: Mutex::new("info".to_owned()),
        metrics: Arc::clone(&metrics),
    });
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(
        Box::new(Plain(listener)),
        Arc::clone(&source),
        Arc::clone(&metrics),
        limits,
        stop.clone(),
    ));
    Server {
        at,
        source,
        metrics,
        stop,
        task,
    }
}

impl Server {
    /// Sends raw bytes on a connection of its own and reads until the server closes it.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        // A reset counts as closed.
        let _ = read.expect("the server must close the connection by itself");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = self.raw(format!("{head}{body}").as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or("0").parse().unwrap();
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default();
        (status, body)
    }
}

#[tokio::test]
async fn probes_say_what_the_node_says() {
    let server = start(QUICK).await;
    assert_eq!(server.ask("GET", "/livez", "").await, (200, "ok\n".to_owned()));
    assert_eq!(
        server.ask("GET", "/readyz", "").await,
        (200, "ready\n".to_owned())
    );
    server.source.live.store(false, Ordering::SeqCst);
    assert_eq!(
        server.ask("GET", "/livez", "").await,
        (503, "not live\n".to_owned())
    );
    assert_eq!(
        server.ask("GET", "/readyz", "").await,
        (503, "not ready\n".to_owned())
    );
    assert_eq!(
        server.ask("GET", "/readyz?verbose", "").await,
        (
            503,
            "[+]storage ok\n[-]shards failed: 3 of 9 groups have no leader\nnot ready\n".to_owned()
        )
    );
}

#[tokio::test]
async fn version_and_metrics_are_served() {
    let server = start(QUICK).await;
    let (status, body) = server.ask("GET", "/version", "").await;
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, value["release"].as_str()), (200, Some(version::RELEASE)));
    assert_eq!(value["stored_format"], version::STORED_FORMAT);
    let (status, body) = server.ask("GET", "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(body.contains("\nspine_admin_connections_open 1\n"), "{body}");
    assert_eq!(server.ask("GET", "/nothing", "").await.0, 404);
    assert_eq!(server.ask("DELETE", "/livez", "").await.0, 405);
}

#[tokio::test]
async fn the_log_level_changes_or_says_why_not() {
    let server = start(QUICK).await;
    assert_eq!(
        server.ask("PUT", "/loglevel", "debug\n").await,
        (200, "debug\n".to_owned())
    );
    assert_eq!(
        server.ask("PUT", "/loglevel", "loud").await,
        (400, "\"loud\" is no level\n".to_owned())
    );
    assert_eq!(
        server.ask("GET", "/loglevel", "").await,
        (200, "debug\n".to_owned())
    );
    assert_eq!(server.ask("PUT", "/loglevel", &"x".repeat(3_000)).await.0, 413);
}

#[tokio::test]
async fn garbage_is_answered_or_cut_and_the_next_caller_is_served() {
    let server = start(QUICK).await;
    let mut noise = vec![0_u8; 200_000];
    for (at, byte) in noise.iter_mut().enumerate() {
        *byte = u8::try_from(at * 7_919 % 251).unwrap();
    }
    let long_line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let many_heads = format!("GET /livez HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(5_000));
    let no_end = b"GET /livez HTTP/1.1\r\nhost: x\r\n";
    for bytes in [
        &noise[..],
        long_line.as_bytes(),
        many_heads.as_bytes(),
        &no_end[..],
        b"\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        // The server may close before all is written.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "still open after {} bytes", bytes.len());
        assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 2"));
    }
    assert_eq!(server.ask("GET", "/livez", "").await.0, 200);
}

#[tokio::test]
async fn a_caller_who_sends_nothing_or_drips_is_cut() {
    // Only the bound on the head may end these connections.
    let server = start(AdminLimits {
        connection_age_max: Duration::from_secs(60),
        ..QUICK
    })
    .await;
    let silent = TcpStream::connect(server.at).await.unwrap();
    let mut dripping = TcpStream::connect(server.at).await.unwrap();
    let begun = Instant::now();
    // One byte of a head now and then never completes it in time.
    while dripping.write_all(b"G").await.is_ok() {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "a slow head is served for ever"
        );
        sleep(Duration::from_millis(50)).await;
    }
    wait_for_none_open(&server).await;
    drop(silent);
}

#[tokio::test]
async fn a_body_that_never_comes_ends_with_a_timeout() {
    let server = start(QUICK).await;
    let answer = server
        .raw(b"PUT /loglevel HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\nde")
        .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_node_that_hangs_does_not_hang_its_callers() {
    let server = start(QUICK).await;
    server.source.hangs.store(true, Ordering::SeqCst);
    assert_eq!(server.ask("GET", "/livez", "").await.0, 408);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let server = start(QUICK).await;
    let mut held = Vec::new();
    for _ in 0..QUICK.connections_max {
        held.push(TcpStream::connect(server.at).await.unwrap());
    }
    let mut answer = Vec::new();
    let mut extra = TcpStream::connect(server.at).await.unwrap();
    let _ = timeout(Duration::from_secs(5), extra.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(answer.is_empty());
    assert_eq!(server.metrics.admin.refusals.get(), 1);
    drop(held);
    wait_for_none_open(&server).await;
    assert_eq!(server.ask("GET", "/livez", "").await.0, 200);
}

#[tokio::test]
async fn a_connection_has_a_greatest_age() {
    let server = start(QUICK).await;
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    let begun = Instant::now();
    let mut buffer = [0; 512];
    loop {
        let sent = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        if sent.is_err() || !matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "kept alive for ever");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() >= QUICK.connection_age_max / 2);
}

#[tokio::test]
async fn it_stops_when_told() {
    let server = start(QUICK).await;
    let idle = TcpStream::connect(server.at).await.unwrap();
    server.ask("GET", "/livez", "").await;
    server.stop.cancel();
    timeout(Duration::from_secs(5), server.task)
        .await
        .unwrap()
        .unwrap();
    drop(idle);
    TcpStream::connect(server.at).await.unwrap_err();
}

async fn wait_for_none_open(server: &Server) {
    let begun = Instant::now();
    while server.metrics.admin.connections_open.get() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "connections stay open");
        sleep(Duration::from_millis(20)).await;
    }
}
