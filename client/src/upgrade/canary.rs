//! The canary of a node that was restarted: through it a record of every shard is written, read and deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use spine_proto::admin::v1::ShardSummary;

use crate::client::SpineClient;
use crate::error::{Error, Result};
use crate::records::{Key, Records};
use crate::route::slot_of;

/// One call.
const DEADLINE: Duration = Duration::from_secs(10);
/// Shards that are tried at once.
const AT_ONCE: usize = 16;
/// It holds no records.
const META_SHARD: u32 = 0;
/// Routing keys that are looked through for one of each shard; of 4,096 shards the last one is met after some 40,000.
const ROUTING_KEYS_MAX: u32 = 1 << 18;

/// Writes, reads and deletes one record of each shard through the node that the client begins at.
pub(super) async fn run(client: &SpineClient, shards: &[ShardSummary]) -> Result<()> {
    // Nobody else has these keys: no tool beside this one, and none before it that could not clear up.
    let keys = keys(&client.new_request_id(), shards)?;
    let records = client.records().with_deadline(DEADLINE);
    let tries = keys.iter().map(|key| leave_nothing(&records, key));
    let tries = stream::iter(tries).buffer_unordered(AT_ONCE);
    tries.try_collect().await
}

async fn leave_nothing(records: &Records, key: &Key) -> Result<()> {
    let read = write_and_read(records, key).await;
    let gone = records.delete(key).await;
    read?;
    gone.map(drop)
}

async fn write_and_read(records: &Records, key: &Key) -> Result<()> {
    let value = key.suffix.clone();
    let written = records.put(key, value.clone()).await?;
    let found = records.get(key).await?.record;
    if found.is_some_and(|found| found.revision == written.revision && found.value == value) {
        return Ok(());
    }
    Err(Error::malformed_answer("what was just written"))
}

/// One key for each shard that holds records. The routing keys are always the same, the rest is of this run alone.
fn keys(run: &str, shards: &[ShardSummary]) -> Result<Vec<Key>> {
    let holding = shards.iter().filter(|shard| shard.shard != META_SHARD);
    let slots = |shard: &ShardSummary| (shard.slot_first, shard.slot_last);
    let mut keyless: BTreeMap<u32, u32> = holding.map(slots).collect();
    let mut keys = Vec::new();
    for number in 0..ROUTING_KEYS_MAX {
        if keyless.is_empty() {
            break;
        }
        let routing_key = format!("canary-{number}");
        let slot = u32::from(slot_of(&routing_key)?.get());
        let found = keyless.range(..=slot).next_back();
        let found = found.filter(|(_, last)| slot <= **last);
        if let Some(first) = found.map(|(first, _)| *first) {
            keyless.remove(&first);
            keys.push(Key::new(routing_key, run.to_owned()));
        }
    }
    if keys.is_empty() || !keyless.is_empty() {
        return Err(Error::malformed_answer("the slots of every shard"));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The meta group and so many shards with slots.
    fn shards(count: u32) -> Vec<ShardSummary> {
        let slots = 16_384 / count;
        let with_slots = (1..=count).map(|shard| ShardSummary {
            shard,
            slot_first: (shard - 1) * slots,
            slot_last: shard * slots - 1,
            ..ShardSummary::default()
        });
        std::iter::once(ShardSummary::default())
            .chain(with_slots)
            .collect()
    }

    #[test]
    fn every_shard_has_a_key_and_no_two_runs_share_one() {
        for count in [1, 8, 512] {
            let shards = shards(count);
            let (one, other) = (keys("one", &shards).unwrap(), keys("other", &shards).unwrap());
            assert!(one.iter().all(|key| !other.contains(key)), "{count}");
            let mut hit: Vec<u32> = one
                .iter()
                .map(|key| u32::from(slot_of(&key.routing_key).unwrap().get()) / (16_384 / count))
                .collect();
            hit.sort_unstable();
            assert!(hit.into_iter().eq(0..count), "each of {count} once");
        }
    }

    #[test]
    fn without_shards_nothing_is_proved() {
        for none in [shards(1)[..1].to_vec(), Vec::new()] {
            assert_eq!(keys("one", &none).unwrap_err().reason, "MALFORMED_ANSWER");
        }
    }
}
