//! From the records of a log, in order, to what each group holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::Damage;
use super::frame::{HEADER_BYTES, Header};
use super::index::{GroupIndex, Place, Slot};
use super::live::Live;
use super::record::{Cursor, Facts, Kind};
use super::shared::Group;
use crate::ids::LogId;

#[derive(Default)]
struct ReplayedGroup {
    created: bool,
    facts: Facts,
    /// May have holes on the way: entries moved forward come after their neighbours.
    entries: BTreeMap<u64, (LogId, u32, Place)>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Replay {
    groups: BTreeMap<u64, ReplayedGroup>,
    pub(super) live: Live,
}

/// Where a frame stands.
#[derive(Clone, Copy)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u32,
}

impl Position {
    fn damage(self, reason: &'static str) -> Damage {
        Damage {
            segment: self.segment,
            offset: u64::from(self.offset),
            reason,
        }
    }
}

impl Replay {
    /// Takes in one record.
    pub(super) fn apply(&mut self, at: Position, header: &Header, payload: &[u8]) -> Result<(), Damage> {
        let kind = Kind::from_number(header.kind).ok_or_else(|| at.damage("record of an unknown kind"))?;
        self.apply_kind(at, header.group, kind, payload)
            .ok_or_else(|| at.damage("malformed record"))
    }

    fn apply_kind(&mut self, at: Position, group: u64, kind: Kind, payload: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(payload);
        match kind {
            Kind::Seal | Kind::Checked | Kind::Segment => {}
            Kind::Created => self.created(group, at.segment),
            Kind::Removed => {
                self.groups.remove(&group);
                self.live.removed(group);
            }
            Kind::Vote => {
                let vote = cursor.vote()?;
                self.group(group).facts.vote = Some(vote);
                self.live.vote(group, vote, at.segment);
            }
            Kind::Committed => {
                let id = cursor.log_id()?;
                self.group(group).facts.committed = Some(id);
                self.live.committed(group, id, at.segment);
            }
            Kind::Truncate => {
                let keep = cursor.keep()?;
                self.group(group)
                    .entries
                    .split_off(&keep.map_or(0, |keep| keep.saturating_add(1)));
                self.live.truncated(group, keep);
            }
            Kind::Purge => self.purged(group, cursor.log_id()?, at.segment),
            Kind::Entries | Kind::Relocated => self.entries(at, group, cursor)?,
            Kind::State => {
                let (created, facts) = cursor.state()?;
                if created {
                    self.created(group, at.segment);
                }
                if let Some(id) = facts.purged {
                    self.purged(group, id, at.segment);
                }
                if let Some(vote) = facts.vote {
                    self.live.vote(group, vote, at.segment);
                }
                if let Some(id) = facts.committed {
                    self.live.committed(group, id, at.segment);
                }
                self.group(group).facts = facts;
            }
        }
        Some(())
    }

    fn group(&mut self, group: u64) -> &mut ReplayedGroup {
        self.groups.entry(group).or_default()
    }

    fn created(&mut self, group: u64, segment: u64) {
        self.group(group).created = true;
        self.live.created(group, segment);
    }

    fn purged(&mut self, group: u64, upto: LogId, segment: u64) {
        let state = self.group(group);
        state.entries = state.entries.split_off(&upto.index.saturating_add(1));
        state.facts.purged = Some(upto);
        self.live.purged(group, upto, segment);
    }

    fn entries(&mut self, at: Position, group: u64, mut cursor: Cursor<'_>) -> Option<()> {
        let entries = cursor.entries()?;
        let (first, last) = (entries.first()?.id.index, entries.last()?.id.index);
        let state = self.group(group);
        for entry in entries {
            let offset = at.offset + HEADER_BYTES + u32::try_from(entry.at).ok()?;
            let place = Place {
                segment: at.segment,
                offset,
                crc: crc32c::crc32c(entry.bytes),
            };
            state.entries.insert(
                entry.id.index,
                (entry.id, u32::try_from(entry.bytes.len()).ok()?, place),
            );
        }
        self.live.entries(group, first, last, at.segment);
        Some(())
    }

    /// The groups, if each is whole.
    pub(super) fn finish(self) -> Result<(BTreeMap<u64, Group>, Live), Damage> {
        let mut groups = BTreeMap::new();
        for (group, state) in self.groups {
            groups.insert(group, Arc::new(Mutex::new(state.finish()?)));
        }
        Ok((groups, self.live))
    }
}

impl ReplayedGroup {
    fn finish(self) -> Result<GroupIndex, Damage> {
        let damage = |reason| Damage {
            segment: 0,
            offset: 0,
            reason,
        };
        let mut index = GroupIndex::new(self.created, self.facts);
        for (id, len, place) in self.entries.into_values() {
            // A log that was never purged begins with 0 or 1.
            let follows = index.next_index().map_or(id.index <= 1, |next| next == id.index);
            if !follows {
                return Err(damage("entries are missing"));
            }
            index.push(Slot {
                id,
                ticket: 0,
                len,
                place: Some(place),
                bytes: None,
            });
        }
        Ok(index)
    }
}
