//! Pages of what was found, for callers who take a few patients at a time.
//!
//! Every page is a search anew. A token names the last patient of the page before it, by what orders them: score and
//! number. So whoever is found by both searches is shown once, whatever is written in between. The number stands in it
//! as a subject, and it is good for the search that it was made for alone.

use spine_proto::ids::NhsNumber;
use spine_proto::pds::v1::{SearchMatch, SearchRequest};
use spine_statemachine::key::{SUBJECT_BYTES, SubjectKey};

use crate::error::{ErrorKind, SpineError};
use crate::reason;

/// Matches of a page at most, and where the caller does not say.
pub const PAGE_MATCHES_MAX: usize = super::query::RESULTS_MAX;
/// The only form of tokens so far.
const VERSION: u8 = 1;
/// Of which search it is.
const MARK_BYTES: usize = 8;
const TOKEN_BYTES: usize = 1 + MARK_BYTES + 4 + SUBJECT_BYTES;

/// A place behind a patient.
pub struct PageToken {
    score: u32,
    nhs_number: String,
}

/// Part of what was found.
pub struct Page {
    /// In order.
    pub matches: Vec<SearchMatch>,
    /// On all pages.
    pub total: usize,
    /// Of the page behind this one.
    pub next: Option<String>,
}

impl PageToken {
    /// Reads one that a page of this search has given.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN`
    pub fn parse(text: &str, search: &SearchRequest, subject_key: &SubjectKey) -> Result<Self, SpineError> {
        read(text, search, subject_key).ok_or_else(|| {
            let message = "the page token is not one of this search";
            SpineError::new(ErrorKind::Invalid, reason::INVALID_PAGE_TOKEN, message)
        })
    }

    fn is_before(&self, one: &SearchMatch) -> bool {
        let number = number_of(one);
        one.score < self.score || (one.score == self.score && number > self.nhs_number.as_str())
    }
}

fn number_of(one: &SearchMatch) -> &str {
    one.patient
        .as_ref()
        .map_or("", |patient| patient.nhs_number.as_str())
}

fn read(text: &str, search: &SearchRequest, subject_key: &SubjectKey) -> Option<PageToken> {
    let bytes = unhex(text)?;
    let (version, rest) = bytes.split_first()?;
    let (mark, rest) = rest.split_at_checked(MARK_BYTES)?;
    let (score, subject) = rest.split_at_checked(4)?;
    if *version != VERSION || mark != mark_of(search, subject_key) {
        return None;
    }
    let routing_key = subject_key.routing_key(&subject.try_into().ok()?)?;
    let nhs_number = NhsNumber::parse(routing_key.expose()).ok()?;
    Some(PageToken {
        score: u32::from_be_bytes(score.try_into().ok()?),
        nhs_number: nhs_number.expose(),
    })
}

/// The page of `count` behind a token, or the first one. `matches` are in order, best first.
#[must_use]
pub fn page(
    matches: Vec<SearchMatch>,
    after: Option<&PageToken>,
    count: usize,
    search: &SearchRequest,
    subject_key: &SubjectKey,
) -> Page {
    let total = matches.len();
    let mut rest = matches
        .into_iter()
        .filter(|one| after.is_none_or(|token| token.is_before(one)));
    let matches: Vec<SearchMatch> = rest.by_ref().take(count).collect();
    let next = match (rest.next(), matches.last()) {
        (Some(_), Some(last)) => token_behind(last, search, subject_key),
        _ => None,
    };
    Page { matches, total, next }
}

fn token_behind(last: &SearchMatch, search: &SearchRequest, subject_key: &SubjectKey) -> Option<String> {
    let routing_key = NhsNumber::parse(number_of(last)).ok()?.routing_key();
    let mut bytes = Vec::with_capacity(TOKEN_BYTES);
    bytes.push(VERSION);
    bytes.extend(mark_of(search, subject_key));
    bytes.extend(last.score.to_be_bytes());
    bytes.extend(subject_key.subject(&routing_key));
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Without the cluster's key it says nothing of what was searched for.
fn mark_of(search: &SearchRequest, subject_key: &SubjectKey) -> [u8; MARK_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("spine pds search page 1");
    for parameter in &search.parameters {
        for part in [&parameter.name, &parameter.value] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
    }
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    let [a, b, c, d, e, f, g, h, ..] = subject_key.seal(&hash);
    [a, b, c, d, e, f, g, h]
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * TOKEN_BYTES || !text.is_ascii() {
        return None;
    }
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use spine_proto::pds::v1::{Patient, SearchParameter};

    use super::*;

    const NUMBERS: [&str; 5] = [
        "9990000018",
        "9990000026",
        "9990000034",
        "9990000042",
        "9990000050",
    ];

    fn key() -> SubjectKey {
        SubjectKey::new([7; 16])
    }

    fn search(value: &str) -> SearchRequest {
        let parameter = SearchParameter {
            name: "family".to_owned(),
            value: value.to_owned(),
        };
        SearchRequest {
            parameters: vec![parameter],
        }
    }

    fn found(all: &[(&str, u32)]) -> Vec<SearchMatch> {
        let found = all.iter().map(|(number, score)| SearchMatch {
            patient: Some(Patient {
                nhs_number: (*number).to_owned(),
                ..Patient::default()
            }),
            score: *score,
        });
        found.collect()
    }

    fn numbers(page: &Page) -> Vec<&str> {
        page.matches.iter().map(number_of).collect()
    }

    #[test]
    fn pages_follow_each_other_and_show_everybody_once() {
        let search = search("Smith");
        let all: Vec<_> = NUMBERS
            .iter()
            .zip([10_000, 9_000, 9_000, 9_000, 8_000])
            .map(|(n, s)| (*n, s))
            .collect();
        let (mut token, mut shown) = (None, Vec::new());
        for _ in 0..NUMBERS.len() {
            let page = page(found(&all), token.as_ref(), 2, &search, &key());
            assert_eq!(page.total, NUMBERS.len());
            shown.extend(numbers(&page).into_iter().map(str::to_owned));
            let Some(next) = &page.next else { break };
            assert!(!next.contains(NUMBERS[1]));
            token = Some(PageToken::parse(next, &search, &key()).unwrap());
        }
        assert_eq!(shown, NUMBERS);
    }

    #[test]
    fn whoever_comes_or_goes_in_between_moves_nobody_else() {
        let search = search("Smith");
        let first = page(
            found(&[(NUMBERS[1], 9_000), (NUMBERS[2], 9_000), (NUMBERS[3], 9_000)]),
            None,
            1,
            &search,
            &key(),
        );
        let token = PageToken::parse(&first.next.unwrap(), &search, &key()).unwrap();
        let now = found(&[(NUMBERS[0], 9_000), (NUMBERS[2], 9_000), (NUMBERS[3], 9_000)]);
        let second = page(now, Some(&token), 5, &search, &key());
        assert_eq!(numbers(&second), NUMBERS[2..4]);
        assert!(second.next.is_none());
    }

    #[test]
    fn a_token_is_good_for_its_own_search_and_cluster() {
        let two = found(&[(NUMBERS[0], 1), (NUMBERS[1], 1)]);
        let token = page(two, None, 1, &search("Smith"), &key()).next.unwrap();
        assert!(PageToken::parse(&token, &search("Smith"), &key()).is_ok());
        let another = SubjectKey::new([8; 16]);
        assert!(PageToken::parse(&token, &search("Jones"), &key()).is_err());
        assert!(PageToken::parse(&token, &search("Smith"), &another).is_err());
        for bad in [
            "",
            "1",
            "é",
            &token[1..],
            &token.replace('0', "g"),
            &format!("{token}00"),
        ] {
            assert!(PageToken::parse(bad, &search("Smith"), &key()).is_err(), "{bad}");
        }
        let mut flipped = token.into_bytes();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        let flipped = String::from_utf8(flipped).unwrap();
        assert!(PageToken::parse(&flipped, &search("Smith"), &key()).is_err());
    }
}
