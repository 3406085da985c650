//! Periods of what was changed.

use super::super::changes::{Changes, text};
use crate::date::{DAY_MS, Span};
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::rules::{PDS_25, PDS_33};

const LISTS: [&str; 4] = ["name", "address", "telecom", "contact"];
/// Longest time that a temporary address is one.
const TEMPORARY_DAYS_MAX: i64 = 366;
/// Dates are of the United Kingdom, whose summer time is ahead of UTC.
const SUMMER_TIME_MS: i64 = 3_600_000;

/// # Errors
/// `PDS-25`, `PDS-33`
pub(super) fn check(changes: &Changes<'_>, now_ms: i64) -> Result<(), Failure> {
    for list in LISTS {
        for changed in changes.items(list) {
            let period = changed.after.member("period");
            let is_temporary = list == "address" && is_temporary(changed.after);
            if changes.of_plain_newcomer && !is_temporary && has_only_an_end(period) {
                continue;
            }
            let field = format!("{list}[{}].period", changed.at);
            let (start, end) = bounds(period, &field, now_ms)?;
            if is_temporary {
                check_temporary(start, end, field)?;
            }
        }
    }
    for changed in changes.items("generalPractitioner") {
        let identifier = changed.after.member("identifier");
        let period = identifier.and_then(|identifier| identifier.member("period"));
        // Nobody has to say since when.
        if period.is_some() {
            let field = format!("generalPractitioner[{}].identifier.period", changed.at);
            bounds(period, &field, now_ms)?;
        }
    }
    Ok(())
}

fn bounds(period: Option<&Json>, field: &str, now_ms: i64) -> Result<(Span, Option<Span>), Failure> {
    let start = period.and_then(|period| text(period, "start"));
    let start = start.and_then(Span::parse_date_time);
    let start = start.ok_or_else(|| PDS_25.update(field.to_owned(), "a period needs a start"))?;
    let end = match period.and_then(|period| period.member("end")) {
        None => None,
        Some(end) => {
            let end = end.as_str().and_then(Span::parse_date_time);
            Some(end.ok_or_else(|| PDS_25.update(field.to_owned(), "the end of a period is not a date"))?)
        }
    };
    if end.is_some_and(|end| end.last_ms < start.first_ms) {
        return Err(PDS_25.update(field.to_owned(), "a period cannot end before it starts"));
    }
    if start.first_ms > now_ms.saturating_add(SUMMER_TIME_MS) {
        return Err(PDS_25.update(field.to_owned(), "a period cannot start in the future"));
    }
    Ok((start, end))
}

/// Since when something was so that is over, need not be known.
fn has_only_an_end(period: Option<&Json>) -> bool {
    period.is_some_and(|period| {
        let end = text(period, "end").and_then(Span::parse_date_time);
        period.member("start").is_none() && end.is_some()
    })
}

fn is_temporary(address: &Json) -> bool {
    matches!(text(address, "use"), Some("temp" | "billing"))
}

fn check_temporary(start: Span, end: Option<Span>, field: String) -> Result<(), Failure> {
    match end {
        None => Err(PDS_33.update(field, "a temporary address needs an end")),
        Some(end) if end.first_ms - start.first_ms > TEMPORARY_DAYS_MAX * DAY_MS => {
            let message = format!("a temporary address ends within {TEMPORARY_DAYS_MAX} days");
            Err(PDS_33.update(field, message))
        }
        Some(_) => Ok(()),
    }
}
