//! Which request ids still count: a window of log time and rows, moved by whole buckets.
//!
//! A bucket is a stretch of the log. A row counts while its revision is not below the floor, so forgetting a bucket
//! is one number; its rows are removed later, a bounded number per entry, the same ones on every replica.
//!
//! Since [`crate::levels::Rule::REQUESTS_BY_BUCKET`] the rows of a bucket also stand together: what is written is
//! written in one place, and what is removed is the beginning of the family. Rows of sessions stand by their ids.

use bytes::Bytes;
use spine_proto::storage::v1 as pb;

use crate::limits::{
    REQUEST_BUCKET_MS, REQUEST_BUCKET_ROWS_MAX, REQUEST_ROWS_MAX, REQUEST_SWEEP_EVERY, REQUEST_WINDOW_MS,
    SCATTERED_BUCKET_ROWS_MAX,
};

/// Counters of the request-id rows; equal on all replicas at one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestWindow {
    /// Rows of lower revisions are forgotten.
    floor: u64,
    /// What is remembered, oldest first.
    buckets: Vec<Bucket>,
    /// Rows in the store, forgotten ones included until they are removed.
    stored_rows: u64,
    /// The last row that the sweep looked at; empty at the beginning of a round.
    cursor: Bytes,
    /// Work since the last sweep.
    work: u64,
    /// Of the sessions whose rows are forgotten, the newest was opened then.
    session_floor_ms: i64,
    /// Rows of buckets that begin after this index stand together; 0: none do.
    by_bucket_after: u64,
    /// The last row that was removed of those that stand together.
    by_bucket_cursor: Bytes,
}

/// The request ids of one stretch of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    first_index: u64,
    /// Log time of its first row, milliseconds since 1970 UTC.
    first_ms: i64,
    rows: u64,
    /// Of the sessions whose rows are in it, the newest was opened then; 0 without any.
    opened_ms: i64,
}

impl RequestWindow {
    /// Whether a row of this revision still counts.
    #[must_use]
    pub fn remembers(&self, revision: u64) -> bool {
        revision >= self.floor
    }

    /// Rows that count.
    #[must_use]
    pub fn remembered_rows(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.rows).sum()
    }

    /// Of the sessions whose rows are forgotten, the newest was opened then, milliseconds since 1970 UTC.
    #[must_use]
    pub fn session_floor_ms(&self) -> i64 {
        self.session_floor_ms
    }

    /// Rows in the store, forgotten ones included.
    #[must_use]
    pub fn stored_rows(&self) -> u64 {
        self.stored_rows
    }

    /// Forgets what is too old at `log_time_ms`, and the oldest where there is too much, before an entry at `index`.
    ///
    /// Only between entries: what one entry wrote is never partly forgotten.
    pub(crate) fn begin_entry(&mut self, index: u64, log_time_ms: i64) {
        let mut rows = self.remembered_rows();
        while let Some(oldest) = self.buckets.first() {
            let end = oldest
                .first_ms
                .saturating_add(REQUEST_BUCKET_MS)
                .saturating_add(REQUEST_WINDOW_MS);
            if end > log_time_ms && rows <= REQUEST_ROWS_MAX {
                break;
            }
            rows -= oldest.rows;
            if oldest.rows > 0 {
                self.session_floor_ms = self.session_floor_ms.max(oldest.opened_ms);
            }
            self.buckets.remove(0);
            self.floor = self.buckets.first().map_or(index, |next| next.first_index);
        }
        let (after, rows_max) = match self.by_bucket_after {
            0 => (0, SCATTERED_BUCKET_ROWS_MAX),
            after => (after, REQUEST_BUCKET_ROWS_MAX),
        };
        let full = |last: &Bucket| {
            last.first_ms.saturating_add(REQUEST_BUCKET_MS) <= log_time_ms
                || last.rows >= rows_max
                || last.first_index <= after
        };
        if self.buckets.last().is_none_or(full) {
            let bucket = Bucket {
                first_index: index,
                first_ms: log_time_ms,
                rows: 0,
                opened_ms: 0,
            };
            match self.buckets.last_mut() {
                // An empty bucket would only be one more to keep.
                Some(last) if last.rows == 0 => *last = bucket,
                _ => self.buckets.push(bucket),
            }
        }
        self.work = self.work.saturating_add(1);
    }

    /// Counts a row written by the present entry in the place of one of revision `replaced`, if there was one; for
    /// a session with when that was opened.
    pub(crate) fn wrote_row(&mut self, replaced: Option<u64>, opened_ms: Option<i64>) {
        if let Some(revision) = replaced.filter(|revision| self.remembers(*revision)) {
            // It counts where it is now.
            let after = self
                .buckets
                .partition_point(|bucket| bucket.first_index <= revision);
            if let Some(bucket) = after.checked_sub(1).and_then(|at| self.buckets.get_mut(at)) {
                bucket.rows = bucket.rows.saturating_sub(1);
            }
        }
        if let Some(bucket) = self.buckets.last_mut() {
            bucket.rows += 1;
            bucket.opened_ms = bucket.opened_ms.max(opened_ms.unwrap_or(0));
        }
        self.stored_rows += u64::from(replaced.is_none());
        self.work = self.work.saturating_add(1);
    }

    /// From the next entry on the rows of a bucket stand together. `index` is that of the present entry.
    pub(crate) fn keep_by_bucket(&mut self, index: u64) {
        if self.by_bucket_after == 0 {
            self.by_bucket_after = index;
        }
    }

    /// The buckets that count and whose rows stand together, newest first, each by the index of its first entry.
    pub fn buckets_together(&self) -> impl Iterator<Item = u64> {
        let together =
            |bucket: &&Bucket| self.by_bucket_after != 0 && bucket.first_index > self.by_bucket_after;
        self.buckets
            .iter()
            .rev()
            .take_while(together)
            .map(|bucket| bucket.first_index)
    }

    /// The bucket that takes the rows of the present entry, if its rows stand together.
    pub(crate) fn bucket(&self) -> Option<u64> {
        self.buckets_together().next()
    }

    /// Whether a row that counts may stand by its id alone, though it is of no session.
    pub(crate) fn has_scattered(&self) -> bool {
        let first = self.buckets.first();
        self.by_bucket_after == 0 || first.is_some_and(|first| first.first_index <= self.by_bucket_after)
    }

    /// Of the rows that stand together: the last one that was removed, and the first bucket that still counts.
    pub(crate) fn forgotten_together(&self) -> (&Bytes, u64) {
        (&self.by_bucket_cursor, self.floor)
    }

    /// Records how many rows that stand together were removed, and the last of them.
    pub(crate) fn removed_together(&mut self, last: Bytes, removed: u64) {
        self.by_bucket_cursor = last;
        self.stored_rows = self.stored_rows.saturating_sub(removed);
    }

    /// Where the next page of the sweep begins, if it is time for one: behind this key.
    pub(crate) fn next_sweep(&mut self) -> Option<Bytes> {
        if self.stored_rows <= self.remembered_rows() {
            self.work = 0;
            return None;
        }
        self.work = self.work.checked_sub(REQUEST_SWEEP_EVERY)?;
        Some(self.cursor.clone())
    }

    /// Records how far a page came (empty: the round is over) and how many rows it removed.
    pub(crate) fn swept(&mut self, cursor: Bytes, removed: u64) {
        self.cursor = cursor;
        self.stored_rows = self.stored_rows.saturating_sub(removed);
    }

    /// Its stored form.
    pub(crate) fn to_proto(&self) -> pb::RequestWindow {
        let buckets = self.buckets.iter().map(|bucket| pb::RequestBucket {
            first_index: bucket.first_index,
            first_ms: bucket.first_ms,
            rows: bucket.rows,
            opened_ms: bucket.opened_ms,
        });
        pb::RequestWindow {
            floor: self.floor,
            buckets: buckets.collect(),
            stored_rows: self.stored_rows,
            cursor: self.cursor.clone(),
            work: self.work,
            session_floor_ms: self.session_floor_ms,
            by_bucket_after: self.by_bucket_after,
            by_bucket_cursor: self.by_bucket_cursor.clone(),
        }
    }

    /// From its stored form; `None` where that contradicts itself.
    pub(crate) fn from_proto(stored: &pb::RequestWindow) -> Option<Self> {
        let mut rows: u64 = 0;
        for bucket in &stored.buckets {
            rows = rows.checked_add(bucket.rows)?;
        }
        let ordered = stored
            .buckets
            .windows(2)
            .all(|pair| pair[0].first_index < pair[1].first_index);
        let above_floor = stored
            .buckets
            .first()
            .is_none_or(|first| first.first_index >= stored.floor);
        if rows > stored.stored_rows || !ordered || !above_floor {
            return None;
        }
        let buckets = stored.buckets.iter().map(|bucket| Bucket {
            first_index: bucket.first_index,
            first_ms: bucket.first_ms,
            rows: bucket.rows,
            opened_ms: bucket.opened_ms,
        });
        Some(Self {
            floor: stored.floor,
            buckets: buckets.collect(),
            stored_rows: stored.stored_rows,
            cursor: stored.cursor.clone(),
            work: stored.work,
            session_floor_ms: stored.session_floor_ms,
            by_bucket_after: stored.by_bucket_after,
            by_bucket_cursor: stored.by_bucket_cursor.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One entry with `rows` new rows.
    fn entry(window: &mut RequestWindow, index: u64, log_time_ms: i64, rows: u64) {
        window.begin_entry(index, log_time_ms);
        for _ in 0..rows {
            window.wrote_row(None, None);
        }
    }

    #[test]
    fn a_row_counts_for_the_window_and_not_much_longer() {
        let mut window = RequestWindow::default();
        entry(&mut window, 1, 1_000, 1);
        entry(&mut window, 2, 1_000 + REQUEST_WINDOW_MS, 1);
        assert!(window.remembers(1), "at the end of the window");
        entry(&mut window, 3, 1_000 + REQUEST_WINDOW_MS + REQUEST_BUCKET_MS, 1);
        assert!(!window.remembers(1), "a bucket later");
        assert!(window.remembers(2));
        assert_eq!((window.remembered_rows(), window.stored_rows()), (2, 3));
    }

    #[test]
    fn too_many_rows_push_out_the_oldest_bucket_and_never_the_newest() {
        for (together, bucket_rows, buckets_max) in [
            (false, SCATTERED_BUCKET_ROWS_MAX, 20),
            (true, REQUEST_BUCKET_ROWS_MAX, 70),
        ] {
            let mut window = RequestWindow::default();
            if together {
                window.keep_by_bucket(1);
            }
            let mut newest_forgotten = 0;
            for index in 2..=3_001 {
                // All within a second of log time.
                entry(&mut window, index, 5, 1_000);
                assert!(window.remembers(index), "what was just written counts");
                assert!(window.remembered_rows() <= REQUEST_ROWS_MAX + bucket_rows);
                newest_forgotten = window.floor;
            }
            let remembered = window.remembered_rows();
            assert!(remembered > REQUEST_ROWS_MAX - 2 * bucket_rows, "{remembered}");
            assert_eq!(
                remembered,
                (3_001 - newest_forgotten + 1) * 1_000,
                "whole entries"
            );
            assert!(window.buckets.len() < buckets_max);
        }
    }

    #[test]
    fn buckets_from_before_the_rule_stay_as_they_are_until_they_are_forgotten() {
        let mut window = RequestWindow::default();
        entry(&mut window, 1, 0, 3);
        window.keep_by_bucket(2);
        window.keep_by_bucket(3);
        assert_eq!((window.bucket(), window.has_scattered()), (None, true));
        entry(&mut window, 4, 0, 3);
        entry(&mut window, 5, 0, 3);
        assert_eq!((window.bucket(), window.has_scattered()), (Some(4), true));
        entry(&mut window, 6, REQUEST_BUCKET_MS, 3);
        assert_eq!(window.buckets_together().collect::<Vec<_>>(), [6, 4]);
        entry(&mut window, 7, REQUEST_BUCKET_MS + REQUEST_WINDOW_MS, 3);
        assert_eq!(window.buckets_together().collect::<Vec<_>>(), [7, 6]);
        assert!(!window.has_scattered());
    }

    #[test]
    fn quiet_hours_keep_one_empty_bucket() {
        let mut window = RequestWindow::default();
        for minute in 0..600 {
            entry(
                &mut window,
                minute + 1,
                i64::try_from(minute).unwrap() * 60_000,
                0,
            );
        }
        assert_eq!(window.buckets.len(), 1);
    }

    #[test]
    fn the_ends_of_time_do_no_harm() {
        let mut window = RequestWindow::default();
        entry(&mut window, 1, i64::MIN, 1);
        entry(&mut window, 2, i64::MAX, 1);
        entry(&mut window, 3, i64::MAX, 1);
        assert!(!window.remembers(1));
    }

    #[test]
    fn stored_form_round_trips_and_contradictions_are_refused() {
        let mut window = RequestWindow::default();
        for index in 1..100 {
            entry(
                &mut window,
                index,
                20_000 * i64::try_from(index).unwrap(),
                index % 3,
            );
        }
        window.swept(Bytes::from_static(b"x"), 1);
        window.keep_by_bucket(100);
        window.removed_together(Bytes::from_static(b"y"), 1);
        let stored = window.to_proto();
        assert_eq!(RequestWindow::from_proto(&stored), Some(window));
        let few = pb::RequestWindow {
            stored_rows: 1,
            ..stored.clone()
        };
        assert_eq!(RequestWindow::from_proto(&few), None);
        let high = pb::RequestWindow {
            floor: 1_000,
            ..stored
        };
        assert_eq!(RequestWindow::from_proto(&high), None);
    }
}
