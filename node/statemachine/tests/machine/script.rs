//! The little language of `testdata/*.txt`.

use std::fmt::Write as _;

use bytes::Bytes;
use spine_proto::ids::{RoutingKey, Slot};
use spine_proto::storage::v1 as pb;
use spine_statemachine::key::{self, Family, SubjectKey};
use spine_statemachine::limits::FRAME_BYTES_MAX;
use spine_statemachine::store::Record;
use spine_statemachine::{Applied, SubOutcome, chain, frame, guard, txn};

use crate::shard::{Shard, hash16};

pub(crate) fn subject_key() -> SubjectKey {
    SubjectKey::new(*b"a key for tests.")
}

/// `ann/address`, `stream:ann`, `system:name`, `meta:name`, `request:anything`, `slots`, `hex:0102`.
pub(crate) fn key_named(name: &str) -> Bytes {
    let of = |family, text: &str| {
        let (routing, suffix) = text.split_once('/').unwrap_or((text, ""));
        key::encode(
            family,
            &subject_key(),
            &RoutingKey::parse(routing).unwrap(),
            1,
            suffix.as_bytes(),
        )
    };
    match name.split_once(':') {
        Some(("stream", text)) => of(Family::Stream, text),
        Some(("system", text)) => key::system(text.as_bytes()),
        Some(("meta", text)) => key::meta(text.as_bytes()),
        Some(("request", text)) => [&[Family::Request as u8], text.as_bytes()].concat().into(),
        Some(("hex", text)) => unhex(text).into(),
        Some(("long", text)) => [key_named(text).as_ref(), &[b'x'; 300]].concat().into(),
        None if name == "slots" => key::slots_owned(),
        _ => of(Family::Records, name),
    }
}

fn show_key(key: &Bytes) -> String {
    let printable = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match Family::of(key) {
        Some(Family::System) => format!("system:{}", printable(&key[1..])),
        Some(Family::Meta) => format!("meta:{}", printable(&key[1..])),
        Some(Family::Request) => "request row".to_string(),
        family => {
            let parts = key::parse(key).unwrap();
            let routing = subject_key().routing_key(&parts.subject).unwrap();
            match family {
                Some(Family::Stream) => format!("stream:{}{}", routing.expose(), show_position(parts.suffix)),
                _ => format!("{}/{}", routing.expose(), printable(parts.suffix)),
            }
        }
    }
}

fn show_position(suffix: &[u8]) -> String {
    match suffix.split_at_checked(8) {
        Some((revision, ordinal)) if suffix[0] != 0xff => {
            let revision = u64::from_be_bytes(revision.try_into().unwrap());
            format!(" #{revision}.{}", u32::from_be_bytes(ordinal.try_into().unwrap()))
        }
        _ => " head".to_string(),
    }
}

fn show_value(key: &Bytes, record: &Record) -> String {
    let value = frame::decode(&record.value).unwrap();
    match Family::of(key) {
        Some(Family::Stream) if value.len() == chain::HEAD_BYTES => "<32 bytes>".to_string(),
        Some(Family::Request) | Some(Family::System) => format!("<{} bytes>", value.len()),
        _ => String::from_utf8_lossy(&value).into_owned(),
    }
}

/// Milliseconds of `90s`, `15m`, `7ms`.
pub(crate) fn millis(text: &str) -> i64 {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        other => panic!("unit {other}"),
    };
    number.parse::<i64>().unwrap() * unit
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The SubTxns of a script's lines.
pub(crate) fn subs(input: &str) -> Vec<pb::SubTxn> {
    let mut subs = Vec::new();
    for line in input.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "sub" {
            subs.push(sub(&words[1..]));
        } else if let Some(sub) = subs.last_mut() {
            add(sub, &words);
        } else {
            panic!("the first line is `sub`");
        }
    }
    subs
}

fn sub(words: &[&str]) -> pb::SubTxn {
    let mut sub = pb::SubTxn::default();
    let mut slot = Slot::new(0).unwrap();
    let (mut id, mut body, mut session) = (None, "", None);
    for word in words {
        match word.split_once('=').unwrap() {
            ("request", text) => id = Some(text),
            ("body", text) => body = text,
            ("session", text) => id = Some(text),
            ("call", text) => session = Some(sequence(text)),
            ("slot", text) => slot = Slot::new(text.parse().unwrap()).unwrap(),
            ("outcome", text) => sub.outcome = Bytes::copy_from_slice(text.as_bytes()),
            (other, _) => panic!("unknown part {other} of sub"),
        }
    }
    sub.request = id.map(|id| pb::RequestKey {
        id: hash16(id),
        body_digest: hash16(body),
        slot: u32::from(slot.get()),
        session,
    });
    sub
}

/// `opened:sequence:floor`, for example `90s:3:1`.
fn sequence(text: &str) -> pb::SessionSequence {
    let parts: Vec<&str> = text.split(':').collect();
    pb::SessionSequence {
        opened_ms: millis(parts[0]),
        sequence: parts[1].parse().unwrap(),
        floor: parts[2].parse().unwrap(),
    }
}

fn add(sub: &mut pb::SubTxn, words: &[&str]) {
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let small = |at: usize| words[at].parse::<u32>().unwrap();
    let key = || key_named(words[1]);
    let value = |text: &str| frame::encode(text.as_bytes());
    match words[0] {
        "absent" => sub.guards.push(txn::absent(key())),
        "revision" if words[2] == "this" => sub.guards.push(txn::revision_is(key(), guard::THIS_ENTRY)),
        "revision" => sub.guards.push(txn::revision_is(key(), number(2))),
        "range" => sub.guards.push(txn::range_unchanged(key(), small(2), number(3))),
        "put" => sub.mutations.push(txn::put(key(), 1, value(words[2]))),
        "put-frame-bytes" => {
            let bytes = FRAME_BYTES_MAX + usize::try_from(number(2)).unwrap();
            sub.mutations.push(txn::put(key(), 1, vec![b'x'; bytes].into()));
        }
        "delete" => sub.mutations.push(txn::delete(key())),
        "delete-range" => sub.mutations.push(txn::delete_range(key(), small(2))),
        "append" => sub.mutations.push(txn::append(key(), 1, value(words[2]), false)),
        "append-chained" => sub.mutations.push(txn::append(key(), 1, value(words[2]), true)),
        other => panic!("unknown line {other}"),
    }
}

/// One line for each outcome.
pub(crate) fn show_outcomes(outcomes: &[SubOutcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let line = match outcome {
            SubOutcome::Committed { revision } => format!("committed at {revision}"),
            SubOutcome::Replayed { revision, outcome } => {
                format!(
                    "replayed: revision {revision}, outcome {:?}",
                    String::from_utf8_lossy(outcome)
                )
            }
            SubOutcome::GuardFailed { guard } => format!("guard {guard} failed"),
            SubOutcome::SessionExpired => "session expired".to_string(),
            SubOutcome::RequestIdReused => "request id reused".to_string(),
            SubOutcome::ForeignSlot { slot } => format!("foreign slot {slot}"),
            SubOutcome::TooLarge { limit } => format!("breaks {limit}"),
        };
        writeln!(text, "{line}").unwrap();
    }
    text
}

/// What an entry that is no transaction did.
pub(crate) fn show_applied(shard: &mut Shard, entry: &[u8]) -> String {
    match shard.apply(entry) {
        Ok(Applied::Noop) => "noop\n".to_string(),
        Ok(Applied::Level(level)) => format!("level {level}\n"),
        Ok(Applied::Verify { index, digest }) => {
            let same = if digest == shard.state.digest {
                "equal"
            } else {
                "different"
            };
            format!("verify index {index}: digest {same}\n")
        }
        Ok(Applied::Txn(outcomes)) => show_outcomes(&outcomes),
        Err(halt) => format!("halt: {halt}\n"),
    }
}

/// Every record of a shard, a line each.
pub(crate) fn show(shard: &Shard) -> String {
    let mut text = String::new();
    for (key, record) in shard.store.records() {
        writeln!(
            text,
            "{} = {} @{}",
            show_key(key),
            show_value(key, record),
            record.revision
        )
        .unwrap();
    }
    text
}
