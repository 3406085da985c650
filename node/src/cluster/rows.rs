//! The cluster as rows of the meta group. They begin as a copy of the plan and are then the only truth about it.

use bytes::Bytes;
use prost::Message as _;
use spine_proto::storage::v1::{self as pb, ClusterPlan};
use spine_statemachine::{frame, key};

/// Schema number of meta rows.
const META_SCHEMA: u32 = 1;

/// The transaction that turns a plan into rows; harmless where they are there already.
#[must_use]
pub fn first_rows(plan: &ClusterPlan) -> pb::SubTxn {
    let mut rows: Vec<(Bytes, Vec<u8>)> = vec![(key::meta(b"plan"), plan.encode_to_vec())];
    rows.extend(plan.nodes.iter().map(|node| {
        let name = [b"node/".as_slice(), &node.node_id.to_be_bytes()].concat();
        (key::meta(&name), node.encode_to_vec())
    }));
    rows.extend(plan.shards.iter().map(|shard| {
        let name = [b"shard/".as_slice(), &shard.shard.to_be_bytes()].concat();
        (key::meta(&name), shard.encode_to_vec())
    }));
    let last_replica = plan
        .shards
        .iter()
        .flat_map(|s| &s.members)
        .map(|m| m.replica_id)
        .max()
        .unwrap_or(0);
    rows.push((key::meta(b"last-replica-id"), last_replica.to_be_bytes().to_vec()));
    pb::SubTxn {
        guards: vec![pb::Guard {
            kind: Some(pb::guard::Kind::Absent(pb::Absent {
                key: key::meta(b"plan"),
            })),
        }],
        mutations: rows
            .into_iter()
            .map(|(key, value)| {
                let put = pb::Put {
                    key,
                    value: frame::encode(&value),
                    schema: META_SCHEMA,
                };
                pb::Mutation {
                    kind: Some(pb::mutation::Kind::Put(put)),
                }
            })
            .collect(),
        ..pb::SubTxn::default()
    }
}
