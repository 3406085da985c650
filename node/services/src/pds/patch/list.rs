//! The patch list of a request (RFC 6902), read and checked for its form.

use crate::failure::Failure;
use crate::json::{Json, Pointer};
use crate::pds::patient::JSON_DEPTH_MAX;
use crate::pds::rules::{PDS_18, PDS_19};

/// Patches of one request.
pub(super) const PATCHES_MAX: usize = 256;
/// A value stands in a patch, in a list, in the request.
const DEPTH_MAX: usize = JSON_DEPTH_MAX + 3;
/// Longest step of a path that a message repeats.
const STEP_BYTES_MAX: usize = 40;

/// What a patch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Replace,
    Remove,
    Test,
}

/// One patch.
#[derive(Clone)]
pub(super) struct Patch {
    pub(super) op: Op,
    pub(super) path: Pointer,
    /// `null` for a removal.
    pub(super) value: Json,
}

/// JSON of a request.
///
/// # Errors
/// A refusal of what is no JSON, or goes beyond a limit.
pub(super) fn parse(body: &[u8]) -> Result<Json, Failure> {
    crate::pds::patient::read_nested(body, DEPTH_MAX, "patch")
}

/// The list in `{"patches": [...]}`.
///
/// # Errors
/// `PDS-18`, `PDS-19`
pub(super) fn wrapped(body: &[u8]) -> Result<Vec<Patch>, Failure> {
    let Json::Object(members) = parse(body)? else {
        return Err(none_found());
    };
    let found = members.into_iter().find(|(name, _)| name == "patches");
    let (_, list) = found.ok_or_else(none_found)?;
    let list = patches(list)?;
    if list.is_empty() {
        Err(none_found())
    } else {
        Ok(list)
    }
}

/// A list alone.
///
/// # Errors
/// `PDS-18`, `PDS-19`
pub(super) fn bare(body: &[u8]) -> Result<Vec<Patch>, Failure> {
    patches(parse(body)?)
}

fn none_found() -> Failure {
    PDS_18.update("patches", "No patches found")
}

fn patches(list: Json) -> Result<Vec<Patch>, Failure> {
    let Json::Array(items) = list else {
        return Err(none_found());
    };
    if items.len() > PATCHES_MAX {
        return Err(PDS_18.update("patches", format!("more than {PATCHES_MAX} patches")));
    }
    items
        .into_iter()
        .enumerate()
        .map(|(at, item)| patch(at, item))
        .collect()
}

fn patch(at: usize, item: Json) -> Result<Patch, Failure> {
    let Json::Object(members) = item else {
        return Err(PDS_18.update(format!("{at}"), format!("patch {at} is not an object")));
    };
    let op = op(at, &members)?;
    let path = members.iter().find(|(name, _)| name == "path");
    let path = path.and_then(|(_, path)| Pointer::parse(path.as_str()?));
    let path = path.ok_or_else(|| {
        PDS_18.update(
            format!("{at}/path"),
            format!("the path of patch {at} is not a JSON pointer"),
        )
    })?;
    let value = members.into_iter().find(|(name, _)| name == "value");
    let value = match (op, value) {
        (Op::Remove, _) => Json::Null,
        (_, Some((_, value))) => value,
        (_, None) => {
            return Err(PDS_18.update(format!("{at}/value"), format!("patch {at} has no value")));
        }
    };
    Ok(Patch { op, path, value })
}

fn op(at: usize, members: &[(String, Json)]) -> Result<Op, Failure> {
    let named = members.iter().find(|(name, _)| name == "op");
    match named.and_then(|(_, op)| op.as_str()) {
        Some("add") => Ok(Op::Add),
        Some("replace") => Ok(Op::Replace),
        Some("remove") => Ok(Op::Remove),
        Some("test") => Ok(Op::Test),
        other => {
            let value = shown(other.unwrap_or_default());
            let message = format!("Invalid value - '{value}' in field '{at}/op'");
            Err(PDS_19.refuse(format!("{at}/op"), message))
        }
    }
}

/// A word of the request as messages repeat it: names of members and numbers, and nothing that could be about a person.
pub(super) fn shown(word: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if word.len() <= STEP_BYTES_MAX && word.bytes().all(plain) {
        word
    } else {
        "?"
    }
}
