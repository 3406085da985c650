//! What a plan reads, remembered: the reads of a plan become the guards of its transaction.

use spine_proto::storage::v1::{Absent, Guard, RangeUnchanged, RevisionIs, guard};
use spine_statemachine::Rule;
use spine_statemachine::key::successor;
use spine_statemachine::limits::RANGE_RECORDS_MAX;
use spine_statemachine::store::{Key, OrderedRead, Record};

use crate::error::ErrorKind;
use crate::failure::Failure;
use crate::reason;

/// Ordered reads, exact at one applied index, that remember what was read.
pub struct View<'a> {
    records: &'a dyn OrderedRead,
    guards: Vec<Guard>,
    level: u32,
}

impl<'a> View<'a> {
    /// A view of `records` on which nothing has been read, of a shard that follows the oldest rules.
    pub fn new(records: &'a dyn OrderedRead) -> Self {
        Self {
            records,
            guards: Vec::new(),
            level: 0,
        }
    }

    /// Of a shard that follows the rules of this level.
    #[must_use]
    pub fn at_level(mut self, level: u32) -> Self {
        self.level = level;
        self
    }

    /// Whether a rule is in force. No guard is needed: a level never goes down.
    pub fn follows(&self, rule: Rule) -> bool {
        rule.holds_at(self.level)
    }

    /// Refuses what leaders of an older release would misread.
    ///
    /// # Errors
    /// `LEVEL_TOO_LOW` while the rule is not in force.
    pub fn requires(&self, rule: Rule) -> Result<(), Failure> {
        if self.follows(rule) {
            return Ok(());
        }
        Err(Failure::refused(
            ErrorKind::Unsupported,
            reason::LEVEL_TOO_LOW,
            "",
            format!(
                "requires level {}, and the shard is at level {}: the upgrade is not finalized",
                rule.since(),
                self.level
            ),
        ))
    }

    /// The record at `key`.
    ///
    /// # Errors
    /// [`Failure::Read`] where the store cannot be read.
    pub fn get(&mut self, key: &Key) -> Result<Option<Record>, Failure> {
        let record = self.records.get(key)?;
        let kind = match &record {
            Some(record) => guard::Kind::RevisionIs(RevisionIs {
                key: key.clone(),
                revision: record.revision,
            }),
            None => guard::Kind::Absent(Absent { key: key.clone() }),
        };
        self.remember(kind);
        Ok(record)
    }

    /// The records themselves: what is read there is not guarded, so only what never changes may decide a plan,
    /// or what changes only along with something that was read under a guard.
    pub fn records(&self) -> &'a dyn OrderedRead {
        self.records
    }

    /// All records whose key begins with `prefix`, in key order.
    ///
    /// # Errors
    /// [`Failure::Read`] where the store cannot be read; a refusal where there are more than a guard may cover.
    pub fn range(&mut self, prefix: &Key) -> Result<Vec<(Key, Record)>, Failure> {
        let end = successor(prefix);
        let records = self.records.range(prefix, &end, RANGE_RECORDS_MAX + 1)?;
        if records.len() > RANGE_RECORDS_MAX {
            return Err(Failure::refused(
                ErrorKind::Invalid,
                reason::RANGE_TOO_LARGE,
                "",
                format!("more than {RANGE_RECORDS_MAX} records would have to be guarded"),
            ));
        }
        let max_revision = records
            .iter()
            .map(|(_, record)| record.revision)
            .max()
            .unwrap_or(0);
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        self.remember(guard::Kind::RangeUnchanged(RangeUnchanged {
            prefix: prefix.clone(),
            count,
            max_revision,
        }));
        Ok(records)
    }

    fn remember(&mut self, kind: guard::Kind) {
        let guard = Guard { kind: Some(kind) };
        if !self.guards.contains(&guard) {
            self.guards.push(guard);
        }
    }

    /// Whether nothing has been read: a refusal on such a view is about the request alone and needs no barrier.
    pub fn is_untouched(&self) -> bool {
        self.guards.is_empty()
    }

    /// The guards under which everything read still holds.
    pub fn into_guards(self) -> Vec<Guard> {
        self.guards
    }
}
