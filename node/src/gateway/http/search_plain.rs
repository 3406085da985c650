//! `GET Patient` and `POST Patient/_search` in the plain dialect: by what is known of somebody, or by number, page by
//! page.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;
use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1::{SearchMatch, SearchParameter, SearchRequest};
use spine_services::error_table::TOO_MANY_MATCHES;
use spine_services::pds::patient::NHS_NUMBER_SYSTEM;
use spine_services::pds::search;
use spine_services::pds::search::page::{PAGE_MATCHES_MAX, Page, PageToken, page};
use spine_services::{ErrorKind, SpineError, reason};
use spine_statemachine::key::SubjectKey;

use super::Gate;
use super::answer;
use super::ask::Ask;
use super::patient::{of_read, retrieve, unsupported_type};
use super::routes::{Answer, Asked};
use super::search::{EXACT, PARAMETERS_MAX};
use crate::clock::Clock as _;
use crate::dispatch::failure::not_initialised;

const FORM: &str = "application/x-www-form-urlencoded";
const ID: &str = "_id";
const IDENTIFIER: &str = "identifier";
/// Matches of a page.
const COUNT: &str = "_count";
/// Where the page begins. Ours; callers follow the link.
const PAGE: &str = "_page";
/// Largest score.
const SCORE_MAX: u32 = 10_000;

/// `GET Patient`
pub(super) async fn search(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    answered(&gate, &ask, Wanted::parse(pairs(asked.query.as_bytes()))?).await
}

/// `POST Patient/_search`: what is searched for need not stand in an address.
pub(super) async fn posted(gate: Arc<Gate>, asked: Asked) -> Answer {
    let ask = Ask::of(&asked.headers, gate.dialect, &gate.http)?;
    if ask.content_type != FORM {
        return Err(unsupported_type(FORM));
    }
    let body = gate.bodies.read(asked.body, &gate.limits).await?;
    let all = pairs(asked.query.as_bytes()).chain(pairs(&body.bytes));
    answered(&gate, &ask, Wanted::parse(all)?).await
}

fn pairs(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

async fn answered(gate: &Gate, ask: &Ask, wanted: Wanted) -> Answer {
    let running = gate.http.node.running().ok_or_else(not_initialised)?;
    let key: [u8; 16] = (*running.plan().subject_key)
        .try_into()
        .map_err(|_| SpineError::new(ErrorKind::Corrupt, reason::STORE_DAMAGED, "the plan has no key"))?;
    let key = SubjectKey::new(key);
    let token = wanted.page.as_deref();
    let token = token.map(|text| PageToken::parse(text, &wanted.search, &key));
    let token = token.transpose()?;
    let matches = match &wanted.numbers {
        Some(numbers) => by_number(gate, ask, numbers).await?,
        None => {
            let edge = &gate.http.edge;
            let found = edge.search(&wanted.search, &ask.principal, ask.deadline).await;
            let found = found.map_err(of_read)?;
            if found.too_many {
                let status =
                    StatusCode::from_u16(TOO_MANY_MATCHES.plain_http).unwrap_or(StatusCode::BAD_REQUEST);
                let message = "there are more matches than a search gives; say more of who is searched for";
                return Ok(answer::built(
                    status,
                    &answer::outcome(&TOO_MANY_MATCHES, message),
                ));
            }
            found.matches
        }
    };
    let page = page(matches, token.as_ref(), wanted.count, &wanted.search, &key);
    let now = search::timestamp(gate.http.node.clock.now_ms());
    let body = bundle(&gate.base_url(), &wanted, &page, &now)?;
    Ok(answer::resource(StatusCode::OK, body))
}

/// Those of the numbers that there are, each at once; who answers for a number that was merged stands for it.
async fn by_number(
    gate: &Gate,
    ask: &Ask,
    numbers: &BTreeSet<String>,
) -> Result<Vec<SearchMatch>, SpineError> {
    let mut found: Vec<SearchMatch> = Vec::with_capacity(numbers.len());
    for number in numbers {
        match retrieve(gate, ask, number).await {
            Ok(patient) => found.push(SearchMatch {
                patient: Some(patient),
                score: SCORE_MAX,
            }),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let number = |one: &SearchMatch| one.patient.as_ref().map(|patient| patient.nhs_number.clone());
    found.sort_by_cached_key(number);
    found.dedup_by_key(|one| number(one));
    Ok(found)
}

/// A search whose parts are told apart.
struct Wanted {
    /// All but which page it is: a token belongs to it.
    search: SearchRequest,
    /// NHS Numbers, where they are searched for.
    numbers: Option<BTreeSet<String>>,
    count: usize,
    page: Option<String>,
}

fn refused(reason: &'static str, field: &'static str, message: &'static str) -> SpineError {
    SpineError::new(ErrorKind::Invalid, reason, message).with_field(field)
}

impl Wanted {
    /// # Errors
    /// What is wrong with a parameter of this dialect; the others are looked at where they are searched for.
    fn parse(pairs: impl Iterator<Item = (String, String)>) -> Result<Self, SpineError> {
        let mut wanted = Self {
            search: SearchRequest::default(),
            numbers: None,
            count: 0,
            page: None,
        };
        for (at, (name, value)) in pairs.enumerate() {
            if at == PARAMETERS_MAX {
                return Err(refused(reason::INVALID_SEARCH_DATA, "", "too many parameters"));
            }
            wanted.set(name, value)?;
        }
        if wanted.count == 0 {
            wanted.count = PAGE_MATCHES_MAX;
        }
        wanted.check()?;
        Ok(wanted)
    }

    fn set(&mut self, name: String, value: String) -> Result<(), SpineError> {
        match name.as_str() {
            COUNT if self.count > 0 => Err(refused(
                reason::INVALID_SEARCH_DATA,
                COUNT,
                "_count stands there twice",
            )),
            COUNT => {
                self.count = count(&value)?;
                Ok(())
            }
            PAGE if self.page.is_some() => Err(refused(
                reason::INVALID_PAGE_TOKEN,
                PAGE,
                "_page stands there twice",
            )),
            PAGE => {
                self.page = Some(value);
                Ok(())
            }
            ID | IDENTIFIER => {
                let these = if name == ID {
                    ids(&value)
                } else {
                    identifiers(&value)?
                };
                // Each of them is to hold.
                let both = match self.numbers.take() {
                    None => these,
                    Some(others) => others.intersection(&these).cloned().collect(),
                };
                self.numbers = Some(both);
                self.search.parameters.push(SearchParameter { name, value });
                Ok(())
            }
            _ => {
                self.search.parameters.push(SearchParameter { name, value });
                Ok(())
            }
        }
    }

    fn check(&self) -> Result<(), SpineError> {
        let invalid = |message| Err(refused(reason::INVALID_SEARCH_DATA, "", message));
        if self.search.parameters.is_empty() {
            return invalid("a search says who is searched for");
        }
        let Some(numbers) = &self.numbers else {
            return Ok(());
        };
        let of_number = |one: &SearchParameter| [ID, IDENTIFIER].contains(&one.name.as_str());
        if !self.search.parameters.iter().all(of_number) {
            return invalid("_id and identifier go with no parameter but _count");
        }
        if numbers.len() > PAGE_MATCHES_MAX {
            return invalid("more than 50 numbers");
        }
        Ok(())
    }

    /// The address of a page; `None` for this one.
    fn url(&self, base: &str, next: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for parameter in &self.search.parameters {
            query.append_pair(&parameter.name, &parameter.value);
        }
        query.append_pair(COUNT, &self.count.to_string());
        if let Some(token) = next.or(self.page.as_deref()) {
            query.append_pair(PAGE, token);
        }
        format!("{base}/Patient?{}", query.finish())
    }
}

/// # Errors
/// `INVALID_VALUE`, `PAGE_SIZE_OUT_OF_RANGE`
fn count(value: &str) -> Result<usize, SpineError> {
    let number: usize = value.parse().map_err(|_| {
        refused(
            reason::INVALID_VALUE,
            COUNT,
            "Invalid value in parameter '_count'",
        )
    })?;
    if (1..=PAGE_MATCHES_MAX).contains(&number) {
        return Ok(number);
    }
    Err(refused(
        reason::PAGE_SIZE_OUT_OF_RANGE,
        COUNT,
        "_count is 1 to 50",
    ))
}

/// What is no NHS Number is the id of nobody.
fn ids(value: &str) -> BTreeSet<String> {
    let numbers = value.split(',').filter(|id| NhsNumber::parse(id).is_ok());
    numbers.map(str::to_owned).collect()
}

/// # Errors
/// `INVALID_SEARCH_DATA` where another system is searched, or none is named: only NHS Numbers are found by their value.
fn identifiers(value: &str) -> Result<BTreeSet<String>, SpineError> {
    let mut numbers = BTreeSet::new();
    for token in value.split(',') {
        match token.split_once('|') {
            Some((NHS_NUMBER_SYSTEM, number)) => numbers.extend(ids(number)),
            _ => {
                let message = "an identifier is searched for as https://fhir.nhs.uk/Id/nhs-number|NUMBER";
                return Err(refused(reason::INVALID_SEARCH_DATA, IDENTIFIER, message));
            }
        }
    }
    Ok(numbers)
}

/// A bundle of type searchset; resources stand in it as a read shows them.
fn bundle(base: &str, wanted: &Wanted, page: &Page, now: &str) -> Result<String, SpineError> {
    let mut links = vec![json!({ "relation": "self", "url": wanted.url(base, None) })];
    if let Some(token) = &page.next {
        links.push(json!({ "relation": "next", "url": wanted.url(base, Some(token)) }));
    }
    let entries: Result<Vec<String>, SpineError> = page.matches.iter().map(|one| entry(base, one)).collect();
    let (now, total, links) = (json!(now), page.total, json!(links));
    let entries = answer::entries(&entries?);
    Ok(format!(
        r#"{{"resourceType":"Bundle","type":"searchset","timestamp":{now},"total":{total},"link":{links}{entries}}}"#
    ))
}

fn entry(base: &str, one: &SearchMatch) -> Result<String, SpineError> {
    let patient = one.patient.clone().unwrap_or_default();
    let resource = std::str::from_utf8(&patient.fhir_json).map_err(|_| {
        let message = "this replica holds what is no text";
        SpineError::new(ErrorKind::Corrupt, reason::STORE_DAMAGED, message)
    })?;
    let full_url = json!(format!("{base}/Patient/{}", patient.nhs_number));
    let found = json!({ "mode": "match", "score": f64::from(one.score) / EXACT });
    Ok(format!(
        r#"{{"fullUrl":{full_url},"search":{found},"resource":{resource}}}"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: &str = "https%3A%2F%2Ffhir.nhs.uk%2FId%2Fnhs-number%7C";

    fn parse(query: &str) -> Result<Wanted, String> {
        Wanted::parse(pairs(query.as_bytes())).map_err(|error| error.reason.into_owned())
    }

    fn numbers(query: &str) -> Result<Vec<String>, String> {
        Ok(parse(query)?.numbers.unwrap().into_iter().collect())
    }

    #[test]
    fn numbers_are_searched_for_by_id_and_by_identifier() {
        let (one, two) = ("9990000018", "9990000026");
        let both = Ok(vec![one.to_owned(), two.to_owned()]);
        assert_eq!(numbers(&format!("_id={two},{one},{one}")), both);
        assert_eq!(numbers(&format!("identifier={SYSTEM}{one},{SYSTEM}{two}")), both);
        let narrowed = numbers(&format!("_id={one},{two}&identifier={SYSTEM}{two}"));
        assert_eq!(narrowed, Ok(vec![two.to_owned()]));
        assert_eq!(numbers("_id=somebody"), Ok(Vec::new()));
        let invalid = || Err("INVALID_SEARCH_DATA".to_owned());
        assert_eq!(numbers(&format!("identifier={one}")), invalid());
        assert_eq!(numbers(&format!("identifier=urn:other%7C{one}")), invalid());
        assert_eq!(numbers(&format!("_id={one}&family=Smith")), invalid());
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(parse("family=Smith").unwrap().count, PAGE_MATCHES_MAX);
        assert_eq!(parse("family=Smith&_count=7").unwrap().count, 7);
        for (query, expected) in [
            ("family=Smith&_count=0", "PAGE_SIZE_OUT_OF_RANGE"),
            ("family=Smith&_count=51", "PAGE_SIZE_OUT_OF_RANGE"),
            ("family=Smith&_count=many", "INVALID_VALUE"),
            ("family=Smith&_count=1&_count=2", "INVALID_SEARCH_DATA"),
            ("family=Smith&_page=1&_page=2", "INVALID_PAGE_TOKEN"),
            ("_count=1", "INVALID_SEARCH_DATA"),
            ("", "INVALID_SEARCH_DATA"),
        ] {
            assert_eq!(parse(query).err().as_deref(), Some(expected), "{query}");
        }
        assert!(parse(&"given=a&".repeat(40)).is_err());
    }

    #[test]
    fn links_say_the_same_search() {
        let wanted = parse("family=O%27Neil&given=J%26A&_count=2").unwrap();
        let url = wanted.url("http://n/fhir/R4", Some("00ff"));
        let (_, query) = url.split_once('?').unwrap();
        let again = parse(query).unwrap();
        assert!(again.search == wanted.search && again.count == 2);
        assert_eq!(again.page.as_deref(), Some("00ff"));
    }
}
