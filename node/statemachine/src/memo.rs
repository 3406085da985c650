//! What apply has read of its store and need not read again for the next entry.
//!
//! Nothing here is state: it is what the store says, kept because nearly every entry asks for it. Only apply writes the
//! rows that it is of, so apply knows when one of them changes; a state that is read anew begins with nothing.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use spine_proto::storage::v1::{SessionRow, SlotRange};

use crate::window::RequestWindow;

/// Rows of sessions that are kept, for each replica. A client has one session, and a node opens none of its own.
const SESSIONS_MAX: usize = 32;
/// A row that remembers more calls is read again.
const SESSION_DONE_MAX: usize = 64;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Memo {
    /// The slots that the shard owns, once read.
    pub(crate) owned: Option<Option<SlotRange>>,
    pub(crate) sessions: SessionMemo,
}

/// Two states are equal whatever is remembered of them.
impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memo({} sessions)", self.sessions.0.len())
    }
}

/// Rows of sessions as they stand in the store, by key, each with its revision.
#[derive(Clone, Default)]
pub(crate) struct SessionMemo(BTreeMap<Bytes, (u64, SessionRow)>);

impl SessionMemo {
    /// Takes the row at a key out: `None` where it is not known, `Some(None)` where it is and counts no more.
    pub(crate) fn take(&mut self, key: &Bytes, window: &RequestWindow) -> Option<Option<(u64, SessionRow)>> {
        let (revision, row) = self.0.remove(key)?;
        Some(window.remembers(revision).then_some((revision, row)))
    }

    /// Keeps what stands at a key.
    pub(crate) fn keep(&mut self, key: Bytes, revision: u64, row: SessionRow) {
        if row.done.len() > SESSION_DONE_MAX {
            return;
        }
        if self.0.len() >= SESSIONS_MAX {
            self.0.clear();
        }
        self.0.insert(key, (revision, row));
    }
}
