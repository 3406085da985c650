//! `GET _feed`: every version of every patient that is written, as server-sent events.
//!
//! An event's id is the cursor behind it; a reader that comes again with it, to any node, misses nothing and sees nothing
//! twice. The last event of a feed that ends says why.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use futures_util::stream::unfold;
use spine_proto::pds::v1::WatchRequest;
use spine_services::{ErrorKind, SpineError, reason};

use super::ask::Ask;
use super::routes::{Answer, Asked};
use super::{Dialect, Gate, answer};
use crate::gateway::patient_feed::{PatientFeed, Shown};

/// A reader that was cut off says what it saw last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The same for a reader that begins where another one stopped.
const CURSOR: &str = "cursor";
/// Only this shard; may stand there several times.
const SHARD: &str = "shard";
/// Shards that a reader may name.
const SHARDS_MAX: usize = 200;
/// Intervals of progress without a change until the reader hears something: one in five seconds.
const QUIET_MAX: u32 = 5;
/// Milliseconds until a reader that was cut off comes again.
const RETRY_MS: u32 = 500;

pub(super) async fn feed(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    let request = request(&asked)?;
    let feed = gate
        .http
        .edge
        .watch_patients(&request, &ask.principal, ask.deadline)
        .await?;
    let hello = format!("retry: {RETRY_MS}\nid: {}\n\n", feed.cursor());
    let events = unfold(State::Hello(hello, Box::new(feed)), |state| async move {
        let (text, next) = match state {
            State::Hello(hello, feed) => (hello, State::Runs(feed)),
            State::Runs(mut feed) => match events(&mut feed).await {
                Ok(text) => (text, State::Runs(feed)),
                Err(error) => (end(&error), State::Over),
            },
            State::Over => return None,
        };
        Some((Ok::<_, Infallible>(text), next))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

enum State {
    Hello(String, Box<PatientFeed>),
    Runs(Box<PatientFeed>),
    Over,
}

fn request(asked: &Asked) -> Result<WatchRequest, SpineError> {
    let mut request = WatchRequest::default();
    for (name, value) in form_urlencoded::parse(asked.query.as_bytes()) {
        match &*name {
            CURSOR => request.cursor = value.into_owned(),
            SHARD if request.shards.len() < SHARDS_MAX => {
                let shard = value.parse().map_err(|_| invalid(SHARD))?;
                request.shards.push(shard);
            }
            SHARD => return Err(invalid(SHARD)),
            _ => {
                let message = "a parameter is not one of this interaction";
                return Err(SpineError::new(
                    ErrorKind::Invalid,
                    reason::ADDITIONAL_PROPERTIES,
                    message,
                ));
            }
        }
    }
    // The address that a reader comes again with names where it began, the header where it is.
    if let Some(last) = last_event_id(&asked.headers)? {
        request.cursor = last;
    }
    Ok(request)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<String>, SpineError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| invalid("Last-Event-ID"))?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn invalid(name: &'static str) -> SpineError {
    let message = format!("Invalid value in '{name}'");
    SpineError::new(ErrorKind::Invalid, reason::INVALID_VALUE, message).with_field(name)
}

/// The next events, or a sign of life.
async fn events(feed: &mut PatientFeed) -> Result<String, SpineError> {
    for _ in 0..QUIET_MAX {
        let mut text = String::new();
        let mut shown = Some(feed.next().await?);
        while let Some(Shown::Version { patient, .. }) = shown {
            // Canonical JSON stands on one line.
            text.push_str("event: patient\nid: ");
            text.push_str(&feed.cursor());
            text.push_str("\ndata: ");
            text.push_str(&String::from_utf8_lossy(&patient.fhir_json));
            text.push_str("\n\n");
            shown = feed.ready();
        }
        if !text.is_empty() {
            return Ok(text);
        }
    }
    // An id without data moves the reader's cursor and is no event.
    Ok(format!(":\nid: {}\n\n", feed.cursor()))
}

/// Why nothing more comes.
fn end(error: &SpineError) -> String {
    let name = if error.reason == reason::COMPACTED {
        "compacted"
    } else {
        "end"
    };
    let outcome = answer::operation_outcome(Dialect::Plain, error);
    format!("event: {name}\ndata: {outcome}\n\n")
}
