//! Codes: secrets that are sent to an address, or held between two steps of a sign-in, and that are good once. Only their hashes are kept.

use super::{AskedFrom, Email, Timestamp, UserKey};

/// How many wrong codes may be tried before one is good for nothing.
pub const MAX_TRIES: u32 = 5;
/// The most codes for one purpose that one network may ask for, for one user, within [`RECENT`]. A code that was
/// used does not count.
pub const MAX_RECENT: usize = 5;
/// The same for all networks together, so that nobody gets more mail that they did not ask for. Where the user has a session it does
/// not hold, so that strangers don't keep the user from getting a code.
pub const MAX_RECENT_OF_ALL: usize = 20;
/// The same for one address that several users want to have.
pub const MAX_RECENT_OF_ADDRESS: usize = 30;
/// With how many codes of one network digits are compared: the newest.
pub const MAX_COMPARED: usize = 3;
/// How many wrong codes one network may try for one user within [`RECENT`], and how many all networks together may. A link is good all
/// the same, and digits are where the user has a session.
///
/// So strangers compare at most 32 digits with a user's codes in an hour, whatever they do: the last try may be compared with three.
/// The chance that one of them fits is 32 in 1,000,000 an hour. Who tries for a whole day without a pause, with three networks
/// or more, gets in with a chance of 1 in 1300, and has sent the user 480 mails.
pub const MAX_WRONG: (u32, u32) = (10, 30);
/// In milliseconds.
pub const RECENT: i64 = 60 * MINUTE;
const MINUTE: i64 = 60_000;

/// The purpose of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Sets a new password.
    ResetPassword,
    /// Shows that the user reads mail to their address.
    VerifyEmail,
    /// Gives the user the address that it was sent to.
    ChangeEmail,
    /// Signs the user in.
    SignIn,
    /// Waits for the second factor of a sign-in. It is in no mail.
    SecondFactor,
}

impl Purpose {
    const ALL: [Self; 5] =
        [Self::ResetPassword, Self::VerifyEmail, Self::ChangeEmail, Self::SignIn, Self::SecondFactor];

    /// Returns the word in the database, in links and in the outbox.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResetPassword => "reset-password",
            Self::VerifyEmail => "verify-email",
            Self::ChangeEmail => "change-email",
            Self::SignIn => "sign-in",
            Self::SecondFactor => "second-factor",
        }
    }

    /// Reads the word that [`Purpose::as_str`] returns.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// Returns for how long a code is good, in milliseconds.
    pub fn lifetime(self) -> i64 {
        match self {
            Self::ResetPassword => 60 * MINUTE,
            Self::VerifyEmail | Self::ChangeEmail => 24 * 60 * MINUTE,
            Self::SignIn => 10 * MINUTE,
            Self::SecondFactor => 5 * MINUTE,
        }
    }
}

/// A code that was made and not used yet: a token in a link, and for a sign-in six digits as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The SHA-256 hash of its token, in hexadecimal.
    pub hash: String,
    pub key: UserKey,
    pub purpose: Purpose,
    /// The address that it was sent to.
    pub email: Option<Email>,
    /// The hash of its digits, if it has any.
    pub digits_hash: Option<String>,
    /// How many wrong codes were tried, where the code was asked for.
    pub tries: u32,
    /// How many were tried elsewhere. Strangers wear a code out only for each other.
    pub other_tries: u32,
    /// Who asked for it.
    pub asked_from: Option<AskedFrom>,
    pub created_at: Timestamp,
    /// The first moment at which it is good for nothing.
    pub expires_at: Timestamp,
}

impl Code {
    /// Whether its token is good.
    pub fn is_good(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// Whether its digits are good where it was asked for. Digits can be guessed, so wrong ones count.
    pub fn has_good_digits(&self, now: Timestamp) -> bool {
        self.is_good(now) && self.tries < MAX_TRIES
    }

    /// Whether its digits are good elsewhere.
    pub fn has_good_digits_elsewhere(&self, now: Timestamp) -> bool {
        self.is_good(now) && self.other_tries < MAX_TRIES
    }
}
