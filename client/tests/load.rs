//! Loads survive lost nodes, repeat without harm and count their bad lines.

mod fake;

use std::time::Duration;

use fake::{Fake, Port, Reply};
use futures_util::stream::iter;
use spine_client::{ErrorKind, LineError, LoadLine, LoadReport, SpineClient};

const NODES: [&str; 3] = ["a:1", "b:1", "c:1"];

async fn load(client: &SpineClient, lines: &[&'static str]) -> (LoadReport, Vec<LineError>) {
    let mut errors = Vec::new();
    let lines = lines.iter().zip(1..).map(|(text, line)| LoadLine {
        line,
        fhir_json: (*text).into(),
    });
    let report = client
        .pds()
        .load()
        .batch_lines(10)
        .run(iter(lines), |outcome| errors.extend(outcome.errors.clone()))
        .await
        .expect("the load runs");
    (report, errors)
}

#[tokio::test(start_paused = true)]
async fn every_line_has_one_outcome_and_a_second_run_replays() {
    let fake = Fake::new(&NODES);
    let client = fake.builder().connect().unwrap();
    let mut lines = vec!["good"; 1_003];
    lines[17] = "bad";
    lines[502] = "later";
    let (report, errors) = load(&client, &lines).await;
    assert_eq!(
        report,
        LoadReport {
            registered: 1_002,
            replayed: 0,
            failed: 1
        }
    );
    assert_eq!(
        (errors[0].line, errors[0].reason.as_str()),
        (18, "INVALID_NHS_NUMBER")
    );
    let (report, _) = load(&client, &lines).await;
    assert_eq!(
        report,
        LoadReport {
            registered: 0,
            replayed: 1_002,
            failed: 1
        }
    );
}

#[tokio::test(start_paused = true)]
async fn batches_lost_with_a_node_are_sent_again() {
    for loss in [
        Reply::Drop,
        Reply::ServeThenDrop,
        Reply::ServeThenHang,
        Reply::NotLeader(None),
    ] {
        let fake = Fake::new(&NODES);
        for name in NODES {
            fake.script(
                name,
                [
                    Reply::Serve,
                    Reply::Serve,
                    loss.clone(),
                    Reply::Serve,
                    loss.clone(),
                ],
            );
        }
        let client = fake.builder().connect().unwrap();
        let (report, _) = load(&client, &["good"; 500]).await;
        assert_eq!(report.registered + report.replayed, 500);
        assert_eq!(fake.store.lock().lines.len(), 500);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_and_a_mute_node_do_not_stop_a_load() {
    let fake = Fake::new(&NODES);
    fake.port("a:1", Port::Refused);
    fake.port("b:1", Port::Mute);
    let client = fake.builder().connect().unwrap();
    let (report, _) = load(&client, &["good"; 200]).await;
    assert_eq!(
        report,
        LoadReport {
            registered: 200,
            replayed: 0,
            failed: 0
        }
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_file_is_loaded_at_once() {
    let fake = Fake::new(&NODES);
    let (report, _) = load(&fake.builder().connect().unwrap(), &[]).await;
    assert_eq!(report, LoadReport::default());
    assert_eq!(fake.all_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_load_without_a_cluster_gives_up_and_one_without_permission_at_once() {
    let fake = Fake::new(&NODES);
    for name in NODES {
        fake.port(name, Port::Refused);
    }
    let client = fake.builder().connect().unwrap();
    let line = || {
        iter([LoadLine {
            line: 1,
            fhir_json: "good".into(),
        }])
    };
    let error = client
        .pds()
        .load()
        .give_up_after(Duration::from_secs(5))
        .run(line(), |_| {})
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    for name in NODES {
        fake.port(name, Port::Open);
        let advice = spine_proto::common::v1::Advice::FixRequest;
        fake.always(
            name,
            Reply::Refuse(tonic::Code::PermissionDenied, advice, "FORBIDDEN"),
        );
    }
    let error = client.pds().load().run(line(), |_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
}
