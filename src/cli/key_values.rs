//! The limits of a key as they are typed.

use std::time::Duration;

use crate::{
    auth::Scopes,
    domain::{Origins, Timestamp},
};

/// Reads a comma-separated list of scopes; `all` stands for all of them.
pub(super) fn parse_scopes(text: &str) -> Result<Scopes, String> {
    if text == "all" { Ok(Scopes::all()) } else { Scopes::parse(text).map_err(|err| err.to_string()) }
}

/// Reads a comma-separated list of origins; `all` stands for all of them.
pub(super) fn parse_origins(text: &str) -> Result<Origins, String> {
    let texts: Vec<_> = if text == "all" { Vec::new() } else { text.split(',').map(str::trim).collect() };
    Origins::parse(&texts).map_err(|err| err.to_string())
}

/// When a key expires.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry(pub(super) Option<Timestamp>);

/// Reads a time, a date, a duration from now, or `never`.
pub(super) fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry(None));
    }
    let now = Timestamp::now();
    let end = match Timestamp::parse(text) {
        Some(time) => time.floor,
        None => {
            let age = parse_days(text).map_err(|_| {
                "write a time such as 2030-01-31T09:00:00Z, a date, or a duration such as 12h or 90d"
                    .to_owned()
            })?;
            Timestamp(now.0.saturating_add(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
        }
    };
    if end > now { Ok(Expiry(Some(end))) } else { Err("the time must be in the future".to_owned()) }
}

/// Reads a duration with a unit: `0s`, `60s`, `5m`, `2h`, `90d`.
pub(super) fn parse_days(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => 0,
    };
    match number.parse::<u32>() {
        Ok(number) if seconds > 0 && number < 1_000_000 => {
            Ok(Duration::from_secs(u64::from(number) * seconds))
        }
        _ => Err("write a time such as 60s, 5m, 2h or 90d".to_owned()),
    }
}
