//! `pds.search`: the patients of one shard who are, or may be, the one searched for.
//!
//! Tokens (`tokens.rs`, `index.rs`) say which patients to open; each is then looked at and scored. A caller asks every
//! shard, each of which is exact at its own index, and puts the answers together ([`merge`]).

pub mod backlog;
pub(super) mod index;
mod matching;
pub mod page;
mod query;
mod soundex;
pub(super) mod tokens;

/// How words are compared, for other uses than a search.
pub(super) mod likeness {
    pub(in crate::pds) use super::soundex::{folded, is_slip, soundex};
}

use std::collections::BTreeSet;

use spine_proto::ids::{NhsNumber, RoutingKey};
use spine_proto::pds::v1::{SearchMatch, SearchRequest, SearchResponse};
use spine_statemachine::store::OrderedRead;

use self::query::{Query, RESULTS_MAX, Range};
use self::tokens::Token;
use super::access;
use super::patient::JSON_DEPTH_MAX;
use super::{PERMISSION_READ, row};
use crate::context::Context;
use crate::error::{ErrorKind, SpineError};
use crate::failure::Failure;
use crate::ids::CallId;
use crate::json::{self, Json};
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::reason;
use crate::view::View;

/// Patients of a shard that one search opens; one that would open more says that it is too wide.
const CANDIDATES_MAX: usize = 500;
/// Bytes of all matches of an answer, of one shard or of all; more are told as too many. Two of the largest fit.
const MATCHES_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Years of birth that a search may span.
const YEARS_MAX: usize = 20;
/// Names of members that an entry of the answer keeps only in part, and the uses that it keeps.
const KEPT: [(&str, &[&str]); 2] = [("name", &["usual", "nickname", "temp"]), ("address", &["home"])];

/// See the module.
pub struct Search;

impl Operation for Search {
    const NAME: &'static str = "pds.search";
    const PERMISSION: &'static str = PERMISSION_READ;
    const WRITES: bool = false;
    type Request = SearchRequest;
    type Response = SearchResponse;

    /// Every shard is asked, so no key decides; a call that names no shard goes to that of this one.
    fn routing_key(_: &SearchRequest) -> Result<RoutingKey, Failure> {
        crate::ids::routing_key("", "search")
    }

    fn call_id(_: &SearchRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(view: &mut View<'_>, request: &SearchRequest, context: &Context) -> Result<Plan, Failure> {
        let query = Query::parse(&request.parameters)?;
        access::check_search(&context.principal, query.max_results)?;
        backlog::require_done(view)?;
        tokens_of(&query, context).map(|_| Plan::read())
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &SearchRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<SearchResponse, Failure> {
        let query = Query::parse(&request.parameters)?;
        let mut candidates = BTreeSet::new();
        for token in tokens_of(&query, context)? {
            let limit = CANDIDATES_MAX + 1;
            candidates.extend(index::patients(view, &context.subject_key, &token, limit)?);
        }
        let mut response = SearchResponse {
            positions: vec![completed.position()],
            too_many: candidates.len() > CANDIDATES_MAX,
            ..SearchResponse::default()
        };
        if response.too_many {
            return Ok(response);
        }
        let mut bytes = 0;
        for nhs_number in candidates {
            if let Some(found) = look_at(view, context, &query, nhs_number)? {
                bytes += bytes_of(&found);
                response.matches.push(found);
            }
            // What is too much for an answer is not held either.
            if bytes > MATCHES_BYTES_MAX {
                break;
            }
        }
        shorten(&mut response, query.max_results);
        Ok(response)
    }
}

fn look_at(
    view: &dyn OrderedRead,
    context: &Context,
    query: &Query,
    nhs_number: NhsNumber,
) -> Result<Option<SearchMatch>, Failure> {
    let row = row::current(view, context, nhs_number)?;
    let patient =
        json::parse(&row.fhir_json, JSON_DEPTH_MAX).map_err(|_| row::damaged("a patient is no JSON"))?;
    let Some(score) = matching::score(query, &patient) else {
        return Ok(None);
    };
    let patient = Some(row::answer(nhs_number, row, false)?);
    Ok(Some(SearchMatch { patient, score }))
}

fn bytes_of(one: &SearchMatch) -> usize {
    one.patient.as_ref().map_or(0, |patient| patient.fhir_json.len())
}

/// Best first; more than the caller wants, or than one answer holds, are none at all.
fn shorten(response: &mut SearchResponse, max_results: Option<usize>) {
    let number = |one: &SearchMatch| one.patient.as_ref().map(|patient| patient.nhs_number.clone());
    response
        .matches
        .sort_by_cached_key(|one| (std::cmp::Reverse(one.score), number(one)));
    let bytes: usize = response.matches.iter().map(bytes_of).sum();
    if response.matches.len() > max_results.unwrap_or(RESULTS_MAX) || bytes > MATCHES_BYTES_MAX {
        response.matches.clear();
        response.too_many = true;
    }
}

/// The answers of all shards as one.
///
/// # Errors
/// The first that is an error: a search is complete or none.
pub fn merge(
    request: &SearchRequest,
    answers: impl IntoIterator<Item = SearchResponse>,
) -> Result<SearchResponse, SpineError> {
    let query = Query::parse(&request.parameters)?;
    let mut merged = SearchResponse::default();
    for answer in answers {
        merged.matches.extend(answer.matches);
        merged.positions.extend(answer.positions);
        merged.too_many |= answer.too_many;
    }
    if merged.too_many {
        merged.matches.clear();
    }
    shorten(&mut merged, query.max_results);
    Ok(merged)
}

/// Whether a patient meets a search that is not fuzzy and names just this birth date.
///
/// # Errors
/// What is wrong with the search.
pub(super) fn is_met_exactly(
    request: &SearchRequest,
    patient: &Json,
    birth_date: &str,
) -> Result<bool, Failure> {
    let query = Query::parse(&request.parameters)?;
    let of_day = query
        .birth
        .as_ref()
        .is_some_and(|birth| birth.from == birth_date && birth.to == birth_date);
    Ok(of_day && !query.fuzzy && !query.history && matching::score(&query, patient).is_some())
}

/// When an answer was made, as FHIR writes it.
#[must_use]
pub fn timestamp(now_ms: i64) -> String {
    crate::date::instant_of(now_ms)
}

/// A patient as the answer to a search of the national service shows it: of what the search has found, names and
/// address of the present.
///
/// # Errors
/// `STORE_DAMAGED` where it is no JSON.
pub fn entry(fhir_json: &bytes::Bytes) -> Result<Vec<u8>, SpineError> {
    let mut patient = json::parse(fhir_json, JSON_DEPTH_MAX).map_err(|_| {
        SpineError::new(
            ErrorKind::Corrupt,
            reason::STORE_DAMAGED,
            "this replica holds what is no JSON",
        )
    })?;
    for (member, uses) in KEPT {
        if let Some(Json::Array(items)) = patient.member_mut(member) {
            items.retain(|item| {
                item.member("use")
                    .and_then(Json::as_str)
                    .is_some_and(|usage| uses.contains(&usage))
            });
        }
    }
    if let Json::Object(members) = &mut patient {
        // FHIR has no empty arrays.
        members.retain(|(_, value)| value.as_array().is_none_or(|items| !items.is_empty()));
    }
    Ok(patient.to_bytes())
}

/// The tokens of which every patient that can match has one.
fn tokens_of(query: &Query, context: &Context) -> Result<Vec<Token>, Failure> {
    let key = &context.subject_key;
    let range = query.birth.as_ref().ok_or_else(too_wide)?;
    let family = query.family.as_ref();
    let sound = family
        .filter(|family| !family.has_wildcard())
        .and_then(|family| soundex::soundex(&family.text));
    let district = query
        .postcode
        .as_ref()
        .and_then(|postcode| tokens::district(&postcode.text));
    let mut found = Vec::new();
    if query.fuzzy {
        let years = years(range)?;
        found.push(tokens::of_birth(key, &range.from));
        found.extend(matching::swapped(&range.from).map(|date| tokens::of_birth(key, &date)));
        for year in &years {
            found.extend(sound.iter().map(|sound| tokens::of_family(key, sound, year)));
            found.extend(
                district
                    .iter()
                    .map(|district| tokens::of_district(key, district, year)),
            );
        }
    } else if range.from == range.to {
        found.push(tokens::of_birth(key, &range.from));
    } else {
        // A wildcard hides how a name sounds, and a range has many days.
        let sound = sound.ok_or_else(too_wide)?;
        found.extend(
            years(range)?
                .iter()
                .map(|year| tokens::of_family(key, &sound, year)),
        );
    }
    Ok(found)
}

fn too_wide() -> Failure {
    Failure::invalid(
        reason::INVALID_SEARCH_DATA,
        "birthdate",
        "the range of birth dates is too wide",
    )
}

fn years(range: &Range) -> Result<Vec<String>, Failure> {
    let year = |date: &str| {
        date.get(..4)
            .and_then(|year| year.parse::<usize>().ok())
            .ok_or_else(too_wide)
    };
    let (from, to) = (year(&range.from)?, year(&range.to)?);
    if to - from >= YEARS_MAX {
        return Err(too_wide());
    }
    Ok((from..=to).map(|year| year.to_string()).collect())
}
