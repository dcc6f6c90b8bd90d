//! Durations as they are typed.

use std::time::Duration;

/// Reads `60s`, `5m`, `2h`, or seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    match number.parse::<u32>() {
        Ok(number) if number > 0 && factor > 0 => Ok(Duration::from_secs(u64::from(number) * factor)),
        _ => Err("write a time such as 60s, 5m or 2h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_or_is_in_seconds() {
        for (text, seconds) in [("60s", 60), ("5m", 300), ("2h", 7200), ("7", 7)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0s", "5d", "s", "-1s", "1.5h", "99999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
