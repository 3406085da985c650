use bytes::Bytes;
use spine_proto::storage::v1 as pb;
use spine_statemachine::chain::{self, Head};
use spine_statemachine::key::successor;
use spine_statemachine::store::{OrderedRead, OrderedWrite};
use spine_statemachine::{frame, txn};

use crate::script::key_named;
use crate::shard::Shard;

/// The head that the stream's rows give.
fn walk(shard: &Shard, stream: &Bytes) -> Head {
    let rows = shard.store.range(stream, &successor(stream), 1_000).unwrap();
    let rows = rows.iter().filter(|(key, _)| *key != chain::head_key(stream));
    rows.fold(chain::EMPTY, |head, (key, record)| {
        chain::next(&head, key, &record.value)
    })
}

fn stored(shard: &Shard, stream: &Bytes) -> Head {
    chain::head_of(shard.store.get(&chain::head_key(stream)).unwrap().as_ref())
}

#[test]
fn the_head_is_over_all_rows_in_order() {
    let stream = key_named("stream:ann");
    let mut shard = Shard::owning(0, 16_383);
    let append = |text: &str| txn::append(stream.clone(), 1, frame::encode(text.as_bytes()), true);
    let sub = |mutations| pb::SubTxn {
        mutations,
        ..pb::SubTxn::default()
    };
    assert_eq!(stored(&shard, &stream), chain::EMPTY);
    shard.txn(
        vec![
            sub(vec![append("one"), append("two")]),
            sub(vec![append("three")]),
        ],
        1,
    );
    assert_eq!(stored(&shard, &stream), walk(&shard, &stream));
    shard.txn(vec![sub(vec![append("four")])], 2);
    assert_eq!(stored(&shard, &stream), walk(&shard, &stream));

    let rows = shard.store.range(&stream, &successor(&stream), 1_000).unwrap();
    assert_eq!(rows.len(), 4 + 1);
    let (key, record) = rows[1].clone();
    let mut missing = shard.clone();
    missing.store.delete(&key);
    assert_ne!(
        stored(&missing, &stream),
        walk(&missing, &stream),
        "a row is missing"
    );
    let mut changed = shard.clone();
    let other = spine_statemachine::store::Record {
        value: frame::encode(b"other"),
        ..record
    };
    changed
        .store
        .put(key, other, spine_statemachine::Digest::default());
    assert_ne!(
        stored(&changed, &stream),
        walk(&changed, &stream),
        "a row was changed"
    );
}
