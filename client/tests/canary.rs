//! The canary of an upgrade, against a node that answers by script, under a paused clock.

mod fake;

use std::path::Path;

use fake::{Fake, Reply};
use spine_client::upgrade::{Fleet as _, LiveFleet, Restart};
use spine_proto::admin::v1::NodeSummary;
use spine_proto::common::v1::Advice;
use tonic::Code;

struct NoRestart;

impl Restart for NoRestart {
    async fn restart(&mut self, _: &NodeSummary, _: &Path) -> Result<(), String> {
        unreachable!("a canary restarts nothing")
    }
}

/// That of one run; each has randomness of its own.
async fn canary(fake: &Fake, seed: u64) -> spine_client::Result<()> {
    let client = fake.builder().seed(seed).connect()?;
    let client_of = |address: &str| fake.builder_of([address]).seed(seed).connect();
    LiveFleet::new(client, client_of, NoRestart)
        .canary("a:1", false)
        .await
}

#[tokio::test(start_paused = true)]
async fn it_leaves_nothing_behind_and_has_keys_of_its_own() {
    let fake = Fake::new(&["a:1"]);
    canary(&fake, 1).await.unwrap();
    assert!(fake.store.lock().values.is_empty());
    // After the status, the write and the read this run cannot clear up.
    let refused = Reply::Refuse(Code::Internal, Advice::Operator, "INTERNAL");
    fake.script("a:1", [Reply::Serve, Reply::Serve, Reply::Serve, refused]);
    assert_eq!(canary(&fake, 2).await.unwrap_err().reason, "INTERNAL");
    let left = fake.store.lock().values.clone();
    assert_eq!(left.len(), 1);
    canary(&fake, 3).await.unwrap();
    assert_eq!(fake.store.lock().values, left, "neither read nor removed");
}

#[tokio::test(start_paused = true)]
async fn another_value_than_was_just_written_is_noticed() {
    let fake = Fake::new(&["a:1"]);
    // What the run before wrote, under a newer revision.
    fake.store.lock().reads_as = Some("a:1".into());
    let error = canary(&fake, 1).await.unwrap_err();
    assert!(error.message.contains("what was just written"), "{error}");
    assert!(fake.store.lock().values.is_empty(), "it clears up all the same");
}
