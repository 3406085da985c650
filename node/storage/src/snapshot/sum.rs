//! Count and digest of records as they pass.

use spine_statemachine::Digest;
use spine_statemachine::store::Record;

/// Sums records in any order.
#[derive(Default)]
pub(super) struct RecordSum {
    pub(super) digest: Digest,
    pub(super) count: u64,
}

impl RecordSum {
    pub(super) fn add(&mut self, key: &[u8], record: &Record) {
        self.digest = self.digest.plus(Digest::of_record(key, record));
        self.count += 1;
    }

    /// Whether a stored count and digest are these; an empty state may carry no digest at all.
    pub(super) fn is(&self, count: u64, digest: &[u8]) -> bool {
        let digest = if digest.is_empty() {
            Some(Digest::default())
        } else {
            Digest::from_bytes(digest)
        };
        self.count == count && digest == Some(self.digest)
    }
}
