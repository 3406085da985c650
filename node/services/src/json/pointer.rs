//! JSON pointers (RFC 6901), and what they point at.

use super::Json;

/// Most steps of a pointer: deeper than any record is nested.
const STEPS_MAX: usize = 40;

/// A parsed pointer.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Why a step leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Astray {
    /// An array has no such index; the step at this place of the pointer names it.
    OutOfBounds(usize),
    /// What the step at this place names does not exist.
    Missing(usize),
}

impl Pointer {
    /// `None` for text that is no pointer, or has too many steps.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let steps: Option<Vec<String>> = text.strip_prefix('/')?.split('/').map(unescape).collect();
        steps.filter(|steps| steps.len() <= STEPS_MAX).map(Self)
    }

    /// The steps, unescaped.
    pub fn steps(&self) -> &[String] {
        &self.0
    }

    /// What it points at.
    ///
    /// # Errors
    /// [`Astray`]
    pub fn find<'a>(&self, root: &'a mut Json) -> Result<&'a mut Json, Astray> {
        follow(root, &self.0)
    }

    /// What holds the last step; `None` for the root, which nothing holds.
    ///
    /// # Errors
    /// [`Astray`]
    pub fn parent<'a, 'b>(&'b self, root: &'a mut Json) -> Result<Option<(&'a mut Json, &'b str)>, Astray> {
        match self.0.split_last() {
            None => Ok(None),
            Some((last, before)) => Ok(Some((follow(root, before)?, last))),
        }
    }
}

fn follow<'a>(root: &'a mut Json, steps: &[String]) -> Result<&'a mut Json, Astray> {
    let mut at = root;
    for (place, step) in steps.iter().enumerate() {
        at = match at {
            Json::Object(members) => members
                .iter_mut()
                .find(|(name, _)| name == step)
                .map(|(_, value)| value)
                .ok_or(Astray::Missing(place))?,
            Json::Array(items) => {
                let index = index(step).ok_or(Astray::Missing(place))?;
                items.get_mut(index).ok_or(Astray::OutOfBounds(place))?
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
                return Err(Astray::Missing(place));
            }
        };
    }
    Ok(at)
}

/// Decimal without leading zeros.
pub fn index(step: &str) -> Option<usize> {
    let plain = step.bytes().all(|byte| byte.is_ascii_digit());
    let leading = step.len() > 1 && step.starts_with('0');
    if plain && !leading {
        step.parse().ok()
    } else {
        None
    }
}

fn unescape(step: &str) -> Option<String> {
    if !step.contains('~') {
        return Some(step.to_owned());
    }
    let mut out = String::with_capacity(step.len());
    let mut rest = step.chars();
    while let Some(character) = rest.next() {
        match character {
            '~' => out.push(match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            }),
            other => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Astray, Pointer};
    use crate::json::parse;

    fn found(text: &str) -> Result<String, Astray> {
        let mut json = parse(br#"{"a":[{"b/c":1,"d~e":2}],"":3}"#, 8).unwrap();
        let found = Pointer::parse(text).unwrap().find(&mut json)?.to_bytes();
        Ok(String::from_utf8(found).unwrap())
    }

    #[test]
    fn steps_lead_where_the_standard_says() {
        assert_eq!(found("/a/0/b~1c"), Ok("1".to_owned()));
        assert_eq!(found("/a/0/d~0e"), Ok("2".to_owned()));
        assert_eq!(found("/"), Ok("3".to_owned()));
        assert_eq!(found("/a/1"), Err(Astray::OutOfBounds(1)));
        assert_eq!(found("/a/-"), Err(Astray::Missing(1)));
        assert_eq!(found("/a/00"), Err(Astray::Missing(1)));
        assert_eq!(found("/x/y"), Err(Astray::Missing(0)));
        assert_eq!(found("/a/0/b~1c/z"), Err(Astray::Missing(3)));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for text in ["a", "a/b", "/~", "/~2", "/a~"] {
            assert!(Pointer::parse(text).is_none(), "{text}");
        }
        assert!(Pointer::parse(&"/a".repeat(1_000)).is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[/~0-9a-]{0,20}") {
            if let Some(pointer) = Pointer::parse(&text) {
                let mut json = parse(br#"{"a":[{"a":[1]}]}"#, 8).unwrap();
                let _ = pointer.find(&mut json);
            }
        }
    }
}
