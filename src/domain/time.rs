//! Times: milliseconds in the database, RFC 3339 on the wire.

use std::fmt;

use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339};

use super::clock;

/// A time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A time that a caller wrote, which may be finer than a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedTime {
    /// The last millisecond that is not after the time.
    pub floor: Timestamp,
    /// Whether the time is exactly that millisecond.
    pub is_exact: bool,
}

impl Timestamp {
    /// Reads the wall clock. A clock before 1970 counts as 1970.
    pub fn now() -> Self {
        Self(i64::try_from(clock::read().as_millis()).unwrap_or(i64::MAX))
    }

    /// Parses an RFC 3339 time, or a date (`2026-01-31`), which means its first moment in UTC. Returns `None` for any other
    /// text.
    pub fn parse(text: &str) -> Option<ParsedTime> {
        let moment = match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(moment) => moment,
            Err(_) => parse_date(text)?.midnight().assume_utc(),
        };
        let nanos = moment.unix_timestamp_nanos();
        let millis = i64::try_from(nanos.div_euclid(1_000_000)).ok()?;
        Some(ParsedTime { floor: Self(millis), is_exact: nanos.rem_euclid(1_000_000) == 0 })
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

/// Writes RFC 3339 in UTC with milliseconds: `2026-01-31T09:30:00.000Z`.
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

    fn time(millis: i64, is_exact: bool) -> Option<ParsedTime> {
        Some(ParsedTime { floor: Timestamp(millis), is_exact })
    }

    #[test]
    fn a_time_is_parsed_back_from_its_own_text() {
        for millis in [0, 1, 999, 1_764_000_000_123, -1, 253_402_300_799_999] {
            let text = Timestamp(millis).to_string();
            assert_eq!(Timestamp::parse(&text), time(millis, true), "{text}");
        }
    }

    #[test]
    fn only_dates_and_rfc_3339_are_times() {
        for (why, text, expected) in [
            ("a date is its first moment", "1970-01-02", Some(86_400_000)),
            ("an offset is taken off", "1970-01-01T01:00:00+01:00", Some(0)),
            ("a time needs a zone", "1970-01-01T00:00:00", None),
            ("months end at 12", "1970-13-01", None),
            ("a number is not a date", "1970", None),
            ("a word is not a time", "yesterday", None),
        ] {
            assert_eq!(Timestamp::parse(text), expected.and_then(|millis| time(millis, true)), "{why}");
        }
        assert_eq!(Timestamp::parse("1970-01-01T00:00:00.0019Z"), time(1, false));
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59.9999Z"), time(-1, false));
    }
}
