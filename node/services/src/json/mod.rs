//! JSON as patient records need it: order of members and text of numbers kept, nothing ambiguous let in.
//!
//! A general parser would drop one of two equal member names without a word, round numbers, and recurse as deep as
//! its input says. This one refuses duplicates, keeps the text of every number and bounds depth. Faults carry an
//! offset, never content.

mod equal;
mod parse;
mod pointer;
mod scan;
mod write;

use std::fmt;

pub use equal::same;
pub use parse::{Fault, FaultKind, NUMBER_CHARS_MAX, parse};
pub use pointer::{Astray, Pointer, index};
pub use scan::string_member;

/// One JSON value.
#[derive(Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: members in the order they were written, names unique.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The members of an object.
    pub fn as_object(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Object(members) => Some(members),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// The items of an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) | Self::Object(_) => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    /// The member of this name, where this is an object that has it.
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.as_object()?
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value)
    }

    /// The value of this name, where this is an object that has it.
    pub fn member_mut(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => members
                .iter_mut()
                .find(|(candidate, _)| candidate == name)
                .map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// The canonical text: no white space, members in their order, numbers as written, strings least escaped.
    pub fn to_bytes(&self) -> Vec<u8> {
        write::to_bytes(self)
    }
}

impl fmt::Debug for Json {
    /// The shape only: a patient's values must not reach a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Bool(_) => formatter.write_str("boolean"),
            Self::Number(_) => formatter.write_str("number"),
            Self::String(_) => formatter.write_str("string"),
            Self::Array(items) => write!(formatter, "array of {}", items.len()),
            Self::Object(members) => write!(formatter, "object of {}", members.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FaultKind, Json, parse};

    const DEPTH: usize = 32;

    fn canonical(text: &str) -> String {
        String::from_utf8(parse(text.as_bytes(), DEPTH).unwrap().to_bytes()).unwrap()
    }

    fn fault(text: &[u8]) -> FaultKind {
        parse(text, DEPTH).expect_err("should be refused").kind
    }

    #[test]
    fn white_space_goes_and_everything_else_stays() {
        assert_eq!(
            canonical(" { \"b\" : 1.50 ,\n\t\"a\" : [ 1E+2 , -0 , null , true , false ] } "),
            r#"{"b":1.50,"a":[1E+2,-0,null,true,false]}"#
        );
    }

    #[test]
    fn strings_are_escaped_as_little_as_possible() {
        assert_eq!(
            canonical(r#""\u0041\/\u00e9\ud83d\ude00\n\u0001\"\\""#),
            "\"A/é😀\\n\\u0001\\\"\\\\\""
        );
    }

    #[test]
    fn ambiguous_and_malformed_text_is_refused() {
        assert_eq!(fault(br#"{"a":1,"a":2}"#), FaultKind::DuplicateMember);
        assert_eq!(fault(br#"{"a":1,"\u0061":2}"#), FaultKind::DuplicateMember);
        assert_eq!(fault(b"\"\xff\""), FaultKind::NotUtf8);
        assert_eq!(fault(br#""\ud800""#), FaultKind::Malformed);
        assert_eq!(fault(br#""\udc00\ud800""#), FaultKind::Malformed);
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "nul",
            "[] []",
            "\"\n\"",
            "\u{feff}{}",
            "'a'",
        ] {
            assert_eq!(fault(text.as_bytes()), FaultKind::Malformed, "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded_before_the_stack_is() {
        assert!(parse("[".repeat(DEPTH).as_bytes(), DEPTH).err().unwrap().kind == FaultKind::Malformed);
        assert_eq!(fault("[".repeat(DEPTH + 1).as_bytes()), FaultKind::TooDeep);
        assert_eq!(fault("{\"a\":".repeat(1_000_000).as_bytes()), FaultKind::TooDeep);
        let allowed = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
        assert_eq!(canonical(&allowed), allowed);
    }

    #[test]
    fn long_numbers_are_refused() {
        assert_eq!(fault("9".repeat(65).as_bytes()), FaultKind::NumberTooLong);
        assert_eq!(canonical(&"9".repeat(64)), "9".repeat(64));
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i64>().prop_map(|number| Json::Number(number.to_string())),
            any::<String>().prop_map(Json::String),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in any_json()) {
            let text = value.to_bytes();
            prop_assert!(parse(&text, DEPTH).ok() == Some(value));
        }

        #[test]
        fn a_general_parser_agrees(value in any_json()) {
            let ours = value.to_bytes();
            let theirs: serde_json::Value = serde_json::from_slice(&ours).unwrap();
            prop_assert_eq!(serde_json::to_vec(&theirs).unwrap(), ours);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, DEPTH);
        }

        #[test]
        fn what_it_accepts_a_general_parser_accepts(text in r#"[\[\]{}",:0-9eE+\-. \\ubntrfalse]{0,24}"#) {
            let ours = parse(text.as_bytes(), DEPTH).is_ok();
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            // The only text they take and we refuse has duplicate members.
            prop_assert!(ours == theirs || (theirs && text.contains('{')), "{}", text);
        }
    }
}
