//! Rows of sessions while one entry is applied: each is read once and written once, however many calls it takes in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use spine_proto::storage::v1::{RequestKey, SessionRow, SessionSequence};

use crate::memo::SessionMemo;
use crate::request::{self, Seen};
use crate::session;
use crate::state::SystemState;
use crate::store::{OrderedRead, ReadError};
use crate::window::RequestWindow;

/// The rows that the present entry has looked at.
#[derive(Default)]
pub(crate) struct SessionRows(BTreeMap<Bytes, Open>);

struct Open {
    /// Without one that counts: `None`.
    row: Option<SessionRow>,
    /// Of that row in the store.
    revision: u64,
    /// Once the entry has changed the row: when its session was opened.
    changed: Option<i64>,
}

/// A row to write.
pub(crate) struct Changed {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) opened_ms: i64,
}

impl SessionRows {
    /// What is remembered of a call, those before it in the entry included.
    pub(crate) fn look(
        &mut self,
        store: &(impl OrderedRead + ?Sized),
        state: &mut SystemState,
        key: &RequestKey,
        call: &SessionSequence,
    ) -> Result<Seen, ReadError> {
        let open = self.open(store, state, key)?;
        Ok(session::seen(open.row.as_ref(), &state.requests, key, call))
    }

    /// Remembers a call that took effect at `revision`.
    pub(crate) fn remember(
        &mut self,
        store: &(impl OrderedRead + ?Sized),
        state: &mut SystemState,
        key: &RequestKey,
        call: &SessionSequence,
        done: (u64, Bytes),
    ) -> Result<(), ReadError> {
        let open = self.open(store, state, key)?;
        session::add(open.row.get_or_insert_default(), key, call, done);
        open.changed = open.changed.max(Some(call.opened_ms));
        Ok(())
    }

    /// The rows that the entry at `index` has changed, by key; afterwards none are open, and `memo` has them all.
    pub(crate) fn end_entry(&mut self, memo: &mut SessionMemo, index: u64) -> Vec<Changed> {
        let mut written = Vec::new();
        for (key, open) in std::mem::take(&mut self.0) {
            let Some(row) = open.row else { continue };
            let mut revision = open.revision;
            if let Some(opened_ms) = open.changed {
                revision = index;
                written.push(Changed {
                    key: key.clone(),
                    value: session::row_value(&row),
                    opened_ms,
                });
            }
            memo.keep(key, revision, row);
        }
        written
    }

    fn open(
        &mut self,
        store: &(impl OrderedRead + ?Sized),
        state: &mut SystemState,
        key: &RequestKey,
    ) -> Result<&mut Open, ReadError> {
        let place = match self.0.entry(request::scattered_key(key)) {
            Entry::Occupied(open) => return Ok(open.into_mut()),
            Entry::Vacant(place) => place,
        };
        let known = match state.memo.sessions.take(place.key(), &state.requests) {
            Some(known) => known,
            None => read(store, &state.requests, place.key())?,
        };
        let (revision, row) = known.unzip();
        Ok(place.insert(Open {
            row,
            revision: revision.unwrap_or(0),
            changed: None,
        }))
    }
}

/// The row at a key, if it counts, with its revision.
fn read(
    store: &(impl OrderedRead + ?Sized),
    window: &RequestWindow,
    key: &[u8],
) -> Result<Option<(u64, SessionRow)>, ReadError> {
    let record = store.get(key)?.filter(|record| window.remembers(record.revision));
    let row = record.map(|record| Ok((record.revision, session::parse(&record)?)));
    row.transpose()
}
