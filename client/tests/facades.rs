//! The typed calls: pages, guards, watch and patients.

mod fake;

use fake::{Fake, Reply};
use futures_util::TryStreamExt as _;
use spine_client::{Commit, ErrorKind, Key, ListOptions, PatientsFrom, WatchFrom};

#[tokio::test(start_paused = true)]
async fn pages_follow_each_other_to_the_end() {
    let fake = Fake::new(&["a:1", "b:1"]);
    let client = fake.builder().connect().unwrap();
    for i in 0..7 {
        client
            .records()
            .put(&Key::new("PAGES", format!("s{i}")), "v")
            .await
            .unwrap();
    }
    client.records().put(&Key::new("PAGES", "t"), "v").await.unwrap();
    let options = ListOptions {
        suffix_prefix: "s".into(),
        page_size: 3,
        ..ListOptions::default()
    };
    fake.script("a:1", [Reply::not_leader("b:1")]);
    let pages: Vec<_> = client
        .records()
        .pages("PAGES", options)
        .try_collect()
        .await
        .unwrap();
    let sizes: Vec<_> = pages.iter().map(|page| page.records.len()).collect();
    assert_eq!(sizes, [3, 3, 1]);
    assert!(
        pages
            .iter()
            .all(|page| page.position.index == 8 && page.position.shard == 1)
    );
    let suffixes: Vec<_> = pages
        .iter()
        .flat_map(|page| &page.records)
        .map(|record| record.key.suffix.clone())
        .collect();
    assert_eq!(suffixes, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
}

#[tokio::test(start_paused = true)]
async fn guards_protect_against_lost_updates() {
    let fake = Fake::new(&["a:1"]);
    let records = fake.builder().connect().unwrap().records();
    let key = Key::new("GUARDS", "s");
    assert!(records.get(&key).await.unwrap().record.is_none());
    let first = records.create(&key, "1").await.unwrap();
    assert!(records.create(&key, "x").await.unwrap_err().is_conflict());
    let second = records.compare_and_set(&key, first.revision, "2").await.unwrap();
    let stale = records
        .compare_and_set(&key, first.revision, "x")
        .await
        .unwrap_err();
    assert_eq!(
        (stale.kind, stale.reason.as_str()),
        (ErrorKind::Conflict, "GUARD_FAILED")
    );
    let found = records.get(&key).await.unwrap().record.unwrap();
    assert_eq!(
        (found.value.as_ref(), found.revision),
        (&b"2"[..], second.revision)
    );
    let both = Commit::new("GUARDS")
        .if_revision("s", second.revision)
        .delete("s")
        .put("t", "3");
    records.commit(both).await.unwrap();
    assert!(records.get(&key).await.unwrap().record.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_its_stream_broke_without_gap_or_repeat() {
    let fake = Fake::new(&["a:1", "b:1", "c:1"]);
    let client = fake.builder().connect().unwrap();
    fake.store.lock().index = 41;
    let mut watch = client.records().watch("WATCHED", WatchFrom::Now).await.unwrap();
    fake.script("a:1", [Reply::Hang]);
    fake.script("b:1", [Reply::Drop]);
    for expected in 42..60 {
        let event = watch.next().await.unwrap();
        assert_eq!(event.index, expected);
        assert_eq!(event.changes[0].record.as_ref().unwrap().revision, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_of_progress_shows_nothing_and_moves_the_watch_on() {
    let fake = Fake::new(&["a:1"]);
    let client = fake.builder().connect().unwrap();
    let mut watch = client
        .records()
        .watch("QUIET", WatchFrom::Index(1))
        .await
        .unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!((event.index, event.changes.len()), (11, 1));
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_a_final_error() {
    let fake = Fake::new(&["a:1"]);
    let refusal = Reply::Refuse(
        tonic::Code::OutOfRange,
        spine_proto::common::v1::Advice::ReadAgain,
        "COMPACTED",
    );
    fake.script("a:1", [refusal]);
    let client = fake.builder().connect().unwrap();
    let watch = client
        .records()
        .watch("WATCHED", WatchFrom::Index(1))
        .await
        .unwrap();
    let error = watch.into_stream().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.reason, "COMPACTED");
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_patients_goes_on_behind_its_cursor_and_ends_where_that_is_no_longer_kept() {
    let fake = Fake::new(&["a:1", "b:1", "c:1"]);
    let client = fake.builder().connect().unwrap();
    let mut watch = client.pds().watch(PatientsFrom::Now);
    fake.script("a:1", [Reply::Hang]);
    fake.script("b:1", [Reply::Drop]);
    assert_eq!(watch.begin().await.unwrap(), "1");
    for expected in 1..5 {
        let event = watch.next().await.unwrap();
        assert_eq!(event.position.index, expected);
        assert_eq!(event.cursor, (expected + 1).to_string());
        assert_eq!(watch.cursor(), event.cursor);
    }
    assert_eq!(watch.next().await.unwrap_err().reason, "COMPACTED");
    let mut later = client.pds().watch(PatientsFrom::Cursor("7".to_owned()));
    assert_eq!(later.next().await.unwrap().position.index, 7);
}

#[tokio::test(start_paused = true)]
async fn patients_are_registered_read_and_changed_by_version() {
    let fake = Fake::new(&["a:1", "b:1"]);
    let pds = fake.builder().connect().unwrap().pds();
    let registered = pds
        .register(r#"{"resourceType":"Patient","id":"n"}"#)
        .await
        .unwrap();
    assert_eq!(registered.patient.version_id, 1);
    let patient = pds.retrieve("n").await.unwrap();
    let changed = pds
        .with_request_id("mine")
        .update("n", patient.version_id, "{}")
        .await
        .unwrap();
    assert_eq!(changed.patient.version_id, 4);
    let calls: Vec<String> = fake.calls("a:1").into_iter().chain(fake.calls("b:1")).collect();
    assert!(calls.contains(&"mine".to_owned()));
    let pds = fake.builder().connect().unwrap().pds();
    let stale = pds.update("n", 2, "{}").await.unwrap_err();
    assert_eq!(
        (stale.kind, stale.reason.as_str()),
        (ErrorKind::Conflict, "VERSION_MISMATCH")
    );
    let pages: Vec<_> = pds.history_pages("n", 2).try_collect().await.unwrap();
    let versions: Vec<Vec<u32>> = pages
        .iter()
        .map(|page| page.versions.iter().map(|v| v.version_id).collect())
        .collect();
    assert_eq!(versions, [vec![5, 4], vec![3, 2], vec![1]]);
    let number = "9990000018";
    let patient = pds.retrieve(number).await.unwrap();
    assert_eq!(patient.nhs_number, number);
    assert!(!format!("{patient:?}").contains(number), "printing shows nobody");
}
