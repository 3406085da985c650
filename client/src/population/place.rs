//! Where a patient lives: real towns and outward postcodes, invented streets and inward postcodes.

use serde_json::{Value, json};

use super::draw::Draw;
use super::lists::{HOUSES, LOCALITIES, STREET_KINDS, STREETS, TOWNS};

/// Letters of inward postcodes; Royal Mail leaves out those that are misread.
const INWARD_LETTERS: &[u8] = b"ABDEFGHJLNPQRSTUWXYZ";
/// The postcode of people of no fixed abode, and its lines.
const NO_FIXED_ABODE_POSTCODE: &str = "ZZ99 3VZ";

/// Everything of an address but its use and period.
pub(super) struct Place {
    lines: Vec<String>,
    post_code: String,
}

impl Place {
    pub(super) fn draw(draw: &mut Draw) -> Self {
        if draw.chance(2) {
            return Self {
                lines: vec!["No Fixed Abode".to_owned()],
                post_code: NO_FIXED_ABODE_POSTCODE.to_owned(),
            };
        }
        let mut fields = draw.pick(&TOWNS).split('|');
        let (town, county) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        let outwards: Vec<&str> = fields.next().unwrap_or_default().split(',').collect();
        let street = format!("{} {}", draw.pick(&STREETS), draw.pick(&STREET_KINDS));
        let house = draw.between(1, 180);
        let mut lines = match draw.weighted(&[70, 20, 10]) {
            0 => vec![format!("{house} {street}")],
            1 => vec![
                format!("Flat {}", draw.between(1, 40)),
                format!("{house} {street}"),
            ],
            _ => vec![draw.pick(&HOUSES).to_owned(), street],
        };
        if draw.chance(300) {
            lines.push(draw.pick(&LOCALITIES).to_owned());
        }
        lines.push(town.to_owned());
        if !county.is_empty() {
            lines.push(county.to_owned());
        }
        let post_code = format!("{} {}", draw.pick(&outwards), inward(draw));
        Self { lines, post_code }
    }

    /// The FHIR address with this id and use.
    pub(super) fn address(self, id: &str, usage: &str, period: &Value) -> Value {
        json!({
            "id": id,
            "use": usage,
            "period": period,
            "line": self.lines,
            "postalCode": self.post_code,
        })
    }
}

fn inward(draw: &mut Draw) -> String {
    let digit = draw.below(10);
    let mut inward = digit.to_string();
    for _ in 0..2 {
        let at = draw.below(u32::try_from(INWARD_LETTERS.len()).unwrap_or(1));
        inward.push(char::from(INWARD_LETTERS[usize::try_from(at).unwrap_or(0)]));
    }
    inward
}
