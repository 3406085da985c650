//! Moves a place from one clinic list to another: both records change or none, and once only, however
//! often the program is run with the same request id.
//!
//! `cargo run -p spine-client --example guarded_commit -- transfer-0001`
#![allow(clippy::print_stdout, reason = "an example talks")]

use spine_client::{Commit, ErrorKind, Key, Result, SpineClient};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let request_id = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "transfer-0001".to_owned());
    let client = SpineClient::builder()
        .endpoints(["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"])
        .principal("developer")
        .connect()?;
    let records = client.records();

    // One routing key, one shard: these records can change together.
    let morning = records.get(&Key::new("CLINIC-7", "morning")).await?.record;
    let evening = records.get(&Key::new("CLINIC-7", "evening")).await?.record;
    let places = |record: &Option<spine_client::Record>| -> u32 {
        record
            .as_ref()
            .and_then(|r| std::str::from_utf8(&r.value).ok()?.parse().ok())
            .unwrap_or(10)
    };

    let mut commit = Commit::new("CLINIC-7").request_id(request_id);
    for (suffix, record) in [("morning", &morning), ("evening", &evening)] {
        // What was read must still be so.
        commit = match record {
            Some(record) => commit.if_revision(suffix, record.revision),
            None => commit.if_absent(suffix),
        };
    }
    commit = commit
        .put("morning", (places(&morning).saturating_sub(1)).to_string())
        .put("evening", (places(&evening) + 1).to_string());

    match records.commit(commit).await {
        Ok(done) => println!("moved at revision {}", done.revision),
        // An earlier run has done it: the same id, but by now other guards.
        Err(error) if error.kind == ErrorKind::RequestIdReused => println!("moved before"),
        Err(error) => return Err(error),
    }
    Ok(())
}
