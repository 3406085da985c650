//! Limits of keys, records and transactions. Checked at the gateway and again in apply.

/// Clear bytes of one record's value.
pub const RECORD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A stored value: the record and its frame header.
pub const FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX + crate::frame::HEADER_BYTES;
/// Bytes of a key's suffix.
pub const SUFFIX_BYTES_MAX: usize = 256;
/// Bytes of a whole key.
pub const KEY_BYTES_MAX: usize = crate::key::PREFIX_BYTES + SUFFIX_BYTES_MAX + APPEND_POSITION_BYTES;
/// Revision and ordinal that an append adds to its stream's key.
pub const APPEND_POSITION_BYTES: usize = 8 + 4;
/// SubTxns of one transaction.
pub const SUBS_MAX: usize = 1_024;
/// Guards of one SubTxn.
pub const GUARDS_MAX: usize = 128;
/// Mutations of one SubTxn.
pub const MUTATIONS_MAX: usize = 128;
/// Mutations of a SubTxn without a request key: the cluster's own rows.
pub const INTERNAL_MUTATIONS_MAX: usize = 16_384;
/// Records that a range guard or a range deletion may touch.
pub const RANGE_RECORDS_MAX: usize = 1_024;
/// Bytes of the outcome kept with a request id.
pub const OUTCOME_BYTES_MAX: usize = 256;
/// Bytes of one encoded transaction.
pub const TXN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a request id is remembered, milliseconds of log time.
pub const REQUEST_WINDOW_MS: i64 = 15 * 60 * 1_000;
/// Request ids of one bucket share their fate; milliseconds of log time.
pub const REQUEST_BUCKET_MS: i64 = 5 * 60 * 1_000;
/// Request ids remembered by one shard.
pub const REQUEST_ROWS_MAX: u64 = 1_000_000;
/// Forgotten request ids whose rows one entry removes; more than one entry can add.
pub const REQUEST_EXPIRY_RECORDS_MAX: usize = 2 * SUBS_MAX;
/// The newest level whose rules this release can apply.
pub const LEVEL_MAX: u32 = 1;

const _: () = {
    assert!(
        TXN_BYTES_MAX > FRAME_BYTES_MAX + 64 * 1024,
        "a transaction holds the largest record"
    );
    assert!(
        REQUEST_WINDOW_MS % REQUEST_BUCKET_MS == 0,
        "the window is whole buckets"
    );
    assert!(REQUEST_EXPIRY_RECORDS_MAX > SUBS_MAX, "expiry outruns growth");
};
