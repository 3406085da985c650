//! Whether two values are the same JSON value (RFC 6902, section 4.6): members in any order, numbers by their value.

use super::Json;

/// More members than this are sorted before they are compared.
const PAIRWISE_MEMBERS_MAX: usize = 16;

/// Equal as JSON.
pub fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => {
            one == other || decimal(one).is_some_and(|value| decimal(other) == Some(value))
        }
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => one.len() == other.len() && same_members(one, other),
        _ => one == other,
    }
}

fn same_members(one: &[(String, Json)], other: &[(String, Json)]) -> bool {
    let in_order = one.iter().zip(other).all(|((name, _), (named, _))| name == named);
    if in_order {
        return one
            .iter()
            .zip(other)
            .all(|((_, value), (_, valued))| same(value, valued));
    }
    if one.len() <= PAIRWISE_MEMBERS_MAX {
        return one.iter().all(|(name, value)| {
            let found = other.iter().find(|(named, _)| named == name);
            found.is_some_and(|(_, valued)| same(value, valued))
        });
    }
    let sorted = |members: &'_ [(String, Json)]| {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_unstable_by(|a, b| members[*a].0.cmp(&members[*b].0));
        order
    };
    let pairs = sorted(one).into_iter().zip(sorted(other));
    pairs
        .into_iter()
        .all(|(a, b)| one[a].0 == other[b].0 && same(&one[a].1, &other[b].1))
}

/// Sign, digits without zeros around them, and the power of ten of the last digit. The text is a JSON number of bounded
/// length; an exponent beyond all bounds makes the number equal to itself only.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let mut power = i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    let kept = digits.trim_end_matches('0');
    power += i64::try_from(digits.len() - kept.len()).ok()?;
    let kept = kept.trim_start_matches('0');
    if kept.is_empty() {
        return Some((false, String::new(), 0));
    }
    Some((negative, kept.to_owned(), power))
}

#[cfg(test)]
mod tests {
    use super::same;
    use crate::json::parse;

    fn equal(one: &str, other: &str) -> bool {
        same(
            &parse(one.as_bytes(), 8).unwrap(),
            &parse(other.as_bytes(), 8).unwrap(),
        )
    }

    #[test]
    fn numbers_are_equal_by_value() {
        for (one, other) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("0", "-0.00"),
            ("1.5e1", "15"),
            ("-2.50", "-25E-1"),
        ] {
            assert!(equal(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1", "-1"),
            ("1", "10"),
            ("1e999999999999", "1e999999999998"),
            ("1", "\"1\""),
        ] {
            assert!(!equal(one, other), "{one} {other}");
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter_and_that_of_items_does() {
        assert!(equal(r#"{"a":1,"b":[1,2]}"#, r#"{"b":[1,2],"a":1}"#));
        assert!(!equal(r#"{"a":1}"#, r#"{"a":1,"b":2}"#));
        assert!(!equal("[1,2]", "[2,1]"));
        let many = |order: &mut dyn Iterator<Item = u32>| {
            let members: Vec<String> = order.map(|n| format!("\"m{n}\":{n}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(equal(&many(&mut (0..100)), &many(&mut (0..100).rev())));
        assert!(!equal(&many(&mut (0..100)), &many(&mut (1..101).rev())));
    }
}
