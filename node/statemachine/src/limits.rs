//! Limits of keys, records and transactions. Checked at the gateway and again in apply.

/// Clear bytes of one record's value.
pub const RECORD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A stored value: the record and its frame header.
pub const FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX + crate::frame::HEADER_BYTES;
/// Bytes of a key's suffix.
pub const SUFFIX_BYTES_MAX: usize = 256;
/// Bytes of a key that a caller may choose.
pub const CHOSEN_KEY_BYTES_MAX: usize = crate::key::PREFIX_BYTES + SUFFIX_BYTES_MAX;
/// Revision and ordinal that an append adds to its stream's key.
pub const APPEND_POSITION_BYTES: usize = 8 + 4;
/// Bytes of a whole key.
pub const KEY_BYTES_MAX: usize = CHOSEN_KEY_BYTES_MAX + APPEND_POSITION_BYTES;
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
/// Bytes of one encoded entry that holds a transaction.
pub const TXN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a request id is remembered at least, milliseconds of log time.
pub const REQUEST_WINDOW_MS: i64 = 15 * 60 * 1_000;
/// A bucket of request ids, forgotten as a whole, takes rows for so long; milliseconds of log time.
pub const REQUEST_BUCKET_MS: i64 = 60 * 1_000;
/// A bucket of request ids takes no more entries once it has so many rows. They stand together: a checkpoint that adds
/// to a bucket writes most of its leaves again.
pub const REQUEST_BUCKET_ROWS_MAX: u64 = 16_384;
/// The same before [`crate::Rule::REQUESTS_BY_BUCKET`].
pub const SCATTERED_BUCKET_ROWS_MAX: u64 = 62_500;
/// Request ids remembered by one shard; above it the oldest buckets go early.
pub const REQUEST_ROWS_MAX: u64 = 1_000_000;
/// After so much work, transactions and rows counted alike, apply looks for forgotten rows to remove.
pub const REQUEST_SWEEP_EVERY: u64 = 64;
/// Rows looked at each time, in key order, going round.
pub const REQUEST_SWEEP_ROWS: usize = 256;
/// Calls of one session that one shard remembers at a time.
pub const SESSION_DONE_MAX: usize = 128;

const _: () = {
    assert!(
        TXN_BYTES_MAX > FRAME_BYTES_MAX + 64 * 1024,
        "a transaction holds the largest record"
    );
    assert!(
        TXN_BYTES_MAX > MUTATIONS_MAX * (KEY_BYTES_MAX + 64),
        "a transaction holds the most mutations with the longest keys"
    );
    assert!(
        REQUEST_WINDOW_MS % REQUEST_BUCKET_MS == 0,
        "the window is whole buckets"
    );
    assert!(
        REQUEST_ROWS_MAX >= 8 * SCATTERED_BUCKET_ROWS_MAX
            && SCATTERED_BUCKET_ROWS_MAX >= REQUEST_BUCKET_ROWS_MAX,
        "a busy shard forgets a small part at a time"
    );
    assert!(
        REQUEST_BUCKET_ROWS_MAX > SUBS_MAX as u64,
        "the rows of one entry never fill a bucket"
    );
    assert!(
        REQUEST_SWEEP_ROWS as u64 >= 4 * REQUEST_SWEEP_EVERY,
        "removal outruns growth"
    );
    assert!(
        KEY_BYTES_MAX <= u16::MAX as usize,
        "a key's length fits 16 bits on disk"
    );
};
