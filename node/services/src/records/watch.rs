//! `records.watch`: the changes of one routing key, or of its whole shard, in commit order.
//!
//! As an operation it only answers where the shard stands, which is where "from now on" begins. The changes themselves
//! come from a replica's feed; how one of its entries looks to a caller is said here.

use bytes::Bytes;
use spine_proto::ids::RoutingKey;
use spine_proto::records::v1::{Change, RecordKey, WatchRequest, WatchResponse};
use spine_statemachine::key::{self, Family, SubjectKey};
use spine_statemachine::store::{Key, OrderedRead, ReadError, Record};

use super::{KIND, PERMISSION_READ, answer};
use crate::context::Context;
use crate::error::SpineError;
use crate::failure::Failure;
use crate::ids;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::view::View;

/// See the module.
pub struct Watch;

impl Operation for Watch {
    const NAME: &'static str = "records.watch";
    const PERMISSION: &'static str = PERMISSION_READ;
    const WRITES: bool = false;
    type Request = WatchRequest;
    type Response = WatchResponse;

    fn routing_key(request: &WatchRequest) -> Result<RoutingKey, Failure> {
        ids::routing_key("routing_key", &request.routing_key)
    }

    fn call_id(_: &WatchRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(_: &mut View<'_>, request: &WatchRequest, _: &Context) -> Result<Plan, Failure> {
        Self::routing_key(request).map(|_| Plan::read())
    }

    fn respond(
        _: &dyn OrderedRead,
        _: &WatchRequest,
        completed: &Completed,
        _: &Context,
    ) -> Result<WatchResponse, Failure> {
        Ok(progress(completed.index))
    }
}

/// Everything up to `index` was shown.
#[must_use]
pub fn progress(index: u64) -> WatchResponse {
    WatchResponse {
        index,
        changes: Vec::new(),
    }
}

/// What all keys that a watch asks for begin with.
///
/// # Errors
/// `MALFORMED_KEY`
pub fn prefix(subject_key: &SubjectKey, request: &WatchRequest) -> Result<Bytes, SpineError> {
    let routing_key = Watch::routing_key(request)?;
    Ok(if request.whole_shard {
        Bytes::from_static(&[Family::Records as u8])
    } else {
        key::encode(Family::Records, subject_key, &routing_key, KIND, &[])
    })
}

/// The changes of one log entry as callers see them: of the keys with this prefix, whatever else it changed.
///
/// # Errors
/// `STORE_DAMAGED` where a key or a record is not what was written.
pub fn event<'a>(
    subject_key: &SubjectKey,
    prefix: &[u8],
    index: u64,
    changes: impl Iterator<Item = (&'a Key, Option<&'a Record>)>,
) -> Result<WatchResponse, SpineError> {
    let asked_for = changes.filter(|(key, _)| key.starts_with(prefix));
    let changes = asked_for.map(|(key, record)| change(subject_key, key, record));
    Ok(WatchResponse {
        index,
        changes: changes.collect::<Result<_, Failure>>()?,
    })
}

fn change(subject_key: &SubjectKey, key: &Key, record: Option<&Record>) -> Result<Change, Failure> {
    let unreadable = || ReadError("key of another form".to_owned());
    let parts = key::parse(key).ok_or_else(unreadable)?;
    let suffix = key::suffix_of(key).ok_or_else(unreadable)?;
    let routing_key = subject_key.routing_key(&parts.subject).ok_or_else(unreadable)?;
    let record = record
        .map(|record| answer(&routing_key, suffix.clone(), record))
        .transpose()?;
    Ok(Change {
        key: Some(RecordKey {
            routing_key: routing_key.expose().to_owned(),
            suffix,
        }),
        record,
    })
}

#[cfg(test)]
mod tests {
    use spine_statemachine::frame;

    use super::*;
    use crate::records::SCHEMA;

    fn request(whole_shard: bool) -> WatchRequest {
        WatchRequest {
            routing_key: "abc".to_owned(),
            from_index: 1,
            whole_shard,
        }
    }

    fn key_of(subjects: &SubjectKey, routing_key: &str, suffix: &[u8]) -> Bytes {
        let routing_key = RoutingKey::parse(routing_key).unwrap();
        key::encode(Family::Records, subjects, &routing_key, KIND, suffix)
    }

    #[test]
    fn a_watch_asks_for_its_own_records_and_nothing_else() {
        let subjects = SubjectKey::new([3; 16]);
        let (own, other) = (key_of(&subjects, "abc", b"s"), key_of(&subjects, "abd", b"s"));
        let one = prefix(&subjects, &request(false)).unwrap();
        let all = prefix(&subjects, &request(true)).unwrap();
        assert!(own.starts_with(&one) && !other.starts_with(&one));
        assert!(own.starts_with(&all) && other.starts_with(&all));
        let routing_key = RoutingKey::parse("abc").unwrap();
        for family in [
            Family::System,
            Family::Meta,
            Family::Request,
            Family::Pds,
            Family::Stream,
        ] {
            let key = key::encode(family, &subjects, &routing_key, KIND, b"s");
            assert!(!key.starts_with(&one) && !key.starts_with(&all), "{family:?}");
        }
        let nameless = WatchRequest::default();
        assert_eq!(prefix(&subjects, &nameless).unwrap_err().reason, "MALFORMED_KEY");
    }

    #[test]
    fn an_entry_is_shown_with_plain_keys_and_values_or_not_at_all() {
        let subjects = SubjectKey::new([3; 16]);
        let (one, two) = (key_of(&subjects, "abc", b"s"), key_of(&subjects, "abd", b""));
        let mut record = Record {
            schema: SCHEMA,
            revision: 9,
            value: frame::encode(b"value"),
        };
        let all = prefix(&subjects, &request(true)).unwrap();
        let shown = event(
            &subjects,
            &all,
            9,
            [(&one, Some(&record)), (&two, None)].into_iter(),
        )
        .unwrap();
        let [put, removed] = &shown.changes[..] else {
            panic!()
        };
        let (key, value) = (put.key.as_ref().unwrap(), put.record.as_ref().unwrap());
        assert_eq!(
            (shown.index, &*key.routing_key, &key.suffix[..]),
            (9, "abc", &b"s"[..])
        );
        assert_eq!((value.revision, &value.value[..]), (9, &b"value"[..]));
        assert_eq!(removed.key.as_ref().unwrap().routing_key, "abd");
        assert!(removed.record.is_none());
        let own = prefix(&subjects, &request(false)).unwrap();
        let shown = event(&subjects, &own, 9, [(&one, None), (&two, None)].into_iter()).unwrap();
        assert_eq!(shown.changes.len(), 1, "one entry may change keys of others too");
        record.value = Bytes::from_static(b"no frame of ours");
        let damaged = event(&subjects, &all, 9, [(&one, Some(&record))].into_iter());
        assert_eq!(damaged.err().unwrap().reason, "STORE_DAMAGED");
    }
}
