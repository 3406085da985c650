//! How to reach a patient: numbers kept for drama by Ofcom, and `example.org`.

use serde_json::{Value, json};

use super::draw::Draw;

/// A mobile number of the range 07700 900000 to 900999.
pub(super) fn mobile(draw: &mut Draw) -> String {
    format!("07700900{:03}", draw.below(1_000))
}

/// A landline number of the range 01632 960000 to 960999, an area code that belongs to no place.
pub(super) fn landline(draw: &mut Draw) -> String {
    format!("01632960{:03}", draw.below(1_000))
}

/// An address made of the plain letters of a name and a number.
pub(super) fn email(draw: &mut Draw, given: &str, family: &str) -> String {
    let plain = |text: &str| {
        text.chars()
            .filter(char::is_ascii_alphabetic)
            .collect::<String>()
            .to_ascii_lowercase()
    };
    let number = draw.between(1, 9_999);
    format!("{}.{}{number}@example.org", plain(given), plain(family))
}

/// A FHIR contact point.
pub(super) fn point(id: &str, system: &str, usage: &str, value: &str, start: &str) -> Value {
    json!({ "id": id, "period": { "start": start }, "system": system, "value": value, "use": usage })
}
