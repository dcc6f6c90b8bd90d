//! Second factors: codes of an authenticator app, and recovery codes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// How many wrong codes are counted within [`WINDOW`] before further ones are refused unseen. Recovery codes can't be guessed, and
/// are taken all the same.
const MAX_FAILURES: u32 = 10;
/// In milliseconds.
const WINDOW: i64 = 15 * 60_000;

/// A user's authenticator app (RFC 6238). It is kept beside the document, and shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totp {
    /// In base32, as apps take it.
    pub secret: String,
    /// Whether the user has shown that the app has the secret. Before that it counts for nothing.
    pub is_confirmed: bool,
    /// The step of the last code that was used. A code is good once, so older ones are good no more.
    pub last_step: u64,
    /// How many wrong codes came since `failed_since`.
    pub failures: u32,
    pub failed_since: i64,
    /// The SHA-256 hashes of the recovery codes that are left.
    pub recovery: Vec<String>,
}

/// Hides everything, which must not reach a log.
impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Totp(…)")
    }
}

impl Totp {
    /// Makes one that is not confirmed.
    pub fn new(secret: String) -> Self {
        Self { secret, is_confirmed: false, last_step: 0, failures: 0, failed_since: 0, recovery: Vec::new() }
    }

    /// Whether so many wrong codes came that no other one is looked at.
    pub fn is_blocked(&self, now: Timestamp) -> bool {
        self.failures >= MAX_FAILURES && now.0 - self.failed_since < WINDOW
    }

    /// Counts a wrong code.
    pub fn note_failure(&mut self, now: Timestamp) {
        if now.0 - self.failed_since >= WINDOW {
            (self.failures, self.failed_since) = (0, now.0);
        }
        self.failures += 1;
    }

    /// Notes that the code of a step was used.
    pub fn note_use(&mut self, step: u64) {
        (self.last_step, self.failures) = (step, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_codes_are_looked_at_in_a_quarter_of_an_hour() {
        let mut totp = Totp::new(String::new());
        for second in 0..10 {
            assert!(!totp.is_blocked(Timestamp(WINDOW + second)), "{second}");
            totp.note_failure(Timestamp(WINDOW + second));
        }
        assert!(totp.is_blocked(Timestamp(WINDOW + 10)));
        assert!(!totp.is_blocked(Timestamp(2 * WINDOW)));
        totp.note_failure(Timestamp(2 * WINDOW));
        assert_eq!(totp.failures, 1);
        totp.note_use(7);
        assert_eq!((totp.failures, totp.last_step), (0, 7));
    }
}
