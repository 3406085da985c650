//! How well a patient is what is searched for.

use super::query::{Pattern, Query, digits};
use super::soundex::{folded, is_slip, soundex};
use super::tokens::postcode;
use crate::json::Json;
use crate::pds::restricted;

/// The score of an exact match.
pub(super) const EXACT: u32 = 10_000;
/// Below this a fuzzy match is none.
const FUZZY_MIN: u32 = 7_000;
/// Factor, in ten thousandths, of what matches only what was once so.
const HISTORIC: u32 = 9_000;
/// Of a word or date that is a slip away.
const SLIP: u32 = 9_000;
/// Of a word that sounds the same, of names in each other's place, of day and month in each other's place, of a birth
/// date whose day is not known.
const ALIKE: u32 = 8_000;

/// What each part of a fuzzy search counts.
const FAMILY_WEIGHT: u32 = 30;
const GIVEN_WEIGHT: u32 = 25;
const BIRTH_WEIGHT: u32 = 25;
const GENDER_WEIGHT: u32 = 10;
const POSTCODE_WEIGHT: u32 = 10;

fn list<'a>(item: &'a Json, name: &str) -> &'a [Json] {
    item.member(name).and_then(Json::as_array).unwrap_or_default()
}

fn text<'a>(item: &'a Json, name: &str) -> &'a str {
    item.member(name).and_then(Json::as_str).unwrap_or_default()
}

/// The score, 1 to 10,000; `None` where the patient is not one who is searched for.
pub(super) fn score(query: &Query, patient: &Json) -> Option<u32> {
    let confidentiality = restricted::confidentiality(patient);
    if confidentiality == Some("REDACTED") {
        return None;
    }
    let hidden = matches!(confidentiality, Some("R" | "V"));
    let asks_for_hidden = query.postcode.is_some()
        || query.practice.is_some()
        || query.email.is_some()
        || query.phone.is_some();
    // Whoever is found by where they live is found there.
    if (hidden && asks_for_hidden) || !passes(query, patient) {
        return None;
    }
    let score = if query.fuzzy {
        fuzzy(query, patient)
    } else {
        plain(query, patient)
    };
    score.filter(|score| *score == EXACT || (!query.exact && *score >= FUZZY_MIN))
}

/// What is never taken in a fuzzy way.
fn passes(query: &Query, patient: &Json) -> bool {
    let of_system = |system: &str, wanted: &Option<String>, read: fn(&str) -> String| {
        wanted.as_ref().is_none_or(|wanted| {
            let points = list(patient, "telecom")
                .iter()
                .filter(|point| text(point, "system") == system);
            points
                .into_iter()
                .any(|point| read(text(point, "value").trim()) == *wanted)
        })
    };
    let practice = query.practice.as_ref().is_none_or(|wanted| {
        list(patient, "generalPractitioner").iter().any(|practice| {
            practice
                .member("identifier")
                .is_some_and(|id| text(id, "value") == wanted)
        })
    });
    let death = query.death.as_ref().is_none_or(|range| {
        let time = text(patient, "deceasedDateTime");
        !time.is_empty() && range.holds(time)
    });
    practice
        && death
        && of_system("email", &query.email, str::to_lowercase)
        && of_system("phone", &query.phone, digits)
}

/// Whether a name or an address is of the present.
fn is_current(item: &Json) -> bool {
    matches!(text(item, "use"), "usual" | "nickname" | "temp" | "home")
}

fn plain(query: &Query, patient: &Json) -> Option<u32> {
    let birth = query.birth.as_ref()?;
    let gender = query
        .gender
        .as_ref()
        .is_none_or(|gender| gender == text(patient, "gender"));
    if !gender || !birth.holds(text(patient, "birthDate")) {
        return None;
    }
    let fits_name = |name: &Json| {
        let family = query
            .family
            .as_ref()
            .is_none_or(|family| family.fits(&folded(text(name, "family"))));
        family
            && query
                .given
                .iter()
                .all(|given| givens(name).any(|word| given.fits(&word)))
    };
    let name = best(list(patient, "name"), query.history, fits_name)?;
    let place = match &query.postcode {
        None => EXACT,
        Some(wanted) => {
            let at = |address: &Json| {
                text(address, "use") != "temp" && wanted.fits(&postcode(text(address, "postalCode")))
            };
            best(list(patient, "address"), query.history, at)?
        }
    };
    Some(name.min(place))
}

/// [`EXACT`] where a present item fits, [`HISTORIC`] where only an earlier one does and those count.
fn best(items: &[Json], history: bool, fits: impl Fn(&Json) -> bool) -> Option<u32> {
    let mut score = None;
    for item in items.iter().filter(|item| history || is_current(item)) {
        if fits(item) {
            let this = if is_current(item) { EXACT } else { HISTORIC };
            score = score.max(Some(this));
        }
    }
    score
}

fn givens(name: &Json) -> impl Iterator<Item = String> {
    list(name, "given")
        .iter()
        .filter_map(|given| given.as_str().map(folded))
}

/// The weighted mean of how well each part fits. Names and the birth date must fit somehow.
fn fuzzy(query: &Query, patient: &Json) -> Option<u32> {
    let names = list(patient, "name")
        .iter()
        .map(|name| (fuzzy_name(query, name), is_current(name)));
    let names = names.filter_map(|(score, current)| {
        score.map(|score| if current { score } else { times(score, HISTORIC) })
    });
    let name = names.max()?;
    let birth = near_date(query, text(patient, "birthDate"))?;
    let mut weighed = birth * BIRTH_WEIGHT;
    let mut weight = BIRTH_WEIGHT;
    let name_weight =
        FAMILY_WEIGHT * u32::from(query.family.is_some()) + GIVEN_WEIGHT * u32::from(!query.given.is_empty());
    weighed += name * name_weight;
    weight += name_weight;
    if let Some(gender) = &query.gender {
        weight += GENDER_WEIGHT;
        weighed += GENDER_WEIGHT
            * if gender == text(patient, "gender") {
                EXACT
            } else {
                0
            };
    }
    if let Some(wanted) = &query.postcode {
        let at = |address: &Json| wanted.fits(&postcode(text(address, "postalCode")));
        weight += POSTCODE_WEIGHT;
        weighed += POSTCODE_WEIGHT * best(list(patient, "address"), true, at).unwrap_or(0);
    }
    Some(weighed / weight)
}

fn times(score: u32, factor: u32) -> u32 {
    score * factor / EXACT
}

/// How well one name fits; family and given may stand in each other's place.
fn fuzzy_name(query: &Query, name: &Json) -> Option<u32> {
    let family = folded(text(name, "family"));
    let given: Vec<String> = givens(name).collect();
    let straight = both(
        query,
        |wanted| near(wanted, &family),
        |wanted| nearest(wanted, &given),
    );
    let swapped = both(
        query,
        |wanted| nearest(wanted, &given),
        |wanted| near(wanted, &family),
    );
    straight.max(swapped.map(|score| times(score, ALIKE)))
}

fn both(
    query: &Query,
    family: impl Fn(&Pattern) -> Option<u32>,
    given: impl Fn(&Pattern) -> Option<u32>,
) -> Option<u32> {
    let (mut weighed, mut weight) = (0, 0);
    if let Some(wanted) = &query.family {
        weighed += family(wanted)? * FAMILY_WEIGHT;
        weight += FAMILY_WEIGHT;
    }
    for wanted in &query.given {
        weighed += given(wanted)? * GIVEN_WEIGHT;
        weight += GIVEN_WEIGHT;
    }
    (weight > 0).then(|| weighed / weight)
}

fn nearest(wanted: &Pattern, words: &[String]) -> Option<u32> {
    words.iter().filter_map(|word| near(wanted, word)).max()
}

fn near(wanted: &Pattern, word: &str) -> Option<u32> {
    if wanted.text == word {
        Some(EXACT)
    } else if is_slip(&wanted.text, word) {
        Some(SLIP)
    } else if soundex(&wanted.text).is_some_and(|sound| soundex(word) == Some(sound)) {
        Some(ALIKE)
    } else {
        None
    }
}

fn near_date(query: &Query, date: &str) -> Option<u32> {
    let wanted = query.birth.as_ref()?;
    if wanted.holds(date) {
        Some(EXACT)
    } else if is_slip(&wanted.from, date) {
        Some(SLIP)
    } else if swapped(&wanted.from).is_some_and(|swapped| swapped == date) || wanted.touches(date) {
        Some(ALIKE)
    } else {
        None
    }
}

/// A date whose day and month stand in each other's place.
pub(super) fn swapped(date: &str) -> Option<String> {
    Some(format!(
        "{}-{}-{}",
        date.get(..4)?,
        date.get(8..10)?,
        date.get(5..7)?
    ))
}
