//! Freeing old segments: the oldest goes when nothing in it is needed; where a few records of quiet groups keep it,
//! they are written again at the end of the log.
//!
//! Disk space stays below twice what is live plus [`SLACK_SEGMENTS`], so what is moved is bounded by what is written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use spine_mutants::mutant;

use super::command::NewEntry;
use super::record::{self, Facts, Kind};
use super::shared::{Source, add};
use super::writer::{Staged, WriteError, Writer};
use crate::ids::LogId;

/// Segments in use beyond twice the live bytes before anything is moved.
pub(super) const SLACK_SEGMENTS: u64 = 4;
/// Bytes moved after a batch, beside as many as the batch had.
const RELOCATE_STEP_BYTES: u64 = 1024 * 1024;
/// Segments retired after a batch: each costs a sync of the directory.
const RETIRE_STEP_SEGMENTS: usize = 8;
/// Bytes of a state record, at most.
const STATE_BYTES_MAX: u64 = 3 + 17 + 24 + 24;

/// What moved, to be published once it is durable.
struct Moved {
    group: u64,
    staged: Vec<Staged>,
}

/// Why a group's entries cannot be moved now.
enum Unmovable {
    /// A truncation or purge of them is queued; soon they need not move.
    Changing,
    Damaged(io::Error),
}

impl Writer {
    /// Frees what can be freed after a batch of `batch_bytes`. Only while everything written is durable: otherwise a
    /// segment could go on the word of a record that a power cut takes back.
    pub(super) fn collect(&mut self, batch_bytes: u64) -> Result<(), WriteError> {
        if !self.is_synced() && !mutant!("freed-before-purge-is-durable") {
            return Ok(());
        }
        self.retire_dead()?;
        let mut budget_bytes = RELOCATE_STEP_BYTES + batch_bytes;
        while budget_bytes > 0 && self.segments_in_use() > self.segments_max() {
            let moved_bytes = self.relocate_from_oldest(budget_bytes)?;
            if moved_bytes == 0 {
                break;
            }
            budget_bytes = budget_bytes.saturating_sub(moved_bytes);
            self.retire_dead()?;
        }
        Ok(())
    }

    fn segments_in_use(&self) -> u64 {
        self.shared.segments.lock().len() as u64
    }

    fn segments_max(&self) -> u64 {
        let live_bytes = self.shared.live_bytes.load(Ordering::Relaxed);
        2 * live_bytes.div_ceil(self.preparer.usable_bytes()) + SLACK_SEGMENTS
    }

    fn oldest_segment(&self) -> u64 {
        self.shared
            .segments
            .lock()
            .keys()
            .next()
            .copied()
            .unwrap_or(self.active.segment)
    }

    /// Lets go of the oldest segments while nothing in them is needed.
    fn retire_dead(&mut self) -> Result<(), WriteError> {
        for _ in 0..RETIRE_STEP_SEGMENTS {
            let oldest = self.oldest_segment();
            if oldest == self.active.segment || self.live.oldest().is_some_and(|needed| needed <= oldest) {
                return Ok(());
            }
            let file = self.shared.segments.lock().remove(&oldest);
            // Readers hold the file if they found an entry in it just before that entry was dropped.
            let reusable = file.is_some_and(|file| Arc::strong_count(&file) == 1);
            self.preparer.retire(oldest, reusable)?;
        }
        Ok(())
    }

    /// Moves records out of the oldest segment; returns their bytes, 0 if nothing could be moved now.
    fn relocate_from_oldest(&mut self, budget_bytes: u64) -> Result<u64, WriteError> {
        let oldest = self.oldest_segment();
        if oldest == self.active.segment {
            return Ok(0);
        }
        let groups: Vec<u64> = self
            .live
            .groups
            .iter()
            .filter(|(_, live)| live.segments().any(|segment| segment == oldest))
            .map(|(group, _)| *group)
            .collect();
        let mut moved = Vec::new();
        let mut moved_bytes = 0;
        for group in groups {
            if moved_bytes >= budget_bytes {
                break;
            }
            match self.relocate_group(group, oldest, budget_bytes - moved_bytes, &mut moved) {
                Ok(bytes) => moved_bytes += bytes,
                // What was put is still good; the rest waits for room.
                Err(WriteError::Full) => break,
                Err(error) => return Err(error),
            }
        }
        self.sync()?;
        for Moved { group, staged } in &moved {
            self.publish_moved(*group, staged);
        }
        add(&self.shared.counts.relocated_bytes, moved_bytes);
        Ok(moved_bytes)
    }

    fn relocate_group(
        &mut self,
        group: u64,
        oldest: u64,
        budget_bytes: u64,
        moved: &mut Vec<Moved>,
    ) -> Result<u64, WriteError> {
        let mut bytes = self.relocate_facts(group, oldest)?;
        let mut next = 0;
        while bytes < budget_bytes {
            let run = self
                .live
                .groups
                .get(&group)
                .and_then(|live| live.first_run_in_from(oldest, next));
            let Some((first, last)) = run else { break };
            let entries = match self.read_run(group, oldest, first, last) {
                Ok(entries) => entries,
                Err(Unmovable::Changing) => break,
                Err(Unmovable::Damaged(error)) => {
                    // The entries are on the other replicas. Nothing is lost by keeping the segment; readers of these
                    // entries get the same error and the replica is replaced.
                    tracing::error!(group, segment = oldest, %error, "damaged entries keep a segment of the log");
                    break;
                }
            };
            let staged = self.put_entries(group, Kind::Relocated, &entries)?;
            bytes += entries
                .iter()
                .map(|entry| entry.bytes.len() as u64 + 1)
                .sum::<u64>();
            next = entries.last().map_or(u64::MAX, |entry| entry.id.index + 1);
            moved.push(Moved { group, staged });
        }
        Ok(bytes)
    }

    /// Writes a group's facts again if one of them is in the oldest segment.
    fn relocate_facts(&mut self, group: u64, oldest: u64) -> Result<u64, WriteError> {
        let Some(live) = self.live.groups.get(&group) else {
            return Ok(0);
        };
        if !live.has_facts_in(oldest) {
            return Ok(0);
        }
        let facts = Facts {
            vote: live.vote.map(|(vote, _)| vote),
            committed: live.committed.map(|(id, _)| id),
            purged: live.purged.map(|(id, _)| id),
        };
        self.put(group, Kind::State, STATE_BYTES_MAX, |buffer| {
            record::put_facts(buffer, &facts);
        })?;
        let segment = self.active.segment;
        self.live.created(group, segment);
        if let Some(vote) = facts.vote {
            self.live.vote(group, vote, segment);
        }
        if let Some(id) = facts.committed {
            self.live.committed(group, id, segment);
        }
        if let Some(id) = facts.purged {
            self.live.purged(group, id, segment);
        }
        Ok(STATE_BYTES_MAX)
    }

    /// Reads entries from `first` that stand in `segment`, at most a frame's worth and at least one.
    fn read_run(&self, group: u64, segment: u64, first: u64, last: u64) -> Result<Vec<NewEntry>, Unmovable> {
        let chunk_bytes = self.shared.options.chunk_bytes();
        let group = self.shared.group(group);
        let index = group.lock();
        let mut sources: Vec<(LogId, u64, Source)> = Vec::new();
        let mut bytes = 0;
        for at in first..=last {
            let slot = index.slot(at).ok_or(Unmovable::Changing)?;
            if slot.place.is_none_or(|place| place.segment != segment) {
                return Err(Unmovable::Changing);
            }
            bytes += u64::from(slot.len) + record::ENTRY_HEADER_BYTES;
            if !sources.is_empty() && bytes > chunk_bytes {
                break;
            }
            sources.push((
                slot.id,
                slot.ticket,
                self.shared.source(slot).map_err(Unmovable::Damaged)?,
            ));
        }
        drop(index);
        let read = sources.into_iter().map(|(id, ticket, source)| {
            Ok(NewEntry {
                id,
                ticket,
                bytes: source.read().map_err(Unmovable::Damaged)?,
            })
        });
        read.collect()
    }

    fn publish_moved(&mut self, group: u64, staged: &[Staged]) {
        let (Some(first), Some(last)) = (staged.first(), staged.last()) else {
            return;
        };
        self.live
            .entries(group, first.index, last.index, first.place.segment);
        let index = self.shared.group(group);
        let mut index = index.lock();
        for entry in staged {
            index.place(entry.index, entry.ticket, entry.place);
        }
    }
}
