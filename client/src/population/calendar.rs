//! Dates of the proleptic Gregorian calendar, as day numbers since 1970-01-01.

/// A calendar date.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date {
    pub(super) year: i32,
    pub(super) month: i32,
    pub(super) day: i32,
}

impl Date {
    pub(super) const fn new(year: i32, month: i32, day: i32) -> Self {
        Self { year, month, day }
    }

    /// Days since 1970-01-01. Years begin in March here, so that the leap day comes last.
    pub(super) const fn to_days(self) -> i32 {
        let year = if self.month > 2 { self.year } else { self.year - 1 };
        let (era, month) = (year.div_euclid(400), (self.month + 9) % 12);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * month + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The date of this day number.
    pub(super) const fn from_days(days: i32) -> Self {
        let days = days + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, year) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        Self {
            year: era * 400 + year_of_era + year,
            month,
            day,
        }
    }

    /// As FHIR writes it.
    pub(super) fn text(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn days_and_dates_agree() {
        assert_eq!(Date::new(1970, 1, 1).to_days(), 0);
        assert_eq!(Date::new(2000, 3, 1).to_days(), 11_017);
        for days in -60_000..60_000 {
            let date = Date::from_days(days);
            assert_eq!(date.to_days(), days);
            assert!((1..=12).contains(&date.month) && (1..=31).contains(&date.day));
            assert!(days == -60_000 || Date::from_days(days - 1) < date);
        }
    }
}
