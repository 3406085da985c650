//! Addresses.

use super::super::changes::{Changed, Changes, items, text};
use crate::failure::Failure;
use crate::json::Json;
use crate::pds::rules::{PDS_31, PDS_32, PDS_34};

/// Premises, street, locality, town, county.
const LINES_MAX: usize = 5;
/// Uses that an address may be given.
const USES: [&str; 3] = ["home", "temp", "billing"];
/// What a temporary address may be called.
const TEMPORARY: [&str; 7] = [
    "Second Home",
    "Student Accommodation",
    "Respite Care Address",
    "Temporary Residence Address",
    "Convalescence Home",
    "Mobile Home",
    "Holiday Home",
];
/// The end of the url of the extension that holds a key of the postcode address file.
const ADDRESS_KEY: &str = "Extension-UKCore-AddressKey";

/// # Errors
/// `PDS-31`, `PDS-32`, `PDS-34`
pub(super) fn check(changes: &Changes<'_>) -> Result<(), Failure> {
    for changed in changes.items("address") {
        check_use(changes, &changed)?;
        check_lines(&changed)?;
        let called = text(changed.after, "text");
        if text(changed.after, "use") == Some("temp")
            && called.is_some_and(|called| !TEMPORARY.contains(&called))
        {
            let field = format!("address[{}].text", changed.at);
            return Err(PDS_34.update(field, "the text of a temporary address is not of the list"));
        }
    }
    Ok(())
}

fn check_use(changes: &Changes<'_>, changed: &Changed<'_>) -> Result<(), Failure> {
    let field = format!("address[{}].use", changed.at);
    let usage = text(changed.after, "use").filter(|usage| USES.contains(usage));
    let Some(usage) = usage else {
        return Err(PDS_32.update(field, "an address is of use home, temp or billing"));
    };
    let others = items(changes.after, "address")
        .iter()
        .filter(|other| text(other, "use") == Some(usage));
    if others.count() > 1 {
        return Err(PDS_32.update(
            field,
            format!("multiple addresses of use '{usage}' cannot be added"),
        ));
    }
    Ok(())
}

fn check_lines(changed: &Changed<'_>) -> Result<(), Failure> {
    let at = changed.at;
    let lines = changed
        .after
        .member("line")
        .and_then(Json::as_array)
        .unwrap_or_default();
    if lines.is_empty() || lines.len() > LINES_MAX || lines.iter().any(|line| line.as_str().is_none()) {
        let message = format!("an address has 1 to {LINES_MAX} lines");
        return Err(PDS_31.update(format!("address[{at}].line"), message));
    }
    match text(changed.after, "postalCode") {
        Some(postcode) if is_postcode(postcode) => Ok(()),
        None if has_key(changed.after) => Ok(()),
        Some(_) | None => {
            let message = "an address needs a postcode, or a key of the postcode address file";
            Err(PDS_31.update(format!("address[{at}].postalCode"), message))
        }
    }
}

fn has_key(address: &Json) -> bool {
    let extensions = address
        .member("extension")
        .and_then(Json::as_array)
        .unwrap_or_default();
    extensions
        .iter()
        .any(|extension| text(extension, "url").is_some_and(|url| url.ends_with(ADDRESS_KEY)))
}

/// `LS1 6AE`, and pseudo postcodes such as `ZZ99 3VZ`: two to four characters, a space, a digit and two letters.
fn is_postcode(text: &str) -> bool {
    let Some((outward, inward)) = text.split_once(' ') else {
        return false;
    };
    let word = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    let inward = inward.as_bytes();
    (2..=4).contains(&outward.len())
        && word(outward)
        && outward.starts_with(|first: char| first.is_ascii_uppercase())
        && matches!(inward, [b'0'..=b'9', b'A'..=b'Z', b'A'..=b'Z'])
}
