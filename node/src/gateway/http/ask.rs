//! What the head of a request says: who asks, under which id, for how long.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use spine_proto::ids::OdsCode;
use spine_services::pds::access::Mode;
use spine_services::{ErrorKind, Principal, SpineError, reason};
use tokio::time::Instant;

use super::{Dialect, Http};
use crate::gateway::edge::DEADLINE_DEFAULT;

/// Names the request, and makes a change take effect once.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Echoed, for the caller's own use.
pub(super) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Seconds to wait for an answer.
const SYNC_WAIT: HeaderName = HeaderName::from_static("x-sync-wait");
const SESSION_URID: HeaderName = HeaderName::from_static("nhsd-session-urid");
/// For whom an application or a patient calls.
const ORGANISATION: HeaderName = HeaderName::from_static("nhsd-end-user-organisation-ods");
/// Development mode: on whose behalf the caller acts.
const ACCESS_MODE: HeaderName = HeaderName::from_static("spine-access-mode");
/// Bounds of `X-Sync-Wait`, in milliseconds.
const SYNC_WAIT_MS: std::ops::RangeInclusive<u64> = 250..=29_000;
/// What stands for the current version, whichever it is.
pub(super) const ANY_VERSION: u32 = 0;
/// Longest header that is repeated to its sender.
const ECHO_BYTES_MAX: usize = 100;

/// A request that is known well enough to be carried out.
pub(super) struct Ask {
    pub(super) principal: Arc<Principal>,
    /// A UUID in lower case.
    pub(super) request_id: String,
    pub(super) deadline: Instant,
    /// `If-Match`, where there is one.
    pub(super) if_match: Option<HeaderValue>,
    /// Without parameters, in lower case.
    pub(super) content_type: String,
}

/// Headers of the request that its answer repeats, well formed or not there.
pub(super) struct Echo([Option<HeaderValue>; 2]);

impl Echo {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let get = |name| {
            headers
                .get(name)
                .filter(|value| value.len() <= ECHO_BYTES_MAX)
                .cloned()
        };
        Self([get(REQUEST_ID), get(CORRELATION_ID)])
    }

    pub(super) fn onto(self, headers: &mut HeaderMap) {
        for (name, value) in [REQUEST_ID, CORRELATION_ID].into_iter().zip(self.0) {
            if let Some(value) = value {
                headers.entry(name).or_insert(value);
            }
        }
    }
}

impl Ask {
    /// Reads a head, in the order in which the national service looks at it.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn of(headers: &HeaderMap, dialect: Dialect, http: &Http) -> Result<Self, SpineError> {
        let request_id = match (headers.get(REQUEST_ID), dialect) {
            (Some(value), _) => uuid(value).ok_or_else(|| invalid_header("X-Request-ID", value))?,
            (None, Dialect::Pds) => return Err(missing_request_id()),
            (None, Dialect::Plain) => fresh_uuid(http.node.entropy.bytes()),
        };
        let principal = http.edge.principal_of(headers)?;
        let principal = in_mode(principal, headers.get(ACCESS_MODE))?;
        if let Some(urid) = headers.get(SESSION_URID)
            && (urid.is_empty() || !urid.as_bytes().iter().all(u8::is_ascii_digit))
        {
            return Err(invalid_header("NHSD-Session-URID", urid));
        }
        if dialect == Dialect::Pds {
            check_organisation(headers, &principal)?;
        }
        let wait = match headers.get(SYNC_WAIT) {
            None => DEADLINE_DEFAULT,
            Some(value) => sync_wait(value).ok_or_else(|| invalid_header("X-Sync-Wait", value))?,
        };
        Ok(Self {
            principal,
            request_id,
            deadline: Instant::now() + wait.min(http.edge.deadline_max),
            if_match: headers.get(header::IF_MATCH).cloned(),
            content_type: content_type(headers),
        })
    }
}

/// A health care worker's own role says for whom they work: of others the header does.
///
/// # Errors
/// `INVALID_VALUE` where it is there and no ODS code; they are written in capitals or not.
fn check_organisation(headers: &HeaderMap, principal: &Principal) -> Result<(), SpineError> {
    let Some(code) = headers.get(ORGANISATION) else {
        return Ok(());
    };
    let fits = |text: &str| OdsCode::parse(&text.to_ascii_uppercase()).is_ok();
    if Mode::of(principal) == Mode::HealthcareWorker || code.to_str().is_ok_and(fits) {
        return Ok(());
    }
    Err(invalid_header("NHSD-End-User-Organisation-ODS", code))
}

/// The media type alone.
fn content_type(headers: &HeaderMap) -> String {
    let whole = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = whole.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// The version that `W/"3"` names. Plain clients may write `"3"` as well, and `*` for [`ANY_VERSION`].
pub(super) fn version_of(if_match: &HeaderValue, dialect: Dialect) -> Option<u32> {
    let text = if_match.to_str().ok()?.trim();
    let quoted = match (text.strip_prefix("W/"), dialect) {
        (Some(quoted), _) => quoted,
        (None, Dialect::Plain) if text == "*" => return Some(ANY_VERSION),
        (None, Dialect::Plain) => text,
        (None, Dialect::Pds) => return None,
    };
    let digits = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|version| *version > 0)
}

/// The principal with the permission of the mode that the caller names.
fn in_mode(principal: Arc<Principal>, named: Option<&HeaderValue>) -> Result<Arc<Principal>, SpineError> {
    let Some(named) = named else {
        return Ok(principal);
    };
    let mode = named.to_str().ok().and_then(Mode::from_word);
    let mode = mode.ok_or_else(|| invalid_header("Spine-Access-Mode", named))?;
    let mut principal = Principal::clone(&principal);
    principal.permissions.extend(mode.permission().map(str::to_owned));
    Ok(Arc::new(principal))
}

/// 36 characters in five groups; lower case, so that one id has one text.
fn uuid(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let fits = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    fits.then(|| text.to_ascii_lowercase())
}

/// A UUID of version 4.
fn fresh_uuid(random: [u8; 32]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&random[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Seconds with an optional fraction of up to three digits.
fn sync_wait(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits =
        |text: &str, max| (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds, 2) || !digits(fraction, 3) {
        return None;
    }
    let ms = seconds.parse::<u64>().ok()? * 1_000 + format!("{fraction:0<3}").parse::<u64>().ok()?;
    SYNC_WAIT_MS.contains(&ms).then(|| Duration::from_millis(ms))
}

fn missing_request_id() -> SpineError {
    SpineError::new(
        ErrorKind::Invalid,
        reason::MISSING_VALUE,
        "Invalid request with error - X-Request-ID header must be supplied to access this resource",
    )
}

/// The value is repeated to its sender alone, and only where it is short visible ASCII.
fn invalid_header(name: &'static str, value: &HeaderValue) -> SpineError {
    let shown = value
        .to_str()
        .ok()
        .filter(|text| text.len() <= ECHO_BYTES_MAX)
        .unwrap_or("?");
    SpineError::new(
        ErrorKind::Invalid,
        reason::INVALID_VALUE,
        format!("Invalid value - '{shown}' in header '{name}'"),
    )
    .with_field(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    #[test]
    fn versions_are_read_as_etags_are_written() {
        let both = |text| {
            let text = value(text);
            (version_of(&text, Dialect::Plain), version_of(&text, Dialect::Pds))
        };
        assert_eq!(both("W/\"12\""), (Some(12), Some(12)));
        // The national service takes its own form and no other.
        assert_eq!(both("\"12\""), (Some(12), None));
        assert_eq!(both("*"), (Some(ANY_VERSION), None));
        for bad in [
            "",
            "12",
            "W/12",
            "W/\"\"",
            "W/\"0\"",
            "W/\"-1\"",
            "W/\"1\", W/\"2\"",
            "W/*",
            "**",
            "W/\"99999999999\"",
        ] {
            assert_eq!(both(bad), (None, None), "{bad}");
        }
    }

    #[test]
    fn organisations_are_looked_at_where_no_role_names_them() {
        let check = |mode: Mode, code: &str| {
            let principal = Principal {
                id: "x".to_owned(),
                permissions: mode.permission().into_iter().map(str::to_owned).collect(),
            };
            let headers = HeaderMap::from_iter([(ORGANISATION, value(code))]);
            check_organisation(&headers, &principal).map_err(|error| error.message)
        };
        for (_, mode) in Mode::WORDS {
            assert_eq!(check(mode, "Y12345"), Ok(()));
            assert_eq!(check(mode, "rr8"), Ok(()));
        }
        assert_eq!(check(Mode::HealthcareWorker, "?"), Ok(()));
        let told = "Invalid value - 'Y1 2' in header 'NHSD-End-User-Organisation-ODS'";
        for mode in [Mode::Patient, Mode::Application, Mode::PrivilegedApplication] {
            assert_eq!(check(mode, "Y1 2"), Err(told.to_owned()));
            for bad in ["", "Y1", "Y123456789012", "Y-123"] {
                assert!(check(mode, bad).is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn request_ids_are_uuids() {
        let good = "60E0B220-8136-4CA5-AE46-1D97EF59D068";
        assert_eq!(uuid(&value(good)), Some(good.to_ascii_lowercase()));
        for bad in [
            "",
            "60E0B220",
            "60E0B220-8136-4CA5-AE46-1D97EF59D06",
            "60E0B220-8136-4CA5-AE461D97EF59D0688",
            "g0E0B220-8136-4CA5-AE46-1D97EF59D068",
        ] {
            assert_eq!(uuid(&value(bad)), None, "{bad}");
        }
        assert_eq!(
            uuid(&value(&fresh_uuid([0xff; 32]))),
            Some(fresh_uuid([0xff; 32]))
        );
    }

    #[test]
    fn waits_are_seconds_within_bounds() {
        let ms = |text| sync_wait(&value(text)).map(|wait| wait.as_millis());
        assert_eq!(
            (ms("0.25"), ms("10"), ms("29"), ms("1.5")),
            (Some(250), Some(10_000), Some(29_000), Some(1_500))
        );
        for bad in ["", "0", "0.2", "30", "-1", "1e1", "1.", ".5", "NaN", "1.0000"] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }
}
