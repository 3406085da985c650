//! Rows of sessions while one entry is applied: each is read once and written once, however many calls it takes in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use spine_proto::storage::v1::{RequestKey, SessionRow, SessionSequence};

use crate::request::{self, Seen};
use crate::session;
use crate::state::SystemState;
use crate::store::{OrderedRead, ReadError};

/// The rows that the present entry has looked at.
#[derive(Default)]
pub(crate) struct SessionRows(BTreeMap<Bytes, Open>);

struct Open {
    /// Without one that counts: `None`.
    row: Option<SessionRow>,
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
        state: &SystemState,
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
        state: &SystemState,
        key: &RequestKey,
        call: &SessionSequence,
        done: (u64, Bytes),
    ) -> Result<(), ReadError> {
        let open = self.open(store, state, key)?;
        session::add(open.row.get_or_insert_default(), key, call, done);
        open.changed = open.changed.max(Some(call.opened_ms));
        Ok(())
    }

    /// The rows that have changed, by key; afterwards none are open.
    pub(crate) fn take_changed(&mut self) -> impl Iterator<Item = Changed> + use<> {
        std::mem::take(&mut self.0).into_iter().filter_map(|(key, open)| {
            Some(Changed {
                key,
                value: session::row_value(open.row.as_ref()?),
                opened_ms: open.changed?,
            })
        })
    }

    fn open(
        &mut self,
        store: &(impl OrderedRead + ?Sized),
        state: &SystemState,
        key: &RequestKey,
    ) -> Result<&mut Open, ReadError> {
        let place = match self.0.entry(request::scattered_key(key)) {
            Entry::Occupied(open) => return Ok(open.into_mut()),
            Entry::Vacant(place) => place,
        };
        let record = store
            .get(place.key())?
            .filter(|record| state.requests.remembers(record.revision));
        let row = record.as_ref().map(session::parse).transpose()?;
        Ok(place.insert(Open { row, changed: None }))
    }
}
