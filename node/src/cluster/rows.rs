//! The cluster as rows of the meta group. They begin as a copy of the first plan and are then the only truth about it.

use bytes::Bytes;
use prost::Message as _;
use spine_proto::storage::v1::{self as pb, ClusterPlan, PlanNode, PlanShard};
use spine_statemachine::store::{OrderedRead, ReadError};
use spine_statemachine::{frame, key};

/// Schema number of meta rows.
const META_SCHEMA: u32 = 1;
/// Rows of one kind that are read at a time.
const ROWS_AT_A_TIME: usize = 1_024;

const PLAN: &[u8] = b"plan";
const EPOCH: &[u8] = b"epoch";
const LAST_REPLICA: &[u8] = b"last-replica-id";
const BALANCING: &[u8] = b"balancing";
const NODE: &[u8] = b"node/";
const SHARD: &[u8] = b"shard/";
const TOKEN: &[u8] = b"token/";

/// The plan as the rows have it, and what a change of it must find unchanged.
#[derive(Clone)]
pub struct Stored {
    /// The plan.
    pub plan: ClusterPlan,
    /// Revision of the row that every change writes; none before the first change.
    epoch_revision: Option<u64>,
}

fn node_key(node_id: u64) -> Bytes {
    key::meta(&[NODE, &node_id.to_be_bytes()].concat())
}

fn shard_key(shard: u32) -> Bytes {
    key::meta(&[SHARD, &shard.to_be_bytes()].concat())
}

/// The row of a join token, by the hash of its secret.
#[must_use]
pub fn token_key(hash: &[u8]) -> Bytes {
    key::meta(&[TOKEN, hash].concat())
}

fn put(key: Bytes, value: &[u8]) -> pb::Mutation {
    let put = pb::Put {
        key,
        value: frame::encode(value),
        schema: META_SCHEMA,
    };
    pb::Mutation {
        kind: Some(pb::mutation::Kind::Put(put)),
    }
}

/// A row of a join token.
#[must_use]
pub fn put_token(hash: &[u8], row: &pb::JoinTokenRow) -> pb::Mutation {
    put(token_key(hash), &row.encode_to_vec())
}

fn absent(key: Bytes) -> pb::Guard {
    pb::Guard {
        kind: Some(pb::guard::Kind::Absent(pb::Absent { key })),
    }
}

/// The transaction that turns a plan into rows; harmless where they are there already.
#[must_use]
pub fn first_rows(plan: &ClusterPlan) -> pb::SubTxn {
    let mut mutations = vec![put(key::meta(PLAN), &plan.encode_to_vec())];
    mutations.extend(
        plan.nodes
            .iter()
            .map(|node| put(node_key(node.node_id), &node.encode_to_vec())),
    );
    mutations.extend(
        plan.shards
            .iter()
            .map(|shard| put(shard_key(shard.shard), &shard.encode_to_vec())),
    );
    let last_replica = last_replica_id(plan).to_be_bytes();
    mutations.push(put(key::meta(LAST_REPLICA), &last_replica));
    pb::SubTxn {
        guards: vec![absent(key::meta(PLAN))],
        mutations,
        ..pb::SubTxn::default()
    }
}

/// The newest replica id that a plan has given to anybody.
#[must_use]
pub fn last_replica_id(plan: &ClusterPlan) -> u64 {
    let members = plan.shards.iter().flat_map(|shard| &shard.members);
    let highest = members.map(|member| member.replica_id).max().unwrap_or(0);
    plan.last_replica_id.max(highest)
}

/// The transaction that takes the rows from one plan to the next, with rows of other kinds in it; it fails where
/// somebody else has changed the plan meanwhile.
#[must_use]
pub fn change(before: &Stored, after: &ClusterPlan, more: Vec<pb::Mutation>) -> pb::SubTxn {
    let old = &before.plan;
    let mut mutations = more;
    let is_news = |node: &&PlanNode| !old.nodes.contains(node);
    let nodes = after.nodes.iter().filter(is_news);
    mutations.extend(nodes.map(|node| put(node_key(node.node_id), &node.encode_to_vec())));
    let is_news = |shard: &&PlanShard| !old.shards.contains(shard);
    let shards = after.shards.iter().filter(is_news);
    mutations.extend(shards.map(|shard| put(shard_key(shard.shard), &shard.encode_to_vec())));
    mutations.push(put(
        key::meta(LAST_REPLICA),
        &last_replica_id(after).to_be_bytes(),
    ));
    mutations.push(put(key::meta(BALANCING), &[u8::from(after.balancing)]));
    mutations.push(put(key::meta(EPOCH), &after.epoch.to_be_bytes()));
    let key = key::meta(EPOCH);
    let guard = match before.epoch_revision {
        None => absent(key),
        Some(revision) => pb::Guard {
            kind: Some(pb::guard::Kind::RevisionIs(pb::RevisionIs { key, revision })),
        },
    };
    pb::SubTxn {
        guards: vec![guard],
        mutations,
        ..pb::SubTxn::default()
    }
}

/// The transaction that makes the rows those of a new incarnation.
#[must_use]
pub fn recovered(before: &Stored, after: &ClusterPlan) -> pb::SubTxn {
    change(before, after, vec![put(key::meta(PLAN), &after.encode_to_vec())])
}

/// The plan as the rows have it; `None` before they are there.
///
/// # Errors
/// A store that cannot be read, or rows that this release does not understand.
pub fn read(view: &dyn OrderedRead) -> Result<Option<Stored>, ReadError> {
    let Some((_, base)) = value(view, &key::meta(PLAN))? else {
        return Ok(None);
    };
    let mut plan: ClusterPlan = decode(&base)?;
    plan.nodes = all(view, NODE)?;
    plan.shards = all(view, SHARD)?;
    let number = |row: Option<(u64, Bytes)>| -> Result<u64, ReadError> {
        let Some((_, bytes)) = row else { return Ok(0) };
        let bytes: [u8; 8] = bytes[..].try_into().map_err(|_| damaged("a number"))?;
        Ok(u64::from_be_bytes(bytes))
    };
    plan.last_replica_id = number(value(view, &key::meta(LAST_REPLICA))?)?;
    plan.balancing = value(view, &key::meta(BALANCING))?.is_some_and(|(_, bytes)| bytes[..] == [1]);
    let epoch = value(view, &key::meta(EPOCH))?;
    let epoch_revision = epoch.as_ref().map(|(revision, _)| *revision);
    plan.epoch = number(epoch)?;
    Ok(Some(Stored { plan, epoch_revision }))
}

/// A join token's row with its revision.
///
/// # Errors
/// As [`read`].
pub fn token(view: &dyn OrderedRead, hash: &[u8]) -> Result<Option<pb::JoinTokenRow>, ReadError> {
    let row = value(view, &token_key(hash))?;
    row.map(|(_, bytes)| decode(&bytes)).transpose()
}

fn value(view: &dyn OrderedRead, key: &[u8]) -> Result<Option<(u64, Bytes)>, ReadError> {
    let Some(record) = view.get(key)? else {
        return Ok(None);
    };
    let bytes = frame::decode(&record.value).map_err(|error| ReadError(error.to_string()))?;
    Ok(Some((record.revision, bytes)))
}

/// All rows whose names begin so, in order.
fn all<M: prost::Message + Default>(view: &dyn OrderedRead, prefix: &[u8]) -> Result<Vec<M>, ReadError> {
    let (mut start, mut end) = (key::meta(prefix).to_vec(), key::meta(prefix).to_vec());
    // The names are followed by numbers: `/` and what comes after it in ASCII bound them.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let mut rows = Vec::new();
    loop {
        let some = view.range(&start, &end, ROWS_AT_A_TIME)?;
        for (_, record) in &some {
            let bytes = frame::decode(&record.value).map_err(|error| ReadError(error.to_string()))?;
            rows.push(decode(&bytes)?);
        }
        match some.last() {
            Some((last, _)) if some.len() == ROWS_AT_A_TIME => start = [&last[..], &[0]].concat(),
            _ => return Ok(rows),
        }
    }
}

fn decode<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, ReadError> {
    M::decode(bytes).map_err(|_| damaged("a row"))
}

fn damaged(what: &str) -> ReadError {
    ReadError(format!("{what} of the meta group cannot be decoded"))
}

#[cfg(test)]
mod tests {
    use spine_statemachine::levels::LevelRange;
    use spine_statemachine::memory::MemoryStore;
    use spine_statemachine::{SystemState, apply};

    use super::*;
    use crate::cluster::plan::decide;
    use crate::shard::proposals::txn_entry;

    fn plan() -> ClusterPlan {
        let nodes = (1..=3).map(|i| PlanNode {
            peer_address: format!("n{i}"),
            ..PlanNode::default()
        });
        decide(nodes.collect(), 8, 3, Bytes::new(), Bytes::new()).expect("plan")
    }

    #[test]
    fn rows_are_the_plan_again_and_changes_are_made_once() {
        let mut store = MemoryStore::default();
        let mut state = SystemState::default();
        let mut index = 0;
        let mut commit = |store: &mut MemoryStore, sub: pb::SubTxn| {
            index += 1;
            apply(
                store,
                &mut state,
                LevelRange::RELEASE,
                index,
                txn_entry(vec![sub], 0),
            )
            .expect("applied")
        };
        commit(&mut store, first_rows(&plan()));
        let first = read(&store).expect("read").expect("there");
        assert!(first.plan.nodes == plan().nodes && first.plan.shards == plan().shards);

        let mut next = first.plan.clone();
        next.epoch = 1;
        next.balancing = true;
        next.shards[3].members.pop();
        next.last_replica_id += 7;
        commit(&mut store, change(&first, &next, vec![]));
        let second = read(&store).expect("read").expect("there");
        assert!(second.plan == next);

        let mut other = first.plan.clone();
        other.epoch = 1;
        commit(&mut store, change(&first, &other, vec![]));
        assert!(
            read(&store).expect("read").expect("there").plan == next,
            "too late"
        );
    }
}
