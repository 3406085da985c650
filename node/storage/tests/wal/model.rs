//! What a log must hold after a crash: exactly what it held after some number of operations, in their one order over
//! all groups, and no fewer than were acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spine_storage::ids::{LogId, Vote};
use spine_storage::wal::{Done, Wal};

use crate::support::{check_whole, entries, id, vote};

/// One thing asked of a group.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create,
    /// As many entries behind the last one, of this many bytes each.
    Append {
        count: u64,
        len: usize,
    },
    Vote,
    Committed,
    /// Forget this many entries at the end.
    Truncate(u64),
    /// Forget this many entries at the front.
    Purge(u64),
    /// A snapshot this far beyond the end.
    PurgeBeyond(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupState {
    exists: bool,
    ids: Vec<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
}

impl GroupState {
    fn last(&self) -> Option<LogId> {
        self.ids.last().copied().or(self.purged)
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}

pub(crate) type State = BTreeMap<u64, GroupState>;

/// Every state the log went through since it was opened, and which of them are acknowledged.
pub(crate) struct Model {
    states: Vec<State>,
    acknowledged: Arc<AtomicUsize>,
    term: u64,
}

impl Model {
    pub(crate) fn new(groups: std::ops::RangeInclusive<u64>) -> Self {
        let state: State = groups.map(|group| (group, GroupState::default())).collect();
        Self {
            states: vec![state],
            acknowledged: Arc::default(),
            term: 1,
        }
    }

    pub(crate) fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    /// Notes a change and returns the callback that acknowledges it.
    fn push(&mut self, group: u64, change: impl FnOnce(&mut GroupState)) -> Done {
        let mut state = self.now().clone();
        change(state.get_mut(&group).unwrap());
        self.states.push(state);
        let number = self.states.len() - 1;
        let acknowledged = Arc::clone(&self.acknowledged);
        Box::new(move |result| {
            if result.is_ok() {
                let before = acknowledged.fetch_max(number, Ordering::SeqCst);
                assert!(before <= number, "acknowledged out of order");
            }
        })
    }

    /// Asks the log for it; `false` once the log has stopped.
    pub(crate) async fn run(&mut self, wal: &Wal, group: u64, op: &Op) -> bool {
        let log = wal.group(group);
        self.term += 1;
        let term = self.term;
        let state = self.now()[&group].clone();
        let result = match op {
            Op::Create => {
                let done = self.push(group, |state| state.exists = true);
                let result = log.create().await;
                done(match &result {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.kind().into()),
                });
                result
            }
            Op::Append { count, len } => {
                let first = state.last().map_or(1, |id| id.index + 1);
                let new = entries(term, first..=first + count - 1, *len);
                let mut done: Option<Done> = None;
                for (id, _) in &new {
                    // Some frames of it may be there although it was never acknowledged as a whole.
                    done = Some(self.push(group, |state| state.ids.push(*id)));
                }
                log.append(new, done.unwrap()).await
            }
            Op::Vote => {
                let done = self.push(group, |state| state.vote = Some(vote(term)));
                log.save_vote(vote(term), done).await
            }
            Op::Committed => {
                let Some(last) = state.last() else { return true };
                drop(self.push(group, |state| state.committed = Some(last)));
                log.save_committed(last).await
            }
            Op::Truncate(count) => {
                let keep = state.ids.len().saturating_sub(usize::try_from(*count).unwrap());
                let keep_id = keep.checked_sub(1).map(|at| state.ids[at]);
                drop(self.push(group, |state| state.ids.truncate(keep)));
                log.truncate_after(keep_id).await
            }
            Op::Purge(count) => {
                let Some(upto) = usize::try_from(*count)
                    .unwrap()
                    .checked_sub(1)
                    .and_then(|at| state.ids.get(at))
                else {
                    return true;
                };
                self.purge(group, *upto);
                log.purge(*upto).await
            }
            Op::PurgeBeyond(distance) => {
                let upto = id(term, state.last().map_or(0, |id| id.index) + distance);
                self.purge(group, upto);
                log.purge(upto).await
            }
        };
        result.is_ok()
    }

    fn purge(&mut self, group: u64, upto: LogId) {
        drop(self.push(group, |state| {
            state.ids.retain(|id| id.index > upto.index);
            state.purged = Some(upto);
        }));
    }

    /// Checks a log opened after a crash; goes on from what it holds.
    pub(crate) fn recovered(&mut self, wal: &Wal) {
        let found: State = self
            .now()
            .keys()
            .map(|group| (*group, look(wal, *group)))
            .collect();
        let acknowledged = self.acknowledged.swap(0, Ordering::SeqCst);
        let allowed = &self.states[acknowledged..];
        assert!(
            allowed
                .iter()
                .any(|state| uncommitted(state) == uncommitted(&found)),
            "the log holds {found:?}\nwhich is none of the {} states since the last acknowledged one, {:?}",
            allowed.len(),
            allowed[0]
        );
        for (group, state) in &found {
            let known = self
                .states
                .iter()
                .any(|then| then[group].committed == state.committed);
            assert!(known, "group {group} never had {:?} committed", state.committed);
        }
        self.states = vec![found];
    }

    /// Checks a log that was closed, or is running: everything is there.
    pub(crate) fn check_now(&self, wal: &Wal) {
        for (group, state) in self.now() {
            assert_eq!(&look(wal, *group), state, "group {group}");
        }
    }
}

fn look(wal: &Wal, group: u64) -> GroupState {
    let log = wal.group(group);
    GroupState {
        exists: log.exists(),
        ids: if log.purged().is_some() || log.last().is_some() {
            check_whole(&log)
        } else {
            Vec::new()
        },
        vote: log.vote(),
        committed: log.committed(),
        purged: log.purged(),
    }
}

/// Without what rides along when it can.
fn uncommitted(state: &State) -> State {
    let mut state = state.clone();
    for group in state.values_mut() {
        group.committed = None;
    }
    state
}
