//! The generic record store under every service: records of one routing key, ordered by suffix.

pub mod commit;
pub mod get;
pub mod list;
mod page_token;
pub mod watch;

use bytes::Bytes;
use spine_proto::ids::RoutingKey;
use spine_proto::records::v1::{Record, RecordKey};
use spine_statemachine::frame;
use spine_statemachine::key::{self, Family};
use spine_statemachine::limits::SUFFIX_BYTES_MAX;
use spine_statemachine::store::{self, ReadError};

use crate::context::Context;
use crate::failure::Failure;
use crate::reason;

/// Permission to read records.
pub const PERMISSION_READ: &str = "records.read";
/// Permission to change records.
pub const PERMISSION_WRITE: &str = "records.write";
/// The only kind of key of this family.
const KIND: u8 = 1;
/// Number of "the caller's bytes" as an encoding of a record.
const SCHEMA: u32 = 1;

fn key_of(context: &Context, routing_key: &RoutingKey, suffix: &[u8]) -> Bytes {
    key::encode(Family::Records, &context.subject_key, routing_key, KIND, suffix)
}

fn check_suffix(field: impl FnOnce() -> String, suffix: &[u8]) -> Result<(), Failure> {
    if suffix.len() <= SUFFIX_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "a suffix has at most {SUFFIX_BYTES_MAX} bytes, not {}",
        suffix.len()
    );
    Err(Failure::invalid(reason::MALFORMED_KEY, field(), message))
}

/// A stored record as callers see it.
fn answer(routing_key: &RoutingKey, suffix: Bytes, record: &store::Record) -> Result<Record, Failure> {
    if record.schema != SCHEMA {
        return Err(ReadError(format!("record of unknown schema {}", record.schema)).into());
    }
    let value = frame::decode(&record.value).map_err(|error| ReadError(format!("record: {error}")))?;
    let key = RecordKey {
        routing_key: routing_key.expose().to_owned(),
        suffix,
    };
    Ok(Record {
        key: Some(key),
        revision: record.revision,
        value,
    })
}
