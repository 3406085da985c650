//! FHIR dates and times, as far as rules compare them. A date may lack its day or month: it is then a span.

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 86_400_000;
/// Years that a date may name.
const YEARS: std::ops::RangeInclusive<i64> = 1_000..=2_999;

/// The time that a FHIR date or dateTime spans, in milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first millisecond.
    pub(crate) first_ms: i64,
    /// The last millisecond.
    pub(crate) last_ms: i64,
}

impl Span {
    /// `yyyy`, `yyyy-mm` or `yyyy-mm-dd`, taken as UTC.
    pub(crate) fn parse_date(text: &str) -> Option<Self> {
        let year = digits(text.get(..4)?)?;
        if !YEARS.contains(&year) {
            return None;
        }
        let (first, days) = match text.len() {
            4 => (
                day_number(year, 1, 1),
                day_number(year + 1, 1, 1) - day_number(year, 1, 1),
            ),
            7 => {
                let month = month_of(text)?;
                (day_number(year, month, 1), days_in_month(year, month))
            }
            10 => {
                let month = month_of(text)?;
                let day = digits(text.get(7..)?.strip_prefix('-')?)?;
                if !(1..=days_in_month(year, month)).contains(&day) {
                    return None;
                }
                (day_number(year, month, day), 1)
            }
            _ => return None,
        };
        Some(Self {
            first_ms: first * DAY_MS,
            last_ms: (first + days) * DAY_MS - 1,
        })
    }

    /// A date as above, or `yyyy-mm-ddThh:mm:ss` with an optional fraction and an optional offset; without one, UTC.
    pub(crate) fn parse_date_time(text: &str) -> Option<Self> {
        let Some((date, time)) = text.split_once('T') else {
            return Self::parse_date(text);
        };
        if date.len() != 10 {
            return None;
        }
        let day = Self::parse_date(date)?;
        let clock = time.get(..8)?;
        let mut rest = time.get(8..)?;
        let seconds = seconds_of(clock)?;
        if let Some(fraction) = rest.strip_prefix('.') {
            let end = fraction
                .find(|character: char| !character.is_ascii_digit())
                .unwrap_or(fraction.len());
            if end == 0 {
                return None;
            }
            rest = fraction.get(end..)?;
        }
        let first_ms = day.first_ms + seconds * 1_000 - offset_ms(rest)?;
        Some(Self {
            first_ms,
            last_ms: first_ms + 999,
        })
    }
}

/// The day of a time, as `yyyy-mm-dd` of UTC.
pub(crate) fn day_of(now_ms: i64) -> String {
    // Years begin in March here, as in `day_number`.
    let days = now_ms.div_euclid(DAY_MS) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time as FHIR writes an instant, of UTC.
pub(crate) fn instant_of(now_ms: i64) -> String {
    let of_day = now_ms.rem_euclid(DAY_MS);
    let (seconds, ms) = (of_day / 1_000, of_day % 1_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!(
        "{}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}+00:00",
        day_of(now_ms)
    )
}

fn digits(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn two_digits(text: &str) -> Option<i64> {
    if text.len() == 2 { digits(text) } else { None }
}

fn month_of(text: &str) -> Option<i64> {
    let month = two_digits(text.get(4..7)?.strip_prefix('-')?)?;
    (1..=12).contains(&month).then_some(month)
}

fn seconds_of(clock: &str) -> Option<i64> {
    let (hours, rest) = clock.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':')?;
    let (hours, minutes, seconds) = (two_digits(hours)?, two_digits(minutes)?, two_digits(seconds)?);
    (hours < 24 && minutes < 60 && seconds < 60).then_some(hours * 3_600 + minutes * 60 + seconds)
}

fn offset_ms(text: &str) -> Option<i64> {
    if text.is_empty() || text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (None, Some(rest)) => (-1, rest),
        (None, None) => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

/// Days since 1970-01-01. Years begin in March here, so that the leap day comes last.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    day_number(next_year, next_month, 1) - day_number(year, month, 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{DAY_MS, Span};

    #[test]
    fn dates_are_spans() {
        let day = Span::parse_date("1970-01-02").unwrap();
        assert_eq!((day.first_ms, day.last_ms), (DAY_MS, 2 * DAY_MS - 1));
        let month = Span::parse_date("2024-02").unwrap();
        assert_eq!(month.last_ms - month.first_ms + 1, 29 * DAY_MS);
        let year = Span::parse_date("1900").unwrap();
        assert_eq!(year.last_ms - year.first_ms + 1, 365 * DAY_MS);
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "1",
            "19",
            "1970-",
            "1970-1",
            "1970-13",
            "1970-00",
            "1970-02-29",
            "1900-02-29",
            "1970-04-31",
            "1970-01-00",
            "1970/01/01",
            "0999-01-01",
            "3000-01-01",
            "1970-01-01 ",
            "+970-01-01",
            "1970-01-1x",
            "１９７０",
            "1970-01-01T00:00:00",
        ] {
            assert_eq!(Span::parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_offsets_and_fractions() {
        let at = |text| Span::parse_date_time(text).map(|span| span.first_ms);
        assert_eq!(at("1970-01-01T00:00:01+00:00"), Some(1_000));
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(at("1970-01-01T00:00:00.25-00:30"), Some(1_800_000));
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("1970-01-01T00:00:00"), Some(0));
        assert_eq!(at("1970-01-02"), Some(DAY_MS));
        for text in [
            "1970-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T",
            "1970-01-01T00:00",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+1:00",
            "1970-01-01T00:00:00+15:00",
            "T",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_day_is_written_as_it_is_read(day in -350_000_i64..370_000) {
            let text = super::day_of(day * DAY_MS + 1);
            let instant = super::instant_of(day * DAY_MS + 3_723_004);
            proptest::prop_assert!(instant.ends_with("T01:02:03.004+00:00"));
            proptest::prop_assert_eq!(Span::parse_date(&text).map(|span| span.first_ms), Some(day * DAY_MS));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), date in "[0-9T:.+Z-]{0,30}") {
            let _ = (Span::parse_date_time(&text), Span::parse_date_time(&date));
        }
    }
}
