//! Watches of a cluster of real processes: what is seen, by whom, and how a watch goes on.

use std::time::Duration;

use crate::raw::Raw;
use spine_client::local_cluster::{LocalCluster, Plan};
use spine_client::{Commit, Key, ListOptions, Records, Watch, WatchEvent, WatchFrom};

const START: Duration = Duration::from_secs(60);
/// Nothing that is waited for takes longer.
const SOON: Duration = Duration::from_secs(30);
/// Feeds of one mebibyte, of which each of a node's two replicas has half.
const SMALL_FEEDS: &str = "storage.feed_bytes=1048576";
const BODY_BYTES: usize = 8 * 1024;
/// More bodies than a feed and all buffers on the way to a caller hold together.
const MANY: u64 = 600;

async fn cluster(shards: u32, settings: &[&str]) -> LocalCluster {
    let common = ["storage.segment_bytes=8388608", "storage.min_free_bytes=67108864"];
    let plan = Plan {
        shards,
        settings: common.iter().chain(settings).map(ToString::to_string).collect(),
        ..Plan::new(env!("CARGO_BIN_EXE_spine-node"))
    };
    LocalCluster::launch(plan, START).await.unwrap()
}

/// One change as (index, suffix, value or none).
type Seen = (u64, Vec<u8>, Option<Vec<u8>>);

fn flat(event: WatchEvent) -> Vec<Seen> {
    let index = event.index;
    let changes = event.changes.into_iter().map(|change| {
        let revision = change.record.as_ref().map(|record| record.revision);
        assert!(revision.is_none_or(|revision| revision == index));
        (
            index,
            change.key.suffix.to_vec(),
            change.record.map(|record| record.value.to_vec()),
        )
    });
    changes.collect()
}

async fn next(watch: &mut Watch) -> WatchEvent {
    tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap()
}

/// Writes in a fixed pattern: two puts in one commit, a replacement, a deletion; gives what a watch must show.
async fn change(records: &Records, routing_key: &str, round: u64) -> Vec<Seen> {
    let (one, two) = (format!("one-{}", round % 3), format!("two-{round}"));
    let value = format!("value {round}").into_bytes();
    let mut expected = Vec::new();
    let commit = Commit::new(routing_key)
        .put(one.clone(), value.clone())
        .put(two.clone(), value.clone());
    let both = records.commit(commit).await.unwrap().revision;
    expected.push((both, one.clone().into_bytes(), Some(value.clone())));
    expected.push((both, two.clone().into_bytes(), Some(value)));
    let key = Key::new(routing_key, one.clone());
    let replaced = records.put(&key, "again").await.unwrap().revision;
    expected.push((replaced, one.into_bytes(), Some(b"again".to_vec())));
    let key = Key::new(routing_key, two.clone());
    let removed = records.delete(&key).await.unwrap().revision;
    expected.push((removed, two.into_bytes(), None));
    expected
}

async fn bodies(records: &Records, routing_key: &str, count: u64) -> Vec<u64> {
    let mut revisions = Vec::new();
    for round in 0..count {
        let key = Key::new(routing_key, (round % 50).to_be_bytes().to_vec());
        revisions.push(records.put(&key, vec![7; BODY_BYTES]).await.unwrap().revision);
    }
    revisions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_seen_once_and_in_order_while_each_node_is_killed() {
    let mut cluster = cluster(2, &[]).await;
    let records = cluster.client().records();
    let mut watch = records.watch("watched", WatchFrom::Now).await.unwrap();
    let mut everything = records
        .watch("watched", WatchFrom::Now)
        .await
        .unwrap()
        .whole_shard();
    let mut expected = Vec::new();
    for number in 1..=3 {
        for round in 0..10 {
            expected.extend(change(&records, "watched", number * 100 + round).await);
            records
                .put(&Key::new("other", "s"), "of no interest")
                .await
                .unwrap();
        }
        cluster.kill(usize::try_from(number).unwrap()).unwrap();
        for round in 20..30 {
            expected.extend(change(&records, "watched", number * 100 + round).await);
        }
        cluster.restart(usize::try_from(number).unwrap()).unwrap();
        cluster.wait_healthy(SOON).await.unwrap();
    }
    let (mut seen, mut seen_of_all) = (Vec::new(), Vec::new());
    while seen.len() < expected.len() {
        seen.extend(flat(next(&mut watch).await));
    }
    assert_eq!(seen, expected);
    while seen_of_all.len() < expected.len() {
        let mut event = next(&mut everything).await;
        event.changes.retain(|change| change.key.routing_key == "watched");
        seen_of_all.extend(flat(event));
    }
    assert_eq!(seen_of_all, expected, "a whole shard shows the same");
    // Resumed in the middle, it shows the rest.
    let middle = expected.len() / 2;
    let from = expected[middle].0;
    let mut resumed = records.watch("watched", WatchFrom::Index(from)).await.unwrap();
    let rest: Vec<Seen> = expected.iter().filter(|seen| seen.0 >= from).cloned().collect();
    let mut seen = Vec::new();
    while seen.len() < rest.len() {
        seen.extend(flat(next(&mut resumed).await));
    }
    assert_eq!(seen, rest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_floor_a_list_and_its_index_go_on() {
    let cluster = cluster(1, &[SMALL_FEEDS]).await;
    let records = cluster.client().records();
    let revisions = bodies(&records, "watched", MANY / 4).await;
    let mut watch = records.watch("watched", WatchFrom::Index(1)).await.unwrap();
    let error = tokio::time::timeout(SOON, watch.next())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.reason, "COMPACTED");
    let page = records.list("watched", ListOptions::default()).await.unwrap();
    assert!(page.position.index >= *revisions.last().unwrap());
    let from = WatchFrom::Index(page.position.index + 1);
    let mut watch = records.watch("watched", from).await.unwrap();
    let expected = change(&records, "watched", 1).await;
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        seen.extend(flat(next(&mut watch).await));
    }
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_caller_is_overtaken_and_told_where_to_go_on() {
    let cluster = cluster(1, &[SMALL_FEEDS, "limits.watches_max=2"]).await;
    let records = cluster.client().records();
    let address = cluster.nodes()[0].grpc_address();
    let mut slow = Raw::open(address, 0).await.unwrap();
    let mark = slow.next().await.unwrap();
    assert!(
        mark.changes.is_empty(),
        "from now on begins by saying what is now"
    );
    let _second = Raw::open(address, 1).await.unwrap();
    let third = Raw::open(address, 1).await.err().unwrap();
    assert_eq!(third.reason, "TOO_MANY_WATCHES");

    let revisions = bodies(&records, "watched", MANY).await;
    let mut seen = Vec::new();
    let end = loop {
        match slow.next().await {
            Ok(message) if message.changes.is_empty() => {}
            Ok(message) => seen.push(message.index),
            Err(end) => break end,
        }
    };
    assert_eq!(end.reason, "WATCH_FELL_BEHIND");
    assert!(!seen.is_empty() && seen.len() < revisions.len());
    assert_eq!(seen, revisions[..seen.len()], "what was shown has no gap");
    let next = seen.last().unwrap() + 1;
    assert!(
        end.message.ends_with(&format!("from index {next}")),
        "{}",
        end.message
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_watch_hears_how_far_it_is_and_a_node_cut_off_lets_go_of_it() {
    let mut cluster = cluster(1, &[]).await;
    let records = cluster.client().records();
    let address = cluster.nodes()[0].grpc_address().to_owned();
    let mut quiet = Raw::open(&address, 0).await.unwrap();
    let now = quiet.next().await.unwrap().index;
    for _ in 0..5 {
        records
            .put(&Key::new("other", "s"), "of no interest")
            .await
            .unwrap();
    }
    let mark = tokio::time::timeout(SOON, quiet.next()).await.unwrap().unwrap();
    assert!(mark.changes.is_empty() && mark.index > now);

    // Two nodes that stand still are silent: the third cannot learn of changes.
    for number in [2, 3] {
        cluster.pause(number).unwrap();
    }
    let end = loop {
        if let Err(end) = tokio::time::timeout(SOON, quiet.next()).await.unwrap() {
            break end;
        }
    };
    assert_eq!(end.reason, "WATCH_OUT_OF_TOUCH");
    for number in [2, 3] {
        cluster.resume(number).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_go_on_sends_its_watches_elsewhere() {
    let mut cluster = cluster(1, &[]).await;
    let records = cluster.client().records();
    let from = change(&records, "watched", 0).await[0].0;
    cluster.wait_caught_up(SOON).await.unwrap();
    let address = cluster.nodes()[0].grpc_address().to_owned();

    // A future index shows nothing of the past.
    let mut future = Raw::open(&address, from + 1_000).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), future.next())
            .await
            .is_err()
    );

    let mut here = Raw::open(&address, from).await.unwrap();
    assert_eq!(here.next().await.unwrap().index, from);
    let mut library = records.watch("watched", WatchFrom::Index(from)).await.unwrap();
    assert_eq!(next(&mut library).await.index, from);

    // Its feed begins anew at its checkpoint; those of the others still reach back.
    let admin = cluster.client().admin(&address).unwrap();
    admin.compact_replica(1).await.unwrap();
    let stopping = std::time::Instant::now();
    assert!(cluster.stop(1, SOON).await.unwrap());
    assert!(
        stopping.elapsed() < Duration::from_secs(8),
        "watches do not hold up a stop"
    );
    let end = loop {
        if let Err(end) = here.next().await {
            break end;
        }
    };
    assert_eq!(end.reason, "DRAINING");
    cluster.restart(1).unwrap();
    cluster.wait_healthy(SOON).await.unwrap();
    let elsewhere = Raw::open(&address, from).await.err().unwrap();
    assert_eq!(elsewhere.reason, "WATCH_ELSEWHERE");
    assert_ne!(elsewhere.leader_address, address);
    let mut there = Raw::open(&elsewhere.leader_address, from).await.unwrap();
    assert_eq!(there.next().await.unwrap().index, from);

    let expected = change(&records, "watched", 1).await;
    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|seen: &Seen| seen.0 < expected.last().unwrap().0)
    {
        seen.extend(flat(next(&mut library).await));
    }
    assert_eq!(seen[seen.len() - expected.len()..], expected);
}
