//! What is searched for.

use spine_proto::pds::v1::SearchParameter;

use super::soundex::folded;
use super::tokens::postcode;
use crate::date::Span;
use crate::failure::Failure;
use crate::reason;

/// Results of a search at most, and where the caller does not say.
pub(super) const RESULTS_MAX: usize = 50;
/// Given names of a search.
const GIVEN_MAX: usize = 8;
/// Characters of a parameter.
const VALUE_CHARS_MAX: usize = 100;
/// Characters before a wildcard.
const BEFORE_WILDCARD_MIN: usize = 2;
/// Bytes of `yyyy-mm-dd`.
const DAY_BYTES: usize = 10;
/// Where a range without a beginning begins, and one without an end ends.
const EVER: (&str, &str) = ("0000-01-01", "9999-12-31");

/// A search whose parts are well formed and enough.
#[derive(Default)]
pub(super) struct Query {
    pub(super) family: Option<Pattern>,
    pub(super) given: Vec<Pattern>,
    pub(super) gender: Option<String>,
    pub(super) birth: Option<Range>,
    pub(super) death: Option<Range>,
    pub(super) postcode: Option<Pattern>,
    pub(super) practice: Option<String>,
    pub(super) email: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) fuzzy: bool,
    pub(super) exact: bool,
    pub(super) history: bool,
    /// `None` where the caller does not say.
    pub(super) max_results: Option<usize>,
}

/// A word with wildcards, folded.
pub(super) struct Pattern {
    pub(super) text: String,
}

/// Days, first and last.
#[derive(Clone)]
pub(super) struct Range {
    pub(super) from: String,
    pub(super) to: String,
}

impl Pattern {
    pub(super) fn has_wildcard(&self) -> bool {
        self.text.contains('*')
    }

    /// Whether a folded word is of this pattern; each `*` stands for any characters.
    pub(super) fn fits(&self, word: &str) -> bool {
        let mut parts = self.text.split('*');
        let Some(mut rest) = word.strip_prefix(parts.next().unwrap_or_default()) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.len() >= part.len() && rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        false
    }
}

impl Range {
    /// Whether a date, or the day of a time, is within. A date without its day is where one of its days is, but it is
    /// not just the one day that is searched for.
    pub(super) fn holds(&self, date: &str) -> bool {
        match date.get(..DAY_BYTES) {
            Some(day) => (self.from.as_str()..=self.to.as_str()).contains(&day),
            None => self.from != self.to && self.touches(date),
        }
    }

    /// Whether a day of a date that lacks its day, such as `1980-05`, is within.
    pub(super) fn touches(&self, date: &str) -> bool {
        // A day begins with the month and the year that it is of.
        let ends = self.from.get(..date.len()).zip(self.to.get(..date.len()));
        let is_part = !date.is_empty() && date.len() < DAY_BYTES;
        is_part && ends.is_some_and(|(from, to)| (from..=to).contains(&date))
    }
}

fn invalid(message: &'static str) -> Failure {
    Failure::invalid(reason::INVALID_SEARCH_DATA, "", message)
}

impl Query {
    /// # Errors
    /// `ADDITIONAL_PROPERTIES`, `UNSUPPORTED_SERVICE` without parameters, `INVALID_SEARCH_DATA`.
    pub(super) fn parse(parameters: &[SearchParameter]) -> Result<Self, Failure> {
        if parameters.is_empty() {
            return Err(Failure::invalid(
                reason::UNSUPPORTED_SERVICE,
                "",
                "a search needs parameters",
            ));
        }
        let mut query = Self::default();
        let (mut births, mut deaths) = (Vec::new(), Vec::new());
        for SearchParameter { name, value } in parameters {
            let value = value.trim();
            if value.is_empty() || value.chars().count() > VALUE_CHARS_MAX {
                return Err(invalid("a parameter is empty or too long"));
            }
            match name.as_str() {
                "birthdate" => births.push(bound(value)?),
                "death-date" => deaths.push(bound(value)?),
                _ => query.set(name, value)?,
            }
        }
        query.birth = range(&births)?;
        query.death = open_range(&deaths)?;
        query.check()?;
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        match name {
            "family" => once(&mut self.family, pattern(folded(value))?),
            "given" if self.given.len() == GIVEN_MAX => Err(invalid("too many given names")),
            "given" => {
                self.given.push(pattern(folded(value))?);
                Ok(())
            }
            "gender" if ["male", "female", "other", "unknown"].contains(&value) => {
                once(&mut self.gender, value.to_owned())
            }
            "gender" => Err(invalid("gender is male, female, other or unknown")),
            "address-postalcode" | "address-postcode" => once(&mut self.postcode, pattern(postcode(value))?),
            "general-practitioner" => once(&mut self.practice, value.to_ascii_uppercase()),
            "email" => once(&mut self.email, value.to_lowercase()),
            "phone" => match digits(value) {
                none if none.is_empty() => Err(invalid("a telephone number has digits")),
                number => once(&mut self.phone, number),
            },
            "_fuzzy-match" => flag(&mut self.fuzzy, value),
            "_exact-match" => flag(&mut self.exact, value),
            "_history" => flag(&mut self.history, value),
            "_max-results" => {
                let number = value
                    .parse()
                    .ok()
                    .filter(|number| (1..=RESULTS_MAX).contains(number));
                once(
                    &mut self.max_results,
                    number.ok_or_else(|| invalid("_max-results is 1 to 50"))?,
                )
            }
            _ => Err(Failure::invalid(
                reason::ADDITIONAL_PROPERTIES,
                "",
                "a parameter is not one of this search",
            )),
        }
    }

    /// Whether the parts go together and are enough.
    fn check(&self) -> Result<(), Failure> {
        if self.fuzzy && self.exact {
            return Err(invalid("a search is fuzzy or exact"));
        }
        let mut patterns = self.family.iter().chain(&self.given).chain(&self.postcode);
        if self.fuzzy && patterns.any(Pattern::has_wildcard) {
            return Err(invalid("a fuzzy search has no wildcards"));
        }
        let birth = self.birth.is_some();
        let (family, given) = (self.family.is_some(), !self.given.is_empty());
        let placed = self.gender.is_some() && self.postcode.is_some();
        let enough = if self.fuzzy {
            birth && [family, given, placed].into_iter().filter(|there| *there).count() >= 2
        } else {
            birth && family
        };
        if enough {
            Ok(())
        } else {
            Err(invalid("not enough search data"))
        }
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Failure> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(invalid("a parameter stands there twice")),
    }
}

fn flag(place: &mut bool, value: &str) -> Result<(), Failure> {
    *place = match value {
        "true" => true,
        "false" => false,
        _ => return Err(invalid("a flag is true or false")),
    };
    Ok(())
}

fn pattern(text: String) -> Result<Pattern, Failure> {
    let early = text
        .chars()
        .take(BEFORE_WILDCARD_MIN)
        .any(|character| character == '*');
    if early {
        return Err(invalid("a wildcard stands behind two characters"));
    }
    Ok(Pattern { text })
}

/// The digits of a telephone number, without the country.
pub(super) fn digits(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits
        .strip_prefix("44")
        .map_or_else(|| digits.clone(), |rest| format!("0{rest}"))
}

/// `eq`, `ge` or `le`, and a day.
fn bound(value: &str) -> Result<(&str, &str), Failure> {
    let (prefix, day) = match value.get(..2) {
        Some(prefix @ ("eq" | "ge" | "le")) => (prefix, &value[2..]),
        _ => ("eq", value),
    };
    if day.len() == DAY_BYTES && Span::parse_date(day).is_some() {
        Ok((prefix, day))
    } else {
        Err(invalid("a date is a day, with eq, ge or le"))
    }
}

/// Days that say which patients to look at: the range has two ends.
fn range(bounds: &[(&str, &str)]) -> Result<Option<Range>, Failure> {
    match *bounds {
        [] => Ok(None),
        [("eq", day)] => Ok(Some(days(day, day))),
        [("ge", from), ("le", to)] | [("le", to), ("ge", from)] if from <= to => Ok(Some(days(from, to))),
        _ => Err(invalid("a range of dates has a ge and a le")),
    }
}

/// Days that those who were found otherwise are held against: one end is enough.
fn open_range(bounds: &[(&str, &str)]) -> Result<Option<Range>, Failure> {
    match *bounds {
        [("ge", from)] => Ok(Some(days(from, EVER.1))),
        [("le", to)] => Ok(Some(days(EVER.0, to))),
        _ => range(bounds),
    }
}

fn days(from: &str, to: &str) -> Range {
    Range {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}
