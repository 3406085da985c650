//! Request-id rows over hours of log time: remembered long enough, removed soon enough.

use spine_proto::storage::v1 as pb;
use spine_statemachine::limits::{REQUEST_BUCKET_MS, REQUEST_WINDOW_MS};
use spine_statemachine::request::{self, Seen};
use spine_statemachine::{SubOutcome, txn};

use crate::shard::{Shard, hash16};

fn call(number: u64) -> pb::SubTxn {
    let request = pb::RequestKey {
        id: hash16(&number.to_string()),
        body_digest: hash16("body"),
        slot: 0,
        session: None,
    };
    pb::SubTxn {
        request: Some(request),
        ..pb::SubTxn::default()
    }
}

#[test]
fn ids_are_remembered_for_the_window_and_rows_do_not_pile_up() {
    const STEP_MS: i64 = 5_000;
    const RAISED_AT: u64 = 1_500;
    let in_window = u64::try_from(REQUEST_WINDOW_MS / STEP_MS).unwrap();
    let in_bucket = u64::try_from(REQUEST_BUCKET_MS / STEP_MS).unwrap();
    let mut shard = Shard::owning(0, 16_383);
    for number in 0..3_000_u64 {
        if number == RAISED_AT {
            // What stands elsewhere from here on is found where it was until it is forgotten.
            assert!(shard.apply(&txn::level(2)).is_ok());
        }
        let now_ms = STEP_MS * i64::try_from(number).unwrap();
        let outcomes = shard.txn(vec![call(number)], now_ms);
        assert!(matches!(outcomes[0], SubOutcome::Committed { .. }));
        let known = |old: Option<u64>| {
            let key = old.map(|old| call(old).request.unwrap());
            key.map(|key| {
                let seen = request::look(&shard.store, &shard.state, &key).unwrap();
                seen != Seen::New
            })
        };
        assert_ne!(
            known(number.checked_sub(in_window)),
            Some(false),
            "{number}: forgotten too early"
        );
        assert_ne!(
            known(number.checked_sub(in_window + in_bucket)),
            Some(true),
            "{number}: kept too long"
        );
        let remembered = shard.state.requests.remembered_rows();
        assert!(
            shard.request_rows() <= 2 * remembered + 256,
            "{number}: rows pile up"
        );
    }
    assert!(shard.request_rows() < 1_000, "rows were removed");
}

#[test]
fn a_forgotten_id_takes_effect_again_and_is_counted_once() {
    let mut shard = Shard::owning(0, 16_383);
    shard.txn(vec![call(1)], 0);
    let outcomes = shard.txn(vec![call(1)], 2 * REQUEST_WINDOW_MS);
    assert!(matches!(outcomes[0], SubOutcome::Committed { .. }));
    assert_eq!(shard.request_rows(), 1);
}

#[test]
fn rows_of_a_bucket_stand_together_and_go_first_ones_first() {
    let mut shard = Shard::owning(0, 16_383);
    assert!(shard.apply(&txn::level(2)).is_ok());
    for number in 0..400 {
        shard.txn(
            vec![call(number)],
            i64::try_from(number).unwrap() * REQUEST_BUCKET_MS / 10,
        );
    }
    let buckets = |shard: &Shard| -> Vec<u64> {
        let keys = shard.store.records().keys();
        keys.filter_map(|key| Some(request::together(key)?.0)).collect()
    };
    assert_eq!(
        shard.request_rows(),
        u64::try_from(buckets(&shard).len()).unwrap()
    );
    assert!(buckets(&shard).is_sorted());
    // The first call came at the third entry. Of forty buckets the last sixteen count.
    let first = *buckets(&shard).first().unwrap();
    assert!(
        first > 3 && first <= 243,
        "{first}: what counts no more goes, and nothing else"
    );
}
