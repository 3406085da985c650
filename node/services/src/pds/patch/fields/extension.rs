//! Extensions of the patient: pharmacies, language, birth place.

use std::collections::BTreeMap;

use super::super::changes::{Changed, Changes, items, text};
use super::practice::has_ods_code;
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::rules::{PDS_43, PDS_44, PDS_45};

/// The ends of the urls of extensions that name a dispenser.
const DISPENSERS: [&str; 3] = [
    "UKCore-NominatedPharmacy",
    "UKCore-PreferredDispenserOrganization",
    "UKCore-MedicalApplianceSupplier",
];
/// The one language that needs no entry.
const ENGLISH: &str = "en";
/// Parts of which a birth place has at least one.
const PLACES: [&str; 3] = ["city", "district", "country"];
/// Codes of countries that ISO 3166-1 does not have: England, Scotland, Wales, Northern Ireland, Sark, Alderney, Channel
/// Islands.
const COUNTRIES_OF_UK: [&str; 7] = ["1", "2", "3", "4", "7", "9", "10"];
/// Letters of a code of ISO 3166-1.
const COUNTRY_LETTERS: usize = 3;

/// # Errors
/// `PDS-43` to `PDS-45`
pub(super) fn check(changes: &Changes<'_>) -> Result<(), Failure> {
    let changed = changes.items("extension");
    if changed.is_empty() {
        return Ok(());
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let urls = items(changes.after, "extension").iter();
    for url in urls.filter_map(|extension| text(extension, "url")) {
        *counts.entry(url).or_default() += 1;
    }
    for changed in changed {
        let url = text(changed.after, "url");
        let url = url.ok_or_else(|| PDS_43.update("extension", "an extension has a url"))?;
        if counts.get(url).is_some_and(|count| *count > 1) {
            return Err(PDS_43.update("extension", "multiple extensions of one url cannot be added"));
        }
        one(&changed, url)?;
    }
    Ok(())
}

fn one(changed: &Changed<'_>, url: &str) -> Result<(), Failure> {
    let field = format!("extension[{}]", changed.at);
    if DISPENSERS.iter().any(|end| url.ends_with(end)) {
        let reference = changed.after.member("valueReference");
        let identifier = reference.and_then(|reference| reference.member("identifier"));
        if !identifier.is_some_and(has_ods_code) {
            return Err(PDS_43.update(field, "a dispenser has an ODS code"));
        }
    } else if url.ends_with("UKCore-NHSCommunication") {
        check_language(changed.after, field)?;
    } else if url.ends_with("patient-birthPlace") {
        check_birth_place(changed.after.member("valueAddress"), field)?;
    }
    Ok(())
}

/// The part of an extension with this url.
pub(super) fn part<'a>(extension: &'a Json, url: &str) -> Option<&'a Json> {
    let parts = extension.member("extension")?.as_array()?;
    parts.iter().find(|part| text(part, "url") == Some(url))
}

/// The code of the first coding of a part.
pub(super) fn code(part: &Json) -> Option<&str> {
    let coding = part
        .member("valueCodeableConcept")?
        .member("coding")?
        .as_array()?;
    text(coding.first()?, "code")
}

fn check_language(extension: &Json, field: String) -> Result<(), Failure> {
    match part(extension, "language").and_then(code) {
        Some(ENGLISH) => Err(PDS_44.update(field, "English needs no entry")),
        // Codes of ISO 639-1, and of those languages that have none there, of the list's own.
        Some(code)
            if (2..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            Ok(())
        }
        Some(_) | None => Err(PDS_44.update(field, "a language is a code of ISO 639-1")),
    }
}

fn check_birth_place(place: Option<&Json>, field: String) -> Result<(), Failure> {
    let says = |part: &&str| {
        place.is_some_and(|place| text(place, part).is_some_and(|text| !text.trim().is_empty()))
    };
    if !PLACES.iter().any(says) {
        return Err(PDS_45.update(field, "a birth place has a city, a district or a country"));
    }
    let country = place.and_then(|place| place.member("country"));
    if country.is_none_or(|country| country.as_str().is_some_and(is_country)) {
        return Ok(());
    }
    let message = "the country of a birth place is a code of three letters, or one of the UK";
    Err(PDS_45.update(field, message))
}

fn is_country(code: &str) -> bool {
    let of_iso = code.len() == COUNTRY_LETTERS && code.bytes().all(|byte| byte.is_ascii_uppercase());
    of_iso || COUNTRIES_OF_UK.contains(&code)
}
