//! The effects file: everything a checkpoint is about to write into the engine, and the state it makes.
//!
//! Frames in key order, then one frame with the state and the count. It may be applied any number of times.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use spine_proto::storage::v1;

use super::ReplicaError;
use super::codec::encode_record;
use super::delta::Delta;
use crate::engine::{Change, Engine, read_frames, write_frame};

/// Sorts before every record: families begin at 1.
const ENGINE_MARK_KEY: &[u8] = &[0];
/// No record sorts before it; scans of an engine begin here.
pub(crate) const FIRST_RECORD_KEY: &[u8] = &[1];

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const END: u8 = 3;

/// Changes given to the engine at once.
pub(crate) const WRITE_SLICE_CHANGES: usize = 512;

/// Encodes a frozen delta and the state it leads to.
pub(crate) fn encode(delta: &Delta, state: &v1::ReplicaState) -> Vec<u8> {
    let mut file = Vec::with_capacity(delta.bytes());
    let mut content = Vec::new();
    for (key, change) in delta.slice_after(None, usize::MAX) {
        content.clear();
        content.put_u8(if change.is_some() { PUT } else { REMOVE });
        content.put_u32_le(u32::try_from(key.len()).expect("keys are at most a few hundred bytes"));
        content.put_slice(key);
        if let Some(record) = change {
            content.put_slice(&encode_record(record));
        }
        write_frame(&mut file, &content);
    }
    content.clear();
    content.put_u8(END);
    content.put_u64_le(u64::try_from(delta.len()).expect("a count fits 64 bits"));
    content.put_slice(&state.encode_to_vec());
    write_frame(&mut file, &content);
    file
}

/// A parsed effects file.
pub(crate) struct Effects {
    pub(crate) changes: Vec<Change>,
    pub(crate) state: v1::ReplicaState,
}

/// Reads [`encode`]. Every byte must be sound: the file was durable before it got its name.
pub(crate) fn decode(file: &[u8]) -> Result<Effects, ReplicaError> {
    let mut changes: Vec<Change> = Vec::new();
    let mut end = None;
    let used = read_frames(file, |content| {
        if end.is_some() {
            return Err(damaged("content after the end"));
        }
        match parse_frame(content)? {
            Parsed::Change(change) => {
                if changes.last().is_some_and(|(last, _)| *last >= change.0) {
                    return Err(damaged("keys out of order"));
                }
                changes.push(change);
            }
            Parsed::End(count, state) => end = Some((count, *state)),
        }
        Ok(())
    })?;
    let (count, state) = end.ok_or_else(|| damaged("no end"))?;
    if used != file.len() || count != u64::try_from(changes.len()).unwrap_or(u64::MAX) {
        return Err(damaged("another length"));
    }
    Ok(Effects { changes, state })
}

enum Parsed {
    Change(Change),
    End(u64, Box<v1::ReplicaState>),
}

fn parse_frame(mut content: &[u8]) -> Result<Parsed, ReplicaError> {
    let short = |_| damaged("a short frame");
    match content.try_get_u8().map_err(short)? {
        kind @ (PUT | REMOVE) => {
            let len = content.try_get_u32_le().map_err(short)?;
            let len = usize::try_from(len).map_err(|_| damaged("a key too long"))?;
            let (key, stored) = content
                .split_at_checked(len)
                .ok_or_else(|| damaged("a short frame"))?;
            let stored = (kind == PUT).then(|| Bytes::copy_from_slice(stored));
            Ok(Parsed::Change((Bytes::copy_from_slice(key), stored)))
        }
        END => {
            let count = content.try_get_u64_le().map_err(short)?;
            let state = v1::ReplicaState::decode(content).map_err(|_| damaged("no state"))?;
            Ok(Parsed::End(count, Box::new(state)))
        }
        _ => Err(damaged("an unknown kind")),
    }
}

/// Applies the effects to the engine and makes it durable.
pub(crate) fn redo(effects: &Effects, engine: &dyn Engine) -> Result<(), ReplicaError> {
    for slice in effects.changes.chunks(WRITE_SLICE_CHANGES) {
        engine.write_sorted(slice)?;
    }
    engine.write_sorted(&[engine_mark(&effects.state)])?;
    Ok(engine.sync()?)
}

/// A row of the engine itself that says which state it holds. It is written last, so that an engine which lost its
/// newest synced writes without a word (a damaged journal read as a torn one) is noticed when it opens.
pub(crate) fn engine_mark(state: &v1::ReplicaState) -> Change {
    (
        Bytes::from_static(ENGINE_MARK_KEY),
        Some(state.encode_to_vec().into()),
    )
}

/// Whether the engine says that it holds one of these states.
pub(crate) fn check_engine_mark(
    engine: &dyn Engine,
    states: &[&v1::ReplicaState],
) -> Result<(), ReplicaError> {
    let found = engine.get(ENGINE_MARK_KEY)?;
    if states
        .iter()
        .any(|state| found.as_deref() == Some(&state.encode_to_vec()))
    {
        return Ok(());
    }
    Err(ReplicaError::Damaged(
        "the engine holds another state than its mark says".into(),
    ))
}

/// The next changes of a delta as the engine takes them.
pub(crate) fn slice(delta: &Delta, after: Option<&[u8]>) -> Vec<Change> {
    let changes = delta.slice_after(after, WRITE_SLICE_CHANGES);
    changes
        .map(|(key, change)| (key.clone(), change.as_ref().map(encode_record)))
        .collect()
}

fn damaged(what: &str) -> ReplicaError {
    ReplicaError::Damaged(format!("effects file: {what}"))
}
