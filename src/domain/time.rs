//! Moments: milliseconds in the database, RFC 3339 on the wire.

use std::{fmt, time::SystemTime};

use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339};

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The wall clock. A clock before 1970 counts as 1970.
    pub fn now() -> Self {
        let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }

    /// Reads an RFC 3339 time, or a date (`2026-01-31`), which means its first moment in UTC: the last millisecond that
    /// is not after it, and whether it is that millisecond. `None` for any other text.
    pub fn parse(text: &str) -> Option<(Self, bool)> {
        let moment = match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(moment) => moment,
            Err(_) => parse_date(text)?.midnight().assume_utc(),
        };
        let nanos = moment.unix_timestamp_nanos();
        let millis = i64::try_from(nanos.div_euclid(1_000_000)).ok()?;
        Some((Self(millis), nanos.rem_euclid(1_000_000) == 0))
    }
}

fn parse_date(text: &str) -> Option<Date> {
    let (year, rest) = text.split_at_checked(4)?;
    let (month, day) = rest.strip_prefix('-')?.split_once('-')?;
    if month.len() != 2 || day.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return None;
    }
    let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()
}

/// RFC 3339 in UTC with milliseconds and `Z`: `2026-01-31T09:30:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000)).map_err(|_| fmt::Error)?;
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second) = moment.to_hms();
        let millis = self.0.rem_euclid(1000);
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", u8::from(month))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_from_its_own_text() {
        for millis in [0, 1, 999, 1_764_000_000_123, -1, 253_402_300_799_999] {
            let text = Timestamp(millis).to_string();
            assert_eq!(Timestamp::parse(&text), Some((Timestamp(millis), true)), "{text}");
        }
    }

    #[test]
    fn only_dates_and_rfc_3339_are_moments() {
        for (why, text, expected) in [
            ("a date is its first moment", "1970-01-02", Some(86_400_000)),
            ("an offset is taken off", "1970-01-01T01:00:00+01:00", Some(0)),
            ("no zone, no moment", "1970-01-01T00:00:00", None),
            ("months end at 12", "1970-13-01", None),
            ("a number is no date", "1970", None),
            ("text is none", "yesterday", None),
        ] {
            assert_eq!(Timestamp::parse(text), expected.map(|millis| (Timestamp(millis), true)), "{why}");
        }
        assert_eq!(Timestamp::parse("1970-01-01T00:00:00.0019Z"), Some((Timestamp(1), false)));
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59.9999Z"), Some((Timestamp(-1), false)));
    }
}
