use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::{Direction, Mesh, MeshPlan, Proxy};

const SOON: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(80);

/// Two ends of one connection through a proxy.
struct Ends {
    proxy: Proxy,
    near: TcpStream,
    far: TcpStream,
    target: TcpListener,
}

async fn ends() -> Ends {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(0, target.local_addr().unwrap(), 1).await.unwrap();
    let near = TcpStream::connect(proxy.address()).await.unwrap();
    let (far, _) = timeout(SOON, target.accept()).await.unwrap().unwrap();
    Ends {
        proxy,
        near,
        far,
        target,
    }
}

async fn says(from: &mut TcpStream, to: &mut TcpStream, text: &str) -> Option<Duration> {
    let began = Instant::now();
    from.write_all(text.as_bytes()).await.ok()?;
    let mut heard = vec![0; text.len()];
    timeout(SOON, to.read_exact(&mut heard)).await.ok()?.ok()?;
    assert_eq!(heard, text.as_bytes());
    Some(began.elapsed())
}

async fn is_quiet(stream: &mut TcpStream) -> bool {
    timeout(QUIET, stream.read(&mut [0; 64])).await.is_err()
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let read = timeout(SOON, stream.read(&mut [0; 64])).await.unwrap();
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn carries_both_ways_and_ends_each_way_alone() {
    let mut ends = ends().await;
    says(&mut ends.near, &mut ends.far, "there").await.unwrap();
    says(&mut ends.far, &mut ends.near, "back").await.unwrap();
    ends.near.shutdown().await.unwrap();
    assert_eq!(ends.far.read(&mut [0; 4]).await.unwrap(), 0);
    says(&mut ends.far, &mut ends.near, "still").await.unwrap();
}

#[tokio::test]
async fn delay_and_bandwidth_make_bytes_late_and_keep_their_order() {
    let mut ends = ends().await;
    ends.proxy.change(|rules| {
        rules.forward.delay = Duration::from_millis(60);
        rules.forward.jitter = Duration::from_millis(20);
    });
    for text in ["one", "two", "three"] {
        assert!(says(&mut ends.near, &mut ends.far, text).await.unwrap() >= Duration::from_millis(60));
    }
    assert!(says(&mut ends.far, &mut ends.near, "fast").await.unwrap() < Duration::from_millis(60));
    ends.proxy.heal();
    ends.proxy.change(|rules| rules.forward.bytes_per_second = 10_000);
    let long = "x".repeat(1_500);
    assert!(says(&mut ends.near, &mut ends.far, &long).await.unwrap() >= Duration::from_millis(140));
}

#[tokio::test]
async fn a_freeze_loses_nothing() {
    let mut ends = ends().await;
    ends.proxy.change(|rules| rules.forward.frozen = true);
    ends.near.write_all(b"late").await.unwrap();
    assert!(is_quiet(&mut ends.far).await);
    says(&mut ends.far, &mut ends.near, "other way").await.unwrap();
    ends.proxy.heal();
    let mut heard = [0; 4];
    timeout(SOON, ends.far.read_exact(&mut heard))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&heard, b"late");
}

#[tokio::test]
async fn a_one_way_hole_swallows_and_its_end_breaks_the_connection() {
    let mut ends = ends().await;
    ends.proxy.change(|rules| rules.forward.swallows = true);
    ends.near.write_all(b"lost").await.unwrap();
    assert!(is_quiet(&mut ends.far).await);
    says(&mut ends.far, &mut ends.near, "other way").await.unwrap();
    ends.proxy.heal();
    assert!(is_reset(&mut ends.far).await && is_reset(&mut ends.near).await);
    // A connection that lost nothing lives on.
    let mut near = TcpStream::connect(ends.proxy.address()).await.unwrap();
    let (mut far, _) = timeout(SOON, ends.target.accept()).await.unwrap().unwrap();
    ends.proxy.change(|rules| rules.forward.swallows = true);
    ends.proxy.heal();
    says(&mut near, &mut far, "alive").await.unwrap();
}

#[tokio::test]
async fn an_end_is_not_heard_through_a_hole() {
    let mut ends = ends().await;
    ends.proxy.change(|rules| rules.forward.swallows = true);
    drop(ends.near);
    assert!(is_quiet(&mut ends.far).await);
    ends.proxy.heal();
    assert!(!is_quiet(&mut ends.far).await);
}

#[tokio::test]
async fn resets_half_closes_truncations_and_refusals() {
    let mut one = ends().await;
    one.proxy.reset();
    assert!(is_reset(&mut one.far).await && is_reset(&mut one.near).await);

    let mut two = ends().await;
    two.proxy.half_close(Direction::Backward);
    assert_eq!(two.near.read(&mut [0; 4]).await.unwrap(), 0);
    says(&mut two.near, &mut two.far, "still there").await.unwrap();

    let mut three = ends().await;
    three
        .proxy
        .change(|rules| rules.forward.delay = Duration::from_secs(60));
    three.near.write_all(b"12345678").await.unwrap();
    sleep(QUIET).await;
    three.proxy.truncate(Direction::Forward);
    let mut heard = Vec::new();
    let ended = timeout(SOON, three.far.read_to_end(&mut heard)).await.unwrap();
    assert!(ended.is_err() && heard.len() <= 4, "{heard:?}");

    let mut four = ends().await;
    four.proxy.change(|rules| rules.refuses = true);
    sleep(QUIET).await;
    let refused = TcpStream::connect(four.proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    says(&mut four.near, &mut four.far, "connections stay")
        .await
        .unwrap();
    four.proxy.heal();
    sleep(QUIET).await;
    TcpStream::connect(four.proxy.address()).await.unwrap();
}

#[tokio::test]
async fn a_mesh_cuts_bytes_whoever_connected() {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let peers: Vec<_> = listeners.iter().map(|one| one.local_addr().unwrap()).collect();
    let plan = MeshPlan {
        seed: 1,
        grpc: peers.clone(),
        peers: peers.clone(),
        ports: Vec::new(),
    };
    let mesh = Mesh::start(&plan).await.unwrap();
    assert_eq!(mesh.dial_map(0).len(), 2);
    assert!(mesh.dial_map(0)[0].starts_with(&format!("{}=", peers[1])));
    mesh.change_way(0, 1, |way| way.swallows = true);
    let rules = |from, to| mesh.edge(from, to).unwrap().rules();
    assert!(rules(0, 1).forward.swallows && !rules(0, 1).backward.swallows);
    assert!(rules(1, 0).backward.swallows && !rules(1, 0).forward.swallows);
    mesh.heal();
    mesh.change_between(&[2], |way| way.frozen = true);
    assert!(rules(0, 2).forward.frozen && rules(2, 0).backward.frozen && rules(2, 1).forward.frozen);
    assert!(!rules(0, 1).forward.frozen && !mesh.front(2).rules().forward.frozen);
    mesh.set_listening(2, false);
    assert!(rules(0, 2).refuses && !rules(2, 0).refuses && mesh.front(2).rules().refuses);
}
