//! By what a patient is found: a few short words, each the keyed hash of something that searches name. Without the
//! cluster's key they say nothing; with it, they say only which patients to open and look at.

use std::collections::BTreeSet;

use spine_statemachine::key::SubjectKey;

use super::soundex::soundex;
use crate::json::Json;

/// Most tokens of a patient.
pub(super) const TOKENS_MAX: usize = 8;
/// Most different sounds of family names of a patient; that of the usual name first, then as they stand in the record.
const FAMILIES_MAX: usize = 5;
/// Most districts of a patient; that of the home first, then as they stand in the record.
const DISTRICTS_MAX: usize = 2;
/// Different sounds, and districts, of which an earlier release may have chosen others.
const CHOICES_MAX: usize = 32;

/// What all tokens of one meaning are.
pub(in crate::pds) type Token = [u8; 8];

/// A date of birth.
pub(in crate::pds) fn of_birth(subject_key: &SubjectKey, date: &str) -> Token {
    hashed(subject_key, "birth", date, "")
}

/// The sound of a family name and a year of birth.
pub(super) fn of_family(subject_key: &SubjectKey, sound: &str, year: &str) -> Token {
    hashed(subject_key, "family", sound, year)
}

/// The first part of a postcode and a year of birth.
pub(super) fn of_district(subject_key: &SubjectKey, district: &str, year: &str) -> Token {
    hashed(subject_key, "district", district, year)
}

/// The request that a patient was created for. It is not one by which somebody is searched for, and no change of the
/// patient takes it away: the same request is answered with the same number whatever became of them.
pub(in crate::pds) fn of_request(subject_key: &SubjectKey, holder: &[u8]) -> Token {
    let holder: String = holder.iter().map(|byte| format!("{byte:02x}")).collect();
    hashed(subject_key, "request", &holder, "")
}

fn hashed(subject_key: &SubjectKey, kind: &str, one: &str, other: &str) -> Token {
    let mut hasher = blake3::Hasher::new_derive_key("spine pds search token 1");
    for part in [kind, one, other] {
        // No part has a zero byte that a caller chose: what is hashed comes from dates, sounds and postcodes.
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    let [a, b, c, d, e, f, g, h, ..] = subject_key.seal(&hash);
    [a, b, c, d, e, f, g, h]
}

/// The members of a resource.
pub(in crate::pds) type Members = [(String, Json)];

fn member<'a>(patient: &'a Members, name: &str) -> Option<&'a Json> {
    patient
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value)
}

/// The date of birth, which every patient has.
pub(super) fn birth_of(patient: &Members) -> Option<&str> {
    member(patient, "birthDate").and_then(Json::as_str)
}

/// The tokens of a patient.
pub(super) fn of_patient(subject_key: &SubjectKey, patient: &Members) -> BTreeSet<Token> {
    let tokens = chosen(subject_key, patient, FAMILIES_MAX, DISTRICTS_MAX);
    debug_assert!(tokens.len() <= TOKENS_MAX, "one, five and two");
    tokens
}

/// Every token that the patient may have, whichever few of many were chosen; of more than anybody has, the first ones.
pub(super) fn any_of_patient(subject_key: &SubjectKey, patient: &Members) -> BTreeSet<Token> {
    chosen(subject_key, patient, CHOICES_MAX, CHOICES_MAX)
}

fn chosen(
    subject_key: &SubjectKey,
    patient: &Members,
    families_max: usize,
    districts_max: usize,
) -> BTreeSet<Token> {
    let mut tokens = BTreeSet::new();
    let birth = birth_of(patient).unwrap_or_default();
    let Some(year) = birth.get(..4) else { return tokens };
    tokens.insert(of_birth(subject_key, birth));
    let names = first_of_use(patient, "name", "usual");
    let sounds = names.filter_map(|name| soundex(name.member("family")?.as_str()?));
    for sound in distinct(sounds, families_max) {
        tokens.insert(of_family(subject_key, &sound, year));
    }
    let addresses = first_of_use(patient, "address", "home");
    let districts = addresses.filter_map(|address| district(address.member("postalCode")?.as_str()?));
    for district in distinct(districts, districts_max) {
        tokens.insert(of_district(subject_key, &district, year));
    }
    tokens
}

/// Whether a patient may have more names or addresses than tokens for them.
pub(super) fn has_many(patient: &Members) -> bool {
    let count = |list| {
        member(patient, list)
            .and_then(Json::as_array)
            .map_or(0, |items| items.len())
    };
    count("name") > FAMILIES_MAX || count("address") > DISTRICTS_MAX
}

/// The items of a list: those of this use, then all.
fn first_of_use<'a>(patient: &'a Members, list: &str, wanted: &'a str) -> impl Iterator<Item = &'a Json> {
    let items = member(patient, list).and_then(Json::as_array).unwrap_or_default();
    let of_use = |item: &&Json| item.member("use").and_then(Json::as_str) == Some(wanted);
    items.iter().filter(of_use).chain(items)
}

/// The first few different ones.
fn distinct(words: impl Iterator<Item = String>, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    for word in words {
        if found.len() == most {
            break;
        }
        if !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

/// A postcode as postcodes are compared: capitals without spaces.
pub(super) fn postcode(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_whitespace())
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

/// What stands before the last three characters of a postcode.
pub(super) fn district(text: &str) -> Option<String> {
    let postcode = postcode(text);
    let outward = postcode
        .len()
        .checked_sub(3)
        .and_then(|end| postcode.get(..end))?;
    (!outward.is_empty()).then(|| outward.to_owned())
}
